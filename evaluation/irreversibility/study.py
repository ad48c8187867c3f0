"""The whole study: who attacks what, kept in a file as it goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from scipy.stats import binomtest

from evaluation.demo.plates import Kind
from evaluation.irreversibility.choice import choice_page, weakest
from evaluation.irreversibility.embedding import EmbeddingPool, FaceEmbedder
from evaluation.irreversibility.faces import LINEAR_ONLY, Effort, FaceStudy
from evaluation.irreversibility.identities import people, photographs
from evaluation.irreversibility.page import page
from evaluation.irreversibility.plates import Read, brute_force, read_by_eye, read_by_network
from evaluation.irreversibility.reading import TextReader
from evaluation.irreversibility.results import (
    ChoiceRow,
    EffortName,
    FaceRow,
    PlateRow,
    ResultsFile,
    Section,
    SizeRow,
    attacked,
)
from evaluation.irreversibility.treatments import Redacted, Treatment
from evaluation.irreversibility.verdicts import (
    BRUTE_FORCE,
    TEXT_READER,
    TRAINED_READER,
    AnyRow,
    Control,
    dead,
    holds,
    told,
)

SIZES = (12, 24, 48, 96, 192, 384, 600)
# Cells of larger faces take pictures of 10 to 50 megapixels each: one copy of each shows what blur
# leaves, and averages of several were taken at smaller sizes.
_ONE_COPY_FROM = 300
PLATE_SETS = ("openalpr_us", "openalpr_eu", "openalpr_br")
# Formats that end with three digits: the fewest candidates there are.
PLATE_KINDS: tuple[Kind, ...] = ("us", "eu_square")
_COPIES = 16
# So many plates that none read leaves an upper bound below 3 points; fewer show that one is read.
_PLATES: dict[EffortName, int] = {"full": 130, "little": 40, "quick": 20}
# What breaks a control needs little effort.
_LITTLE = Effort(places=2, runs=2, steps=60, restoring=30)


class Study:
    """Runs attacks and keeps their results in ``output`` (JSON) as they come.

    Args:
        data: the data folder.
        output: what is there already is kept, but for what is attacked again.
        quick: a fraction of the effort; for a look, not for figures.

    Raises:
        ConfigurationError: ``output`` holds something else, or cannot be written.
    """

    def __init__(self, data: Path, output: Path, *, quick: bool = False) -> None:
        self._data, self._file, self._quick = data, ResultsFile(output), quick
        self._effort: EffortName = "quick" if quick else "full"
        self._on_controls: EffortName = "quick" if quick else "little"

    def faces(self, treatments: Sequence[Treatment], controls: Sequence[Treatment] = ()) -> None:
        """Attack faces of people of whom several photographs are known, and single ones.

        Args:
            controls: are attacked with little effort, and on the first set only.
        """
        embedder, pool = FaceEmbedder(), EmbeddingPool(Effort().processes)
        few = people(self._data, embedder, known=1, probes=1)
        studies = [(FaceStudy(few, pool, _LITTLE), controls, self._on_controls)]
        if self._quick:
            studies.append((studies[0][0], treatments, self._effort))
        elif treatments:
            many = people(self._data, embedder, known=2, probes=4)
            singles = photographs(self._data, embedder, variations=4)
            for group, effort in ((many, Effort()), (singles, Effort(places=2, restoring=0))):
                studies.append((FaceStudy(group, pool, effort), treatments, self._effort))
        for study, own, name in studies:
            for treatment in own:
                found = [asdict(attack) for attack in study.attacks(treatment)]
                self._file.keep("faces", [FaceRow(**one, effort=name) for one in found])

    def sizes(self, treatments: Sequence[Treatment]) -> None:
        """Attack faces of every size, without networks and without undoing the blur."""
        embedder, pool = FaceEmbedder(), EmbeddingPool(Effort().processes)
        effort = Effort(places=2, runs=2, steps=0, restoring=0, deconvolving=False)
        group = people(self._data, embedder, known=1, probes=1 if self._quick else 4)
        study = FaceStudy(group, pool, effort)
        single = FaceStudy(group, pool, replace(effort, places=1, runs=1))
        sizes = SIZES[:2] if self._quick else SIZES
        for treatment, size in itertools.product(treatments, sizes):
            large = size >= _ONE_COPY_FROM
            found = (single if large else study).attacks(treatment, size=size)
            kept = [asdict(one) for one in found if one.copies == "one" or not large]
            rows = [SizeRow(**one, size=size, effort=self._effort) for one in kept]
            self._file.keep("sizes", rows)

    def choose(self, settings: Sequence[Redacted]) -> None:
        """Attack faces under each of ``settings`` by the linear attacker alone.

        What falls on the first set of people is spared the second: it has to hold on both.
        """
        embedder = FaceEmbedder()
        if self._quick:
            crowds = [
                people(self._data, embedder, known=1, probes=1),
                photographs(self._data, embedder, variations=2),
            ]
            efforts = [replace(LINEAR_ONLY, places=2, runs=2)] * 2
        else:
            crowds = [
                people(self._data, embedder, known=2, probes=4),
                photographs(self._data, embedder, variations=4),
            ]
            efforts = [LINEAR_ONLY, replace(LINEAR_ONLY, places=2)]
        for crowd, effort in zip(crowds, efforts, strict=True):
            study = FaceStudy(crowd, embedder, effort)
            standing = []
            for setting in settings:
                rows = choice_rows(study, setting, self._effort)
                self._file.keep("choices", rows)
                standing += [setting] if all(map(holds, rows)) else []
            settings = standing

    def plates(self, treatments: Sequence[Treatment], controls: Sequence[Treatment] = ()) -> None:
        """Read plates: real ones by OCR, drawn ones by a network and by brute force.

        Args:
            controls: fewer plates of these are attacked by brute force.
        """
        reader = TextReader()
        for treatment in (*treatments, *controls):
            effort = self._on_controls if treatment in controls else self._effort
            rows = [
                plate_row(treatment, attacker, what, copies, read, effort)
                for attacker, what, copies, read in self._readings(treatment, reader, effort)
            ]
            for row in rows:
                print(f"{treatment.name}: {told(row)}, symbols {row.symbols:.1%}")
            self._file.keep("plates", rows)

    def _readings(
        self, treatment: Treatment, reader: TextReader, effort: EffortName
    ) -> Iterator[tuple[str, str, int, Read]]:
        for name in PLATE_SETS:
            yield TEXT_READER, name, 1, read_by_eye(treatment, reader, self._data / "dev" / name)
        training, steps = (1000, 100) if effort == "quick" else (3000, 250)
        read = read_by_network(treatment, "us", training=training, plates=500, steps=steps)
        yield TRAINED_READER, "us, last three", 1, read
        every = (1, _COPIES) if treatment.fresh else (1,)
        for kind, copies in itertools.product(PLATE_KINDS, every):
            forced = brute_force(treatment, kind, plates=_PLATES[effort], copies=copies)
            exact = sum(one.exact for one in forced)
            symbols = sum(one.symbols for one in forced) / (3 * len(forced))
            yield BRUTE_FORCE, f"{kind}, last three", copies, Read(exact, len(forced), symbols)

    def misses(self, section: Section, treatment: str) -> list[str]:
        """Who beats the target on ``treatment``, at the effort of this run.

        Raises:
            ValueError: nobody attacked it.
        """
        rows = self._rows(section, treatment, self._effort)
        if not rows:
            raise ValueError(f"nobody attacked {treatment}")
        return [told(row) for row in rows if not holds(row)]

    def dead(self, section: Section, control: Control) -> list[str]:
        """Who should have broken ``control`` in this run and did not."""
        rows = self._rows(section, control.treatment.name, self._on_controls)
        return dead(rows, control.faces if section == "faces" else control.plates)

    def page(self) -> str:
        """The results as Markdown."""
        return page(self._file.results)

    def choice(self) -> tuple[str, bool]:
        """The choice among settings as Markdown, and whether any setting holds."""
        rows = [row for row in self._file.results.choices if row.effort == self._effort]
        return choice_page(rows), any(weakest(rows).values())

    def _rows(self, section: Section, treatment: str, effort: EffortName) -> Sequence[AnyRow]:
        results = self._file.results
        found: dict[Section, Sequence[AnyRow]] = {
            "faces": results.faces,
            "sizes": results.sizes,
            "plates": results.plates,
            "choices": results.choices,
        }
        return attacked(found[section], treatment, effort)


def choice_rows(study: FaceStudy, setting: Redacted, effort: EffortName) -> list[ChoiceRow]:
    """What ``study`` finds of ``setting``."""
    return [
        ChoiceRow(
            **asdict(attack),
            mode=setting.mode,
            strength=setting.share,
            noise=setting.noise,
            effort=effort,
        )
        for attack in study.attacks(setting)
    ]


def plate_row(
    treatment: Treatment, attacker: str, what: str, copies: int, read: Read, effort: EffortName
) -> PlateRow:
    """What ``attacker`` read, with its 95 % interval (Clopper-Pearson)."""
    low, high = binomtest(read.exact, read.plates).proportion_ci(0.95)
    return PlateRow(
        treatment=treatment.name,
        attacker=attacker,
        effort=effort,
        what=what,
        copies=copies,
        # nobody reads a whole plate by chance; of endings there are 1,000
        chance=0.0 if attacker == TEXT_READER else 1e-3,
        low=low,
        high=high,
        **asdict(read),
    )
