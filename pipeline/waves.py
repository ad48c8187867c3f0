"""Takes due images through the engine, a bounded number at a time, and commits shard by shard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.commit import CommitRef
from pipeline.due import MIXED_RULES, Rows, ShardWork, WorkFinder
from pipeline.engine import Engine, EngineCrashed, OutcomeDict
from pipeline.errors import LedgerError, StreetblurError
from pipeline.gate import NOT_JUDGED
from pipeline.identity import is_valid, row_identity
from pipeline.isolation import KILLS, run_isolated
from pipeline.job import JobSpec, Revision
from pipeline.lease import Lease
from pipeline.observer import Observer
from pipeline.records import WorkItem
from pipeline.stages.build import StageConfig
from pipeline.workspace import Workspace

log = logging.getLogger(__name__)

MAX_CRASHES = 3
"""Engine starts a wave gets before what is left runs image by image."""
MAX_ISOLATED = 200

EngineFactory = Callable[[StageConfig], Engine]


@dataclass(slots=True)
class WaveLoop:
    """The waves of one run.

    Attributes:
        spec: how many images a wave, how long one image may take alone.
        workspace: where shards come from and commits go.
        revision: the rules in force.
        config: the stages.
        lease: numbers the commits; checked before each.
        engine_factory: makes the engine, when it is first needed and again after a crash.
        observer: is told.
        processed: images that got an outcome.
    """

    spec: JobSpec
    workspace: Workspace
    revision: Revision
    config: StageConfig
    lease: Lease
    engine_factory: EngineFactory
    observer: Observer
    processed: int = field(default=0, init=False)
    _engine: Engine | None = field(default=None, init=False)
    _unrecorded: Rows = field(default=frozenset(), init=False)

    def run(self, finder: WorkFinder) -> None:
        """Do all that ``finder`` finds, then let go of the engine.

        Raises:
            StreetblurError: the engine keeps dying, the lease is lost, or storage fails.
        """
        self._unrecorded = finder.unrecorded
        try:
            works: list[ShardWork] = []
            for owner, entry in list(self.workspace.ledger.shards()):
                work = finder.find(owner, entry)
                if work.items:
                    works.append(work)
                    self.observer.expect(len(work.items))
                if sum(len(one.items) for one in works) >= self.spec.wave_images:
                    self._wave(works)
                    works = []
            if works:
                self._wave(works)
        finally:
            self._stop_engine()

    def _wave(self, works: list[ShardWork]) -> None:
        """Take each item of ``works`` to an outcome, and commit shard by shard."""
        left = {(item.shard, item.row): item for work in works for item in work.items}
        open_shards = {work.entry.shard: work for work in works}
        self.observer.phase("process", images=len(left), shards=len(works))
        for crashes in range(MAX_CRASHES + 1):
            try:
                rows = self._running_engine().run(list(left.values()), searching=crashes > 0)
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
                fix="Give it more memory or fewer --workers; run the same command again to go on",
            )
        timeout = self.spec.limits.image_timeout_s
        self._consume(run_isolated(list(left.values()), self.config, timeout), left, open_shards)
        if left:
            raise LedgerError(f"{len(left)} images were left without an outcome")

    def _running_engine(self) -> Engine:
        if self._engine is None:
            self._engine = self.engine_factory(self.config)
        return self._engine

    def _stop_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _on_crash(self, error: EngineCrashed) -> None:
        log.warning("the engine stopped (%s); images without an outcome are done again", error)
        self.observer.crashed(error)
        self._stop_engine()

    def _consume(
        self,
        rows: Iterable[OutcomeDict],
        left: dict[tuple[int, int], WorkItem],
        open_shards: dict[int, ShardWork],
    ) -> None:
        undone = 0
        try:
            for row in rows:
                shard = row.pop("shard")
                if left.pop((shard, row["row"]), None) is None:
                    continue
                self.processed += 1
                undone += NOT_JUDGED in row["notes"]
                self.observer.outcome(row)
                work = open_shards[shard]
                work.done.append(row)
                if work.complete:
                    self._commit(open_shards.pop(shard))
        finally:
            if undone:
                why = "a model failed, or nobody answered"
                log.warning("%d pictures were not judged: %s", undone, why)

    def _commit(self, work: ShardWork) -> None:
        """Commit the new outcomes with those that stay.

        What stays is read again only now: a wave over many shards holds no more than its images.

        Raises:
            LedgerError: what was to stay is gone.
        """
        self.lease.check()
        ledger, shard = self.workspace.ledger, work.entry.shard
        rows = {row["row"]: row for row in ledger.outcomes(shard)}
        for row in work.done:
            before = rows.get(row["row"], {"status": "failed"})
            if NOT_JUDGED not in row["notes"] or before["status"] == "failed":
                rows[row["row"]] = row
        if len(rows) != work.live:
            raise LedgerError(
                f"{work.live - len(rows)} outcomes of shard {shard} are no longer there",
                where=ledger.store.uri,
                fix="Run the job again: the shard is done anew",
            )
        commit = ledger.commit_log.write(
            shard,
            CommitRef(self.revision.number, self.lease.epoch),
            list(rows.values()),
            rules=self._rules_of(shard, rows.values()),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            fence=self.lease.confirm,
        )
        self.observer.committed(commit)

    def _rules_of(self, shard: int, rows: Iterable[OutcomeDict]) -> str:
        """Digest of the rules in force, if they judged all ``rows`` and nothing is in doubt.

        In doubt is what was not published by this run and may have been by one that was cut off:
        pictures that failed, killed their worker, or lie in the output unrecorded.
        """
        for row in rows:
            identity = row_identity(self.revision, row["key"], row["source_etag"])
            if not is_valid(row, identity) or row["reason"] in KILLS:
                return MIXED_RULES
            if row["status"] != "published" and (shard, row["row"]) in self._unrecorded:
                return MIXED_RULES
        return self.revision.rules_digest()
