"""The whole study: who attacks what, kept in a file as it goes on, and the page about it."""

from __future__ import annotations

import itertools
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from evaluation.demo.plates import Kind
from evaluation.irreversibility.embedding import EmbeddingPool, FaceEmbedder
from evaluation.irreversibility.faces import Effort, FaceStudy
from evaluation.irreversibility.identities import people, photographs
from evaluation.irreversibility.plates import Read, brute_force, read_by_eye, read_by_network
from evaluation.irreversibility.reading import TextReader
from evaluation.irreversibility.treatments import Treatment
from evaluation.markdown import table

# Points that an attacker may be better than on mean colours, or than chance: upper 95 % bound.
TARGET = 0.03
SIZES = (12, 24, 48, 96, 192, 384, 600)
PLATE_SETS = ("openalpr_us", "openalpr_eu", "openalpr_br")
# Formats that end with three digits: the fewest candidates there are.
PLATE_KINDS: tuple[Kind, ...] = ("us", "eu_square")
_PACKAGES = ("streetblur", "numpy", "scikit-learn", "scikit-image", "torch", "dlib-bin")
_COPIES = 16
# So many plates that none read leaves an upper bound below 3 points; fewer show that one is read.
_PLATES, _FEW_PLATES = 130, 40
# What breaks a control needs little effort.
_LITTLE = Effort(places=2, runs=2, steps=60, restoring=30)

Row = dict[str, Any]


class Study:
    """Runs attacks and keeps their results in ``output`` (JSON) as they come.

    Args:
        data: the data folder.
        output: what is there already is kept, but for what is attacked again.
        quick: a fraction of the effort; for a look, not for figures.
    """

    def __init__(self, data: Path, output: Path, *, quick: bool = False) -> None:
        self._data, self._output, self._quick = data, output, quick
        self._rows: dict[str, list[Row]] = {"faces": [], "plates": [], "sizes": []}
        if output.is_file():
            self._rows |= json.loads(output.read_text(encoding="utf-8"))["rows"]

    def faces(self, treatments: Sequence[Treatment], controls: Sequence[Treatment] = ()) -> None:
        """Attack faces of people of whom several photographs are known, and single ones.

        Args:
            controls: are attacked with little effort, and on the first set only.
        """
        embedder, pool = FaceEmbedder(), EmbeddingPool(Effort().processes)
        few = replace(people(self._data, embedder, known=1, probes=1), name="people, little effort")
        studies = [(FaceStudy(few, pool, _LITTLE), controls)]
        if self._quick:
            studies = [(FaceStudy(few, pool, _LITTLE), [*treatments, *controls])]
        else:
            many = people(self._data, embedder, known=2, probes=4)
            singles = photographs(self._data, embedder, variations=4)
            for group, effort in ((many, Effort()), (singles, Effort(places=2, restoring=0))):
                studies.append((FaceStudy(group, pool, effort), treatments))
        for study, own in studies:
            for treatment in own:
                self._keep("faces", treatment, [asdict(a) for a in study.attacks(treatment)])

    def sizes(self, treatments: Sequence[Treatment]) -> None:
        """Attack faces of every size, without networks and without undoing the blur."""
        embedder, pool = FaceEmbedder(), EmbeddingPool(Effort().processes)
        effort = Effort(places=2, runs=2, steps=0, restoring=0, deconvolving=False)
        group = people(self._data, embedder, known=1, probes=1 if self._quick else 4)
        study = FaceStudy(group, pool, effort)
        for treatment in treatments:
            rows: list[Row] = []
            for size in SIZES[:2] if self._quick else SIZES:
                found = study.attacks(treatment, size=size)
                rows += [asdict(attack) | {"size": size} for attack in found]
            self._keep("sizes", treatment, rows)

    def plates(self, treatments: Sequence[Treatment], controls: Sequence[Treatment] = ()) -> None:
        """Read plates: real ones by OCR, drawn ones by a network and by brute force.

        Args:
            controls: fewer plates of these are attacked by brute force.
        """
        reader = TextReader()
        for treatment in (*treatments, *controls):
            number, training, steps = (20, 400, 60) if self._quick else (_PLATES, 3000, 250)
            if treatment in controls:
                number = min(number, _FEW_PLATES)
            rows: list[Row] = []
            for name in PLATE_SETS:
                read = read_by_eye(treatment, reader, self._data / "dev" / name)
                rows.append(_read("text reader", name, 1, read, chance=0.0))
            read = read_by_network(treatment, "us", training=training, plates=500, steps=steps)
            rows.append(_read("trained network", "us, last three", 1, read, chance=1e-3))
            every = (1, _COPIES) if treatment.fresh else (1,)
            for kind, copies in itertools.product(PLATE_KINDS, every):
                forced = brute_force(treatment, kind, plates=number, copies=copies)
                exact = sum(one.exact for one in forced)
                symbols = sum(one.symbols for one in forced) / (3 * len(forced))
                read = Read(exact, len(forced), symbols)
                what = f"{kind}, last three"
                rows.append(_read("brute force", what, copies, read, chance=1e-3))
            for row in rows:
                print(
                    f"{treatment.name}: {row['attacker']}, {row['what']}, copies {row['copies']}: "
                    f"{row['exact']} of {row['plates']}, symbols {row['symbols']:.1%}"
                )
            self._keep("plates", treatment, [{"treatment": treatment.name} | r for r in rows])

    def holds(self, treatment: str) -> bool:
        """Whether ``treatment`` was attacked and no attacker beats the target."""
        found = self._rows["faces"] + self._rows["sizes"]
        faces = [row for row in found if row["treatment"] == treatment]
        plates = [row for row in self._rows["plates"] if row["treatment"] == treatment]
        if not faces and not plates:
            return False
        # a whole plate is not read by chance, its last three symbols are
        return all(row["rank1"]["high"] <= TARGET for row in faces) and all(
            row["high"] <= TARGET + row["chance"] if row["chance"] else row["exact"] == 0
            for row in plates
        )

    def breaks(self, treatment: str) -> bool:
        """Whether ``treatment`` was broken wherever it was attacked: by some attacker each time."""
        faces = [row for row in self._rows["faces"] if row["treatment"] == treatment]
        plates = [row for row in self._rows["plates"] if row["treatment"] == treatment]
        found = []
        if faces:
            found.append(max(row["rank1"]["low"] for row in faces) > TARGET)
        if plates:
            found.append(max(row["low"] - row["chance"] for row in plates) > TARGET)
        return bool(found) and all(found)

    def page(self) -> str:
        """The results as Markdown."""
        parts = [
            f"Machine: {platform.machine()}, Python {platform.python_version()}; "
            + ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        ]
        for name, heading in (("faces", "Faces"), ("sizes", "Sizes")):
            for group in dict.fromkeys(row["people"] for row in self._rows[name]):
                rows = [row for row in self._rows[name] if row["people"] == group]
                parts.append(f"## {heading}: {group}\n\n" + _face_table(rows))
        if self._rows["plates"]:
            parts.append("## Plates\n\n" + _plate_table(self._rows["plates"]))
        return "\n\n".join(parts)

    def _keep(self, what: str, treatment: Treatment, rows: list[Row]) -> None:
        new = {(row.get("people"), row["treatment"]) for row in rows}
        old = [r for r in self._rows[what] if (r.get("people"), r["treatment"]) not in new]
        self._rows[what] = old + rows
        self._output.write_text(json.dumps({"rows": self._rows}, indent=1), encoding="utf-8")


def _read(attacker: str, what: str, copies: int, read: Read, *, chance: float) -> Row:
    low, high = binomtest(read.exact, read.plates).proportion_ci(0.95)
    return {
        "attacker": attacker,
        "what": what,
        "copies": copies,
        "chance": chance,
        **asdict(read),
        "low": low,
        "high": high,
    }


def _face_table(rows: Sequence[Row]) -> str:
    head = [
        "treatment",
        "attacker",
        "copies",
        "rank-1",
        "on mean colour",
        "difference, 95 %",
        "probes",
        "verification (AUC)",
    ]
    if "size" in rows[0]:
        head.insert(1, "size")
    lines = [head]
    for row in rows:
        rank1 = row["rank1"]
        line = [
            row["treatment"],
            row["attacker"],
            row["copies"],
            f"{rank1['rate']:.1%}",
            f"{rank1['base']:.1%}",
            f"{100 * rank1['low']:+.1f} to {100 * rank1['high']:+.1f}",
            str(rank1["probes"]),
            f"{row['verification']:.2f}",
        ]
        if "size" in row:
            line.insert(1, f"{row['size']} px")
        lines.append(line)
    return table(lines)


def _plate_table(rows: Sequence[Row]) -> str:
    lines = [["treatment", "attacker", "what", "copies", "exact", "95 %", "symbols"]]
    lines += [
        [
            row["treatment"],
            row["attacker"],
            row["what"],
            str(row["copies"]),
            f"{row['exact']} of {row['plates']}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            f"{row['symbols']:.1%}",
        ]
        for row in rows
    ]
    return table(lines)
