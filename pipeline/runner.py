"""Runs a job: plan, waves through the engine, shard commits, verification."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol

from pipeline.due import Choice, ShardWork, WorkFinder
from pipeline.engine import Engine, EngineCrashed, LocalEngine, OutcomeDict
from pipeline.errors import ConfigurationError, LedgerError, StreetblurError
from pipeline.images import ImageLimits
from pipeline.isolation import run_isolated
from pipeline.job import JobRecord, JobSpec, Revision
from pipeline.lease import Lease, acquire
from pipeline.ledger import Commit, CommitRef
from pipeline.overrides import load_overrides
from pipeline.planner import Rules, plan
from pipeline.policy import DEFAULT_POLICY, PrivacyPolicy, load_policy
from pipeline.records import WorkItem
from pipeline.secret import fresh_secret, install_secret, read_secret
from pipeline.stages.build import StageConfig
from pipeline.storage import AccessDenied, ObjectStore, check_disjoint, open_store
from pipeline.verify import Verification, verify
from pipeline.workspace import Workspace, open_workspace

log = logging.getLogger(__name__)

MAX_CRASHES = 3
"""Engine starts a wave gets before what is left runs image by image."""
MAX_ISOLATED = 200


class Exit(IntEnum):
    """Exit codes; they describe the whole job, also on a resume."""

    COMPLETE = 0
    ERROR = 1
    USAGE = 2
    QUARANTINED = 3
    INCOMPLETE = 4
    NOTHING_DETECTED = 5
    INTERRUPTED = 130


class Observer(Protocol):
    """Is told what happens: progress bar, log lines, metrics."""

    def phase(self, name: str, **details: object) -> None:
        """A new phase begins."""

    def expect(self, images: int) -> None:
        """So many more images are due."""

    def outcome(self, row: OutcomeDict) -> None:
        """An image has its outcome."""

    def committed(self, commit: Commit) -> None:
        """A shard is committed."""

    def crashed(self, error: EngineCrashed) -> None:
        """The engine died or stalled; what was under way is done again."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        workspace: where the records are.
        revision: the rules in force.
        verification: the reconciled state of the whole job.
        processed: images this run worked on.
        seconds: wall time of the waves.
        exit_code: as documented.
    """

    workspace: Workspace
    revision: Revision
    verification: Verification
    processed: int
    seconds: float
    exit_code: Exit


EngineFactory = Callable[[StageConfig], Engine]
ModelsInForce = Callable[[JobSpec, dict[str, int]], dict[str, str]]


@dataclass(slots=True)
class Runner:
    """One run of one job.

    Attributes:
        spec: what to do.
        observers: who is told.
        models: gives ``version:sha256`` of the models that judge, fetching them if needed.
        choice: which rows.
        policy: the rules, if not those the spec names.
        detector: builder of the detectors, ``module:function``.
        engine_factory: makes the engine; by default as the spec says.
    """

    spec: JobSpec
    observers: list[Observer]
    models: ModelsInForce
    choice: Choice = field(default_factory=Choice)
    policy: PrivacyPolicy | None = None
    detector: str = "pipeline.stages.build:packaged_detector"
    engine_factory: EngineFactory | None = None
    _processed: int = 0

    def plan_only(self) -> tuple[Workspace, Revision]:
        """List the input and write what is new; no image is touched.

        Raises:
            StreetblurError: as ``run``.
        """
        source, workspace = self._open()
        with self._lease(workspace) as lease:
            return workspace, self._plan(source, workspace, lease)

    def run(self) -> RunResult:
        """Do what is due, then verify.

        Raises:
            StreetblurError: settings, storage, lease or models make a run impossible.
            KeyboardInterrupt: asked to stop; commits made so far stand.
        """
        source, workspace = self._open()
        with self._lease(workspace) as lease:
            revision = self._plan(source, workspace, lease)
            config = self._stage_config(source, workspace, revision, lease)
            start = time.monotonic()
            self._work(workspace, revision, config, lease)
            seconds = time.monotonic() - start
            self._tell("verify")
            verification = verify(workspace)
        code = exit_code(verification, allow_empty=self.spec.allow_empty)
        return RunResult(workspace, revision, verification, self._processed, seconds, code)

    def _open(self) -> tuple[ObjectStore, Workspace]:
        spec = self.spec
        check_disjoint(spec.input, spec.output)
        if spec.workspace is not None:
            check_disjoint(spec.input, spec.workspace)
        source = open_store(spec.input, settings=spec.storage)
        output = open_store(spec.output, settings=spec.storage)
        source.ensure_root(create=False)
        output.ensure_root(mode=0o755)
        workspace = open_workspace(
            output, spec.job_name, workspace=spec.workspace, settings=spec.storage
        )
        workspace.ledger.store.ensure_root()
        _warn_if_versioned(output)
        return source, workspace

    def _lease(self, workspace: Workspace) -> Lease:
        commits = workspace.ledger.commits().values()
        workspace.ledger.refresh()
        return acquire(
            workspace.output,
            workspace.job,
            min_epoch=max((ref.attempt for ref in commits), default=0) + 1,
            ttl_s=self.spec.lease_ttl_s,
            on_wait=lambda text: self._tell("lease", detail=text),
        )

    def _plan(self, source: ObjectStore, workspace: Workspace, lease: Lease) -> Revision:
        spec = self.spec
        policy = self._policy(workspace)
        overrides = load_overrides(spec.overrides) if spec.overrides else None
        models = self.models(spec, policy.models.model_dump())
        workspace.refuse_if_public()
        self._tell("plan", input=source.uri)
        record = JobRecord(
            job=workspace.job,
            input=source.uri,
            output=workspace.output.uri,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            shard_size=spec.shard_size,
        )
        revision = plan(
            source, workspace, record, Rules(policy, models, overrides), epoch=lease.epoch
        )
        lease.check()
        self._tell(
            "planned",
            images=revision.live_rows,
            revision=revision.number,
            not_selected=revision.not_selected,
        )
        return revision

    def _policy(self, workspace: Workspace) -> PrivacyPolicy:
        """The policy given; else the one the job had last; else the default."""
        if self.policy is not None:
            return self.policy
        if self.spec.policy is not None:
            return load_policy(self.spec.policy)
        revisions = workspace.ledger.revisions()
        return revisions[-1].policy if revisions else load_policy(DEFAULT_POLICY)

    def _stage_config(
        self, source: ObjectStore, workspace: Workspace, revision: Revision, lease: Lease
    ) -> StageConfig:
        spec = self.spec
        secret = read_secret()
        if secret is None:
            if spec.ray_address is not None:
                raise ConfigurationError(
                    "a shared cluster needs the noise secret on every node",
                    where="STREETBLUR_SECRET",
                    fix="Set STREETBLUR_SECRET or STREETBLUR_SECRET_FILE here and on every node",
                )
            secret = fresh_secret()
            log.info(
                "no noise secret is set: this run uses a fresh random one, which is not stored"
            )
            install_secret(secret)
        return StageConfig(
            token=uuid.uuid4().hex,
            input_uri=source.uri,
            output_uri=workspace.output.uri,
            storage=spec.storage,
            policy=revision.policy,
            limits=ImageLimits(spec.limits.max_bytes, spec.limits.max_pixels),
            epoch=lease.epoch,
            secret_id=secret.id,
            detector=self.detector,
            models=",".join(f"{name}={value}" for name, value in sorted(revision.models.items())),
            policy_digest=revision.policy_digest,
        )

    def _work(
        self, workspace: Workspace, revision: Revision, config: StageConfig, lease: Lease
    ) -> None:
        ledger = workspace.ledger
        choice = self.choice
        if choice.which == "due" and ledger.commits():
            self._tell("reconcile")
            damaged = frozenset(verify(workspace).damaged)
            choice = Choice(choice.which, choice.shard, damaged)
        finder = WorkFinder(
            ledger,
            [workspace.sibling(name) for name in revision.inherits],
            revision,
            choice,
            allow_unblur=self.spec.allow_unblur,
        )
        engines = _Engines(self.engine_factory or self._engine, config)
        wave = _Wave(self, workspace, revision, config, lease, engines)
        try:
            works: list[ShardWork] = []
            for owner, entry in list(ledger.shards()):
                work = finder.find(owner, entry)
                if work.items:
                    works.append(work)
                    self._expect(len(work.items))
                if sum(len(one.items) for one in works) >= self.spec.wave_images:
                    wave.run(works)
                    works = []
            if works:
                wave.run(works)
        finally:
            engines.close()

    def _engine(self, config: StageConfig) -> Engine:
        if self.spec.engine == "local":
            return LocalEngine(config)
        from pipeline.graph import RayEngine, default_workers

        return RayEngine(
            config,
            workers=self.spec.workers or default_workers(),
            address=self.spec.ray_address,
            stall_timeout_s=self.spec.limits.stall_timeout_s,
        )

    def _tell(self, phase: str, **details: object) -> None:
        for observer in self.observers:
            observer.phase(phase, **details)

    def _expect(self, images: int) -> None:
        for observer in self.observers:
            observer.expect(images)


def _warn_if_versioned(output: ObjectStore) -> None:
    try:
        versioned = output.versioned()
    except AccessDenied:
        log.warning("cannot tell whether the output bucket keeps versions (GetBucketVersioning)")
        return
    if versioned:
        log.warning(
            "the output bucket keeps versions: blurs of earlier runs stay readable as old "
            "versions; expire noncurrent versions by a lifecycle rule"
        )


class _Engines:
    """Makes the engine when it is first needed, and again after a crash."""

    def __init__(self, factory: EngineFactory, config: StageConfig) -> None:
        self._factory = factory
        self._config = config
        self._engine: Engine | None = None

    def get(self) -> Engine:
        if self._engine is None:
            self._engine = self._factory(self._config)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


@dataclass(slots=True)
class _Wave:
    """A bounded number of shards through the engine at a time."""

    runner: Runner
    workspace: Workspace
    revision: Revision
    config: StageConfig
    lease: Lease
    engines: _Engines

    def run(self, works: list[ShardWork]) -> None:
        """Take each item of ``works`` to an outcome, and commit shard by shard."""
        left = {(item.shard, item.row): item for work in works for item in work.items}
        open_shards = {work.entry.shard: work for work in works}
        self.runner._tell("process", images=len(left), shards=len(works))
        for crashes in range(MAX_CRASHES + 1):
            try:
                engine = self.engines.get()
                rows = engine.run(list(left.values()), searching=crashes > 0)
                self._consume(rows, left, open_shards)
                break
            except EngineCrashed as error:
                self._on_crash(error)
        if not left:
            return
        if len(left) > MAX_ISOLATED:
            raise StreetblurError(
                f"the engine died {MAX_CRASHES + 1} times with {len(left)} images still due",
                where=f"job {self.workspace.job}",
                fix="Look at the workers' logs and memory; run the same command again to go on",
            )
        timeout = self.runner.spec.limits.image_timeout_s
        self._consume(run_isolated(list(left.values()), self.config, timeout), left, open_shards)
        if left:
            raise LedgerError(f"{len(left)} images were left without an outcome")

    def _on_crash(self, error: EngineCrashed) -> None:
        log.warning("the engine stopped (%s); images without an outcome are done again", error)
        for observer in self.runner.observers:
            observer.crashed(error)
        self.engines.close()

    def _consume(
        self,
        rows: Iterable[OutcomeDict],
        left: dict[tuple[int, int], WorkItem],
        open_shards: dict[int, ShardWork],
    ) -> None:
        for row in rows:
            shard = row.pop("shard")
            if left.pop((shard, row["row"]), None) is None:
                continue
            self.runner._processed += 1
            for observer in self.runner.observers:
                observer.outcome(row)
            work = open_shards[shard]
            work.carried.append(row)
            if len(work.carried) == work.live:
                self._commit(open_shards.pop(shard))

    def _commit(self, work: ShardWork) -> None:
        self.lease.check()
        commit = self.workspace.ledger.write_commit(
            work.entry.shard,
            CommitRef(self.revision.number, self.lease.epoch),
            work.carried,
            rules=self.revision.rules_digest(),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            fence=self.lease.check,
        )
        for observer in self.runner.observers:
            observer.committed(commit)


def exit_code(verification: Verification, *, allow_empty: bool) -> Exit:
    """The exit code that describes the whole job."""
    if not verification.complete:
        return Exit.INCOMPLETE
    if verification.tally.with_detections == 0 and not allow_empty:
        return Exit.NOTHING_DETECTED
    if verification.tally.quarantined:
        return Exit.QUARANTINED
    return Exit.COMPLETE
