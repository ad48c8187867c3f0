"""What a run that was cut off may have published without a record of it.

A picture is published before its outcome is committed. When a run is killed in between, nobody
knows what it blurred; under the same rules the next run blurs the same. Under others it must not
show again what the killed one hid (invariant 3): pictures in the output that no outcome accounts
for are judged by the earlier rules too. What other models found cannot be told; that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.identity import row_identity
from pipeline.job import Revision, ShardEntry
from pipeline.ledger import Ledger
from pipeline.manifest import LiveRow
from pipeline.marks import newest_marks
from pipeline.overrides import named
from pipeline.policy import PrivacyPolicy
from pipeline.records import NamedBox
from pipeline.verify import verify
from pipeline.workspace import Workspace
from serving.backends.precision import SERVER, UNKNOWN, same_boxes

KeyRange = tuple[str, str]
"""First and last key of a shard."""


def since(ledger: Ledger, added: Revision) -> list[Revision]:
    """The revisions from ``added`` on, in order."""
    return [revision for revision in ledger.revisions() if revision.number >= added.number]


def unrecorded(
    revisions: Sequence[Revision], row: LiveRow, outcome: Mapping[str, Any] | None
) -> Sequence[Revision]:
    """Those of ``revisions`` whose rules may have judged ``row`` after its newest record.

    Only an outcome that tells what was published is a record: one that failed, or was quarantined,
    says nothing of a picture that an earlier run published before it was cut off.

    Args:
        revisions: from the one that added the row on, in order.
        row: a manifest row.
        outcome: its newest outcome, if there is one. Where several revisions had its rules, it
            may be as old as the first of them.
    """
    if outcome is not None and outcome["status"] == "published":
        for position, revision in enumerate(revisions):
            if row_identity(revision, row.key, row.etag) == outcome["identity"]:
                return revisions[position + 1 :]
    return revisions


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What may have been blurred in one picture besides what is recorded.

    Attributes:
        policies: digests of policies other than the one in force.
        boxes: overrides of that time.
    """

    policies: frozenset[str] = frozenset()
    boxes: frozenset[NamedBox] = frozenset()

    @classmethod
    def of(cls, revisions: Sequence[Revision], rules: Revision, key: str) -> Suspicion:
        """What ``revisions`` may have blurred in ``key``, against the ``rules`` in force."""
        return cls(
            frozenset(r.policy_digest for r in revisions if r.policy_digest != rules.policy_digest),
            frozenset(box for r in revisions for box in named(r.overrides, key)),
        )

    def __or__(self, other: Suspicion) -> Suspicion:
        return Suspicion(self.policies | other.policies, self.boxes | other.boxes)


def past_policies(ledgers: Sequence[Ledger], rules: Revision) -> dict[str, PrivacyPolicy]:
    """Every policy that ``ledgers`` ever had besides that of ``rules``, by digest."""
    found = {r.policy_digest: r.policy for ledger in ledgers for r in ledger.revisions()}
    found.pop(rules.policy_digest, None)
    return found


def unrecorded_elsewhere(
    sibling: Ledger,
    around: Iterator[tuple[Revision, ShardEntry]],
    etags: Mapping[str, str],
    rules: Revision,
) -> Iterator[tuple[str, Suspicion]]:
    """Key and suspicion of the pictures that another job may have published unrecorded.

    Args:
        sibling: its ledger.
        around: its shards that may hold one of the keys.
        etags: identity of each source that is due, by key.
        rules: those in force.
    """
    for added, entry in around:
        revisions = since(sibling, added)
        if _all_recorded(sibling, entry, revisions):
            continue
        outcomes = {row["row"]: row for row in sibling.outcomes(entry.shard)}
        for row in sibling.rows(added, entry):
            if etags.get(row.key) == row.etag:
                late = unrecorded(revisions, row, outcomes.get(row.row))
                yield row.key, Suspicion.of(late, rules, row.key)


def _all_recorded(ledger: Ledger, entry: ShardEntry, revisions: Sequence[Revision]) -> bool:
    """Whether all revisions since had one set of rules, and a commit by it covers the shard."""
    first = revisions[0]
    if any(
        r.rules_digest() != first.rules_digest() or r.overrides != first.overrides
        for r in revisions
    ):
        return False
    commit = ledger.commit(entry.shard)
    return commit is not None and commit.rules == first.rules_digest()


def refuse_other_models(
    workspace: Workspace,
    siblings: Sequence[str],
    models: Mapping[str, str],
    added: Sequence[KeyRange],
    runtime: str = "",
) -> None:
    """Refuse ``models``, or a ``runtime``, that differ from those of a run that was cut off.

    What counts are the models under which a job ran last, as its mark says, not those that it was
    planned with later.

    Args:
        workspace: of the job that is to run.
        siblings: names of the other jobs over its output.
        models: those that are to come into force.
        added: first and last key of each shard that is to be added.
        runtime: what they are to run on: at another precision they find slightly other boxes.

    Raises:
        ConfigurationError: other models, or the same on another runtime, published pictures that
            no outcome accounts for.
    """
    told = newest_marks(workspace.output)
    own = [*added, *(_range(entry) for _, entry in workspace.ledger.shards())]
    for name in (workspace.job, *siblings):
        ledger = workspace.sibling(name)
        revisions = ledger.revisions()
        last = told[name].revision if name in told else -1
        if not revisions:
            continue
        before = revisions[min(last, len(revisions) - 1)]
        same_runtime = not (before.runtime and runtime) or same_boxes(before.runtime, runtime)
        if before.models == models and same_runtime:
            continue
        unfinished = {
            entry.shard
            for revision, entry in ledger.shards()
            if any(_overlap(_range(entry), mine) for mine in own)
            and not _all_recorded(ledger, entry, since(ledger, revision))
        }
        if not unfinished:
            continue
        found = verify(Workspace(workspace.output, workspace.root, name, ledger))
        count = sum(1 for shard, _ in found.cut_off if shard in unfinished)
        if count:
            raise ConfigurationError(
                f"a run {_difference(before, models, runtime)} was cut off after it published "
                f"{count} pictures, and what it blurred in them is not known",
                where=f"job {name}",
                fix=f"Run that job again with what it had ({_named(before)}), then go on; or say "
                "--allow-unblur to let the present models alone decide",
            )


def _difference(before: Revision, models: Mapping[str, str], runtime: str) -> str:
    if before.models != models:
        return "with other models"
    return f"on another runtime ({before.runtime}, not {runtime})"


def _named(revision: Revision) -> str:
    """What to say on the command line to have it again."""
    words = [f"--model {name}={value.partition(':')[0]}" for name, value in revision.models.items()]
    kind, _, precision = revision.runtime.partition(" ")
    if kind == SERVER and precision and UNKNOWN not in precision:
        words.append(f"--triton servers that compute with {precision}")
    elif kind == SERVER:
        words.append("on Triton servers that did not tell what they compute with")
    elif kind:
        words.append(f"--runtime {kind}, which then computed in {precision}")
    return " ".join(words)


def _range(entry: ShardEntry) -> KeyRange:
    return entry.first_key, entry.last_key


def _overlap(a: KeyRange, b: KeyRange) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
