"""Runs a job: lease, plan, waves, verification."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pipeline.cut_off import past_policies
from pipeline.due import Choice, WorkFinder
from pipeline.engine import Engine, LocalEngine
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.fallback import Probe, Versions, VersionsOf
from pipeline.identity import ModelsInForce, fingerprints, model_versions
from pipeline.images import ImageLimits
from pipeline.job import JobRecord, JobSpec, Revision
from pipeline.lease import Lease, acquire
from pipeline.ledger import Ledger
from pipeline.marks import newest_marks
from pipeline.observer import Everyone, Observer
from pipeline.override_check import (
    OverrideCheck,
    keys_with_boxes_outside,
    warn_of_outside,
    warn_of_unlisted,
)
from pipeline.overrides import Overrides, load_overrides
from pipeline.planner import Rules, plan
from pipeline.policy import PrivacyPolicy, load_policy
from pipeline.preconditions import (
    configured_secret,
    last_policy,
    places,
    refuse_lost_records,
    refuse_nested_output,
)
from pipeline.result import RunResult, exit_code
from pipeline.secret import NoiseSecret, fresh_secret, install_secret
from pipeline.shadow_plans import plan_shadows, refuse_own_shadow, without_own
from pipeline.stages.build import StageConfig
from pipeline.storage import AccessDenied, NotFound, ObjectStore
from pipeline.verify import verify
from pipeline.waves import EngineFactory, WaveLoop
from pipeline.workspace import Workspace
from serving.backends.choose import runs_on
from serving.errors import CanaryFailed

log = logging.getLogger(__name__)

MAX_FALLBACKS = 8
"""Versions that may fail one after the other in one run."""


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
        available: versions of a model that could judge, for a fallback.
        probe: judges the canary with other versions.
    """

    spec: JobSpec
    observers: list[Observer]
    models: ModelsInForce
    choice: Choice = field(default_factory=Choice)
    policy: PrivacyPolicy | None = None
    detector: str = "pipeline.stages.build:packaged_detector"
    engine_factory: EngineFactory | None = None
    available: VersionsOf | None = None
    probe: Probe | None = None
    _versions: Versions = field(default_factory=Versions, init=False)
    _overrides: Overrides | None = field(default=None, init=False)
    _unlisted: list[str] = field(default_factory=list, init=False)

    def plan_only(self) -> tuple[Workspace, Revision]:
        """List the input and write what is new; no image is touched, and nothing forgotten.

        Where the job fell back, it does so by the versions that judged last: nothing is judged
        here, and ``run`` finds out whether they still have to.

        Raises:
            StreetblurError: as ``run``.
        """
        self.spec = self.spec.model_copy(update={"allow_unblur": False})
        source, workspace = self._open()
        with self._lease(workspace) as lease:
            if self.spec.fallback == "previous":
                self._versions = Versions.last(workspace.ledger, self._rules(workspace).policy)
            return workspace, self._plan(source, workspace, lease)

    def run(self) -> RunResult:
        """Do what is due, then verify.

        Raises:
            StreetblurError: settings, storage, lease or models make a run impossible.
            KeyboardInterrupt: asked to stop; commits made so far stand.
        """
        configured = configured_secret(self.spec)
        source, workspace = self._open()
        processed, start = 0, time.monotonic()
        with self._lease(workspace) as lease:
            secret = configured or _fresh_secret()
            self._settle_versions(workspace)
            for _ in range(MAX_FALLBACKS):
                revision = self._plan(source, workspace, lease)
                config = self._stage_config(source, workspace, revision, lease, secret)
                refuse_lost_records(workspace, allow_unblur=self.spec.allow_unblur)
                workspace.tell(lease, revision, forget=self.spec.allow_unblur)
                try:
                    processed += self._work(workspace, revision, config, lease)
                    break
                except CanaryFailed as error:
                    if not self._versions.fall_back(error, revision.policy):
                        raise
            else:
                raise StreetblurError(
                    f"{MAX_FALLBACKS} model versions failed their canary one after the other",
                    where=f"job {workspace.job}",
                    fix="Look at the servers or the model repository: `streetblur models check`",
                )
            seconds = time.monotonic() - start
            self._observer.phase("verify")
            verification = verify(workspace)
            outside = keys_with_boxes_outside(workspace.ledger, revision)
        warn_of_outside(outside)
        code = exit_code(verification, allow_empty=self.spec.allow_empty)
        overrides = OverrideCheck(self._unlisted, outside)
        return RunResult(workspace, revision, verification, processed, seconds, code, overrides)

    def _settle_versions(self, workspace: Workspace) -> None:
        """Where the job fell back before, find out first whether it has to again.

        Else each run would begin with the version that fails, and do all again.

        Raises:
            CanaryFailed: it fails, and there is no other version.
        """
        revisions = workspace.ledger.revisions() if workspace.ledger.job() else []
        if self.probe is None or not revisions or not revisions[-1].note:
            return
        policy = self._rules(workspace).policy
        for _ in range(MAX_FALLBACKS):
            try:
                self.probe(self._versions.of(policy), [policy, *(r.policy for r in revisions)])
                return
            except CanaryFailed as error:
                if not self._versions.fall_back(error, policy):
                    raise

    def _open(self) -> tuple[ObjectStore, Workspace]:
        spec = self.spec
        source, workspace = places(spec)
        # what is wrong is told before anything is made
        rules = self._rules(workspace)
        refuse_own_shadow(spec, rules.policy.models.model_dump())
        plan_shadows(spec, self.models)
        self._refuse_unknown_shard(workspace)
        with suppress(NotFound):  # where there is no output, nobody published anything
            refuse_lost_records(workspace, allow_unblur=spec.allow_unblur)
        refuse_nested_output(spec)
        workspace.output.ensure_root(mode=0o755)
        workspace.ledger.store.ensure_root()
        workspace.refuse_if_public()
        _warn_if_versioned(workspace.output)
        return source, workspace

    def _refuse_unknown_shard(self, workspace: Workspace) -> None:
        wanted = self.choice.shard
        if wanted is None:
            return
        revisions = workspace.ledger.revisions() if workspace.ledger.job() else []
        count = revisions[-1].shard_first + revisions[-1].shard_count if revisions else 0
        if not 0 <= wanted < count:
            raise ConfigurationError(
                f"there is no shard {wanted}",
                where=f"job {workspace.job}",
                fix=f"Its shards are 0 to {count - 1}" if count else "It has no shards yet",
            )

    def _lease(self, workspace: Workspace) -> Lease:
        told = newest_marks(workspace.output).values()
        earlier = max([workspace.ledger.highest_epoch(), *(mark.epoch for mark in told)])
        workspace.ledger.refresh()
        return acquire(
            workspace.output,
            workspace.job,
            min_epoch=earlier + 1,
            ttl_s=self.spec.lease_ttl_s,
            on_wait=lambda text: self._observer.phase("lease", detail=text),
            accept=lambda: refuse_lost_records(workspace, allow_unblur=self.spec.allow_unblur),
        )

    def _rules(self, workspace: Workspace) -> Rules:
        """What judges; files are read once, what the job had last is looked up each time."""
        spec = self.spec
        if self.policy is None and spec.policy is not None:
            self.policy = load_policy(spec.policy)
        if self._overrides is None and spec.overrides:
            self._overrides = load_overrides(spec.overrides)
        policy = self.policy or last_policy(workspace.ledger)
        policy = policy.with_models(spec.models)
        versions = self._versions
        if spec.fallback == "previous":
            versions.available = self.available
        return Rules(
            policy,
            self.models(versions.of(policy)),
            self._overrides,
            versions.note,
            runs_on(spec.triton, spec.runtime),
        )

    def _plan(self, source: ObjectStore, workspace: Workspace, lease: Lease) -> Revision:
        spec = self.spec
        rules = self._rules(workspace)  # the run that held the lease may have changed them
        self._observer.phase("plan", input=source.uri)
        record = JobRecord(
            job=workspace.job,
            input=source.uri,
            output=workspace.output.uri,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            shard_size=spec.shard_size,
        )
        revision = plan(
            source,
            workspace,
            record,
            rules,
            epoch=lease.epoch,
            fence=lease.confirm,
            allow_unblur=spec.allow_unblur,
            on_unlisted=self._unlisted.extend,
        )
        lease.check()
        warn_of_unlisted(self._unlisted)
        self._observer.phase(
            "planned",
            images=revision.live_rows,
            revision=revision.number,
            not_selected=revision.not_selected,
        )
        return revision

    def _stage_config(
        self,
        source: ObjectStore,
        workspace: Workspace,
        revision: Revision,
        lease: Lease,
        secret: NoiseSecret,
    ) -> StageConfig:
        spec = self.spec
        deciding = model_versions(revision.models)
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
            runtime=spec.runtime,
            triton=spec.triton,
            planned_runtime=revision.runtime,
            versions=deciding,
            shadows=without_own(plan_shadows(spec, self.models), deciding),
            fingerprints=fingerprints(revision.models),
            models=",".join(f"{name}={value}" for name, value in sorted(revision.models.items())),
            policy_digest=revision.policy_digest,
            past=past_policies([workspace.ledger, *_siblings(workspace, revision)], revision),
        )

    def _work(
        self, workspace: Workspace, revision: Revision, config: StageConfig, lease: Lease
    ) -> int:
        """Do what is due; returns how many images that were."""
        ledger = workspace.ledger
        choice = self.choice
        begun = ledger.commits() or len(ledger.revisions()) > 1 or revision.inherits
        if begun or workspace.holds_anything():
            self._observer.phase("reconcile")
            found = verify(workspace)
            damaged = found.damaged if choice.which == "due" else choice.damaged
            choice = replace(choice, damaged=damaged, unrecorded=found.unrecorded)
        finder = WorkFinder(
            ledger,
            _siblings(workspace, revision),
            revision,
            choice,
            allow_unblur=self.spec.allow_unblur,
        )
        factory = self.engine_factory or self._engine
        loop = WaveLoop(self.spec, workspace, revision, config, lease, factory, self._observer)
        loop.run(finder)
        return loop.processed

    def _engine(self, config: StageConfig) -> Engine:
        if self.spec.engine == "local":
            return LocalEngine(config)
        from pipeline.graph import RayEngine, default_workers

        return RayEngine(
            config,
            workers=self.spec.workers or max(default_workers(), self.spec.min_workers),
            min_workers=self.spec.min_workers,
            address=self.spec.ray_address,
            stall_timeout_s=self.spec.limits.stall_timeout_s,
        )

    @property
    def _observer(self) -> Observer:
        return Everyone(self.observers)


def _fresh_secret() -> NoiseSecret:
    """A random noise secret, installed for the workers of this run."""
    secret = fresh_secret()
    log.info("no noise secret is set: this run uses a fresh random one, which is not stored")
    install_secret(secret)
    return secret


def _siblings(workspace: Workspace, revision: Revision) -> list[Ledger]:
    return [workspace.sibling(name) for name in revision.inherits]


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
