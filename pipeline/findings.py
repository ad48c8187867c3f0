"""What a verification found: kinds of findings, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from pipeline.tally import Tally

SAMPLE = 20
"""Keys named for each kind of finding; all of them are counted."""

FIXES = {
    "due": "Run the job again",
    "missing": "Run the job again: it makes them anew",
    "altered": "Run the job again: it makes them anew",
    "unaccounted": "No job has published these, so they may show originals. Run the job again if "
    "pictures are due; take what is left out of the output",
    "stale": "An earlier run published these, obscured by its rules, but the source or the rules "
    "are others now. Those of due pictures are replaced when the job runs again. For quarantined "
    "pictures, mend the cause and run `streetblur rerun OUTPUT --quarantined`, or remove the "
    "object from the output",
    "orphans": "Published before, but this job's input has no such picture any more. Remove them "
    "from the output if they shall go too",
}
"""What to do about each kind of finding."""


@dataclass(slots=True)
class Finding:
    """Keys of one kind: how many, the first few by name, and what to do about them."""

    count: int = 0
    sample: list[str] = field(default_factory=list)
    fix: str = ""

    def add(self, key: str) -> None:
        """Count ``key``; remember it if it is among the first."""
        self.count += 1
        if len(self.sample) < SAMPLE:
            self.sample.append(key)


class RowSet:
    """A set of (shard, row), one bit a row: there may be millions."""

    def __init__(self) -> None:
        self._shards: dict[int, bytearray] = {}

    def add(self, shard: int, row: int) -> None:
        """Put one row in."""
        bits = self._shards.setdefault(shard, bytearray())
        bits.extend(bytes(max(0, row // 8 + 1 - len(bits))))
        bits[row // 8] |= 1 << row % 8

    def __contains__(self, item: object) -> bool:
        match item:
            case (int(shard), int(row)):
                bits = self._shards.get(shard, b"")
                return row // 8 < len(bits) and bool(bits[row // 8] >> row % 8 & 1)
        return False

    def __len__(self) -> int:
        return sum(bits.bit_count() for data in self._shards.values() for bits in data)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for shard, bits in self._shards.items():
            for row in range(8 * len(bits)):
                if bits[row // 8] >> row % 8 & 1:
                    yield shard, row


@dataclass(slots=True)
class Verification:
    """What reconciling found.

    Attributes:
        tally: outcomes in force.
        rows: manifest rows that count.
        due: rows without a valid outcome for their present identity (failed ones among them).
        missing: published, but no such object in the output.
        altered: the object in the output is not the one that was published.
        unaccounted: whatever else lies in the output and no job has published under that key:
            pictures, other files, links.
        orphans: published before; the source is gone from the manifest.
        stale: published under an earlier source or rule, and the row is due or quarantined now.
        damaged: (shard, row) of missing and altered outputs.
        unrecorded: (shard, row) whose output is none that an outcome in force tells of: a run was
            cut off after it published it, or somebody else wrote it.
        cut_off: those of them without a valid outcome.
    """

    tally: Tally = field(default_factory=Tally)
    rows: int = 0
    due: Finding = field(default_factory=partial(Finding, fix=FIXES["due"]))
    missing: Finding = field(default_factory=partial(Finding, fix=FIXES["missing"]))
    altered: Finding = field(default_factory=partial(Finding, fix=FIXES["altered"]))
    unaccounted: Finding = field(default_factory=partial(Finding, fix=FIXES["unaccounted"]))
    orphans: Finding = field(default_factory=partial(Finding, fix=FIXES["orphans"]))
    stale: Finding = field(default_factory=partial(Finding, fix=FIXES["stale"]))
    damaged: RowSet = field(default_factory=RowSet)
    unrecorded: RowSet = field(default_factory=RowSet)
    cut_off: RowSet = field(default_factory=RowSet)

    @property
    def complete(self) -> bool:
        """Whether published + quarantined = manifest, and the bucket holds nothing unprotected.

        Stale outputs and orphans do not count against it: both are obscured, if by earlier rules.
        """
        faults = (self.due, self.missing, self.altered, self.unaccounted)
        return not any(finding.count for finding in faults)

    def remedy(self) -> str:
        """What makes an incomplete job complete: running it again takes no strangers away."""
        steps = []
        if self.due.count or self.missing.count or self.altered.count:
            steps.append("run the job again")
        if self.unaccounted.count:
            steps.append("take what no job has published (unaccounted) out of the output yourself")
        return ", and ".join(steps)

    def findings(self) -> dict[str, Finding]:
        """All findings by name, the grave ones first."""
        names = ("due", "missing", "altered", "unaccounted", "stale", "orphans")
        return {name: getattr(self, name) for name in names}
