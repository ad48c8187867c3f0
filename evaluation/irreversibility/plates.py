"""Who tries to read a plate again: a text reader, a network, and brute force over a format.

The strongest attack on plates needs no learning: whoever knows a plate's format, design and font
and all but its last three symbols draws each candidate, redacts it himself and takes the one that
looks most like what was published, weighing differences by how the noise is distributed.
"""

from __future__ import annotations

import itertools
import multiprocessing
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import read_annotations
from evaluation.demo.plates import Kind, draw_plate, invented_text
from evaluation.irreversibility.jpegs import decoded
from evaluation.irreversibility.observations import cell_of, worst_size
from evaluation.irreversibility.reading import SYMBOLS, TextReader, train_reader
from evaluation.irreversibility.scenes import Place, Scene, Shares, default_style, scene
from evaluation.irreversibility.treatments import Treatment
from pipeline.redaction import RedactionBox

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

LAST = 3
# What brute force compares: averages over parts of the area.
_ROWS, _COLUMNS = 4, 16
# Rows and columns that the trained reader looks at.
_READER_SIZE = (16, 48)
# A plate fills its box; a car goes on around it.
_MARGIN = 0.12
_EDGE = _MARGIN / (1 + 2 * _MARGIN)
_PLATE_BOX: Shares = (_EDGE, _EDGE, 1 - _EDGE, 1 - _EDGE)
# Candidates that are drawn as wholes, of all that are compared.
_DRAWN = 40
# Finer than any plate is shown here; brute force draws thousands.
_PIXELS_PER_MM = 0.7
_NOISE_SAMPLES = 160
# Nothing is known better than to a quarter of a grey level.
_FLOOR = 1 / 16


@dataclass(frozen=True, slots=True)
class Forced:
    """What brute force found for one plate.

    Attributes:
        exact: all of the last three symbols.
        symbols: how many of them.
        candidates: how many texts there were to choose from.
    """

    exact: bool
    symbols: int
    candidates: int


def brute_force(
    treatment: Treatment,
    kind: Kind,
    *,
    plates: int,
    copies: int,
    processes: int = 2,
    seed: int = 3,
) -> list[Forced]:
    """Try every text that a plate of ``kind`` could end with, on ``plates`` invented plates.

    Args:
        copies: redacted with fresh secrets and averaged, where the treatment's results differ.
    """
    work = partial(_force, treatment=treatment, kind=kind, copies=copies, seed=seed)
    if processes < 2:
        return [work(number) for number in range(plates)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(work, range(plates), chunksize=4)


def _force(number: int, *, treatment: Treatment, kind: Kind, copies: int, seed: int) -> Forced:
    cv2.setNumThreads(1)
    random = np.random.default_rng([seed, number])
    text, design = invented_text(kind, random), int(random.integers(1 << 30))
    place = plate_place(treatment, random)
    source = plate_scene(kind, text, design, place)
    runs = copies if treatment.fresh else 1
    shown = np.mean(
        [_parts(treatment(source.data, source.box, random.bytes(32))) for _ in range(runs)], axis=0
    )
    endings = list(_endings(text))
    covariance = _noise(treatment, source, random) / runs
    weights = np.linalg.inv(covariance + _FLOOR * np.eye(len(covariance)))

    def away(parts: Floats) -> Floats:
        """How unlikely candidates are of which ``parts`` [n, parts] would show."""
        difference = shown - parts
        # light and dirt are the plate's own: a constant is no evidence
        difference -= difference.mean(axis=1, keepdims=True)
        return np.einsum("ni,ij,nj->n", difference, weights, difference)

    def drawn(candidates: list[str]) -> Floats:
        """What would show of plates that end so [n, parts]."""
        whole = [text[:-LAST] + ending for ending in candidates]
        return np.stack([_parts(_expected(treatment, kind, t, design, place)) for t in whole])

    order = np.argsort(away(_superposed(endings, drawn)))
    best = [endings[index] for index in order[:_DRAWN]]
    best = [best[int(away(drawn(best)).argmin())]]
    right = sum(a == b for a, b in zip(best[0], text[-LAST:], strict=True))
    return Forced(right == LAST, right, len(endings))


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader made of plates.

    Attributes:
        exact: plates of which every symbol asked for was read, in order.
        plates: how many there were.
        symbols: share of symbols that were read at their place, 0..1.
    """

    exact: int
    plates: int
    symbols: float


def read_by_network(
    treatment: Treatment,
    kind: Kind,
    *,
    training: int,
    plates: int,
    steps: int,
    processes: int = 2,
    seed: int = 5,
) -> Read:
    """Train a network on ``training`` redacted plates and read the last symbols of ``plates``."""
    work = partial(_shown, treatment=treatment, kind=kind, seed=seed)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        made = pool.map(work, range(training + plates), chunksize=32)
    pictures = np.stack([picture for picture, _ in made])
    texts = [text for _, text in made]
    found = train_reader(pictures[:training], texts[:training], pictures[training:], steps=steps)
    return _compared(found, texts[training:])


def read_by_eye(treatment: Treatment, reader: TextReader, folder: Path, seed: int = 9) -> Read:
    """Real plates of the labelled set in ``folder``, in their own photographs, read by OCR.

    A plate counts as read where the text that the reader finds is the plate's.
    """
    random = np.random.default_rng(seed)
    style = default_style("plate")
    found, texts = [], []
    for picture in read_annotations(folder / "annotations.jsonl"):
        data = (folder / picture.image).read_bytes()
        for one in picture.boxes:
            if one.label == "plate" and one.text:
                area = RedactionBox.around(one.box, style, "plate").area
                inside = (
                    max(area[0], 0),
                    max(area[1], 0),
                    min(area[2], picture.width),
                    min(area[3], picture.height),
                )
                box = RedactionBox(*inside, style, "plate")
                found.append(reader(treatment(data, box, random.bytes(32))))
                texts.append("".join(s for s in one.text.upper() if s in SYMBOLS))
    return _compared(found, texts)


def _compared(found: list[str], texts: list[str]) -> Read:
    pairs = list(zip(found, texts, strict=True))
    right = sum(a == b for one, text in pairs for a, b in zip(one, text, strict=False))
    return Read(
        sum(one == text for one, text in pairs), len(pairs), right / max(sum(map(len, texts)), 1)
    )


def _shown(number: int, *, treatment: Treatment, kind: Kind, seed: int) -> tuple[Floats, str]:
    """A redacted plate [16, 48] and its last symbols."""
    cv2.setNumThreads(1)
    random = np.random.default_rng([seed, number])
    text, design = invented_text(kind, random), int(random.integers(1 << 30))
    source = plate_scene(kind, text, design, plate_place(treatment, random))
    crop = treatment(source.data, source.box, random.bytes(32))
    return _parts(crop, *_READER_SIZE).reshape(_READER_SIZE), text[-LAST:]


def plate_place(treatment: Treatment, random: np.random.Generator, size: float = 0) -> Place:
    """A place for a plate, anywhere on the grid, by default where cells are smallest."""
    share = treatment.period
    size = size or worst_size(share or 1.0)
    period = cell_of(size, share) if share else 64
    x, y = (int(v) for v in random.integers(0, period, 2))
    return Place(size, x, y, period)


def plate_scene(kind: Kind, text: str, design: int, place: Place) -> Scene:
    """A plate on a car, as far as what is around it matters, as a JPEG."""
    return scene(_picture(kind, text, design), _PLATE_BOX, place, "plate")


def _picture(kind: Kind, text: str, design: int) -> Pixels:
    random = np.random.default_rng(design)
    colour = random.integers(20, 235, 3)
    # the same draws for every text, so that light and dirt are the same
    plate = draw_plate(kind, random, text, _PIXELS_PER_MM).pixels
    dx, dy = (round(side * _MARGIN) for side in (plate.shape[1], plate.shape[0]))
    return np.asarray(
        cv2.copyMakeBorder(plate, dy, dy, dx, dx, cv2.BORDER_CONSTANT, value=colour.tolist()),
        np.uint8,
    )


def _expected(treatment: Treatment, kind: Kind, text: str, design: int, place: Place) -> Pixels:
    made = plate_scene(kind, text, design, place)
    return treatment.expected(decoded(made.data), made.box)


def _superposed(endings: list[str], drawn: Callable[[list[str]], Floats]) -> Floats:
    """About what would show of each ending: what each symbol changes at its place, added up.

    Blurs are linear, and symbols stand apart; the likeliest endings are drawn as wholes.
    """
    first = endings[0]
    symbols = [sorted({ending[at] for ending in endings}) for at in range(LAST)]
    single = [first[:at] + symbol + first[at + 1 :] for at in range(LAST) for symbol in symbols[at]]
    base, *rest = drawn([first, *single])
    changes = dict(zip(_places(symbols), np.stack(rest) - base, strict=True))
    return np.stack(
        [base + sum(changes[at, symbol] for at, symbol in enumerate(ending)) for ending in endings]
    )


def _places(symbols: list[list[str]]) -> list[tuple[int, str]]:
    return [(at, symbol) for at, own in enumerate(symbols) for symbol in own]


def _endings(text: str) -> list[str]:
    """What the last symbols could be: digits for digits, letters for letters."""
    kinds = [
        string.digits if symbol.isdigit() else string.ascii_uppercase for symbol in text[-LAST:]
    ]
    return ["".join(symbols) for symbols in itertools.product(*kinds)]


def _parts(crop: Pixels, rows: int = _ROWS, columns: int = _COLUMNS) -> Floats:
    """Averages [rows x columns] of the brightness of parts of a crop."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel()


def _noise(treatment: Treatment, source: Scene, random: np.random.Generator) -> Floats:
    """How the published noise is distributed over the parts [n, n], from secrets of one's own."""
    if not treatment.fresh:
        return np.zeros((_ROWS * _COLUMNS,) * 2, np.float32)
    samples = [
        _parts(treatment(source.data, source.box, random.bytes(32))) for _ in range(_NOISE_SAMPLES)
    ]
    return np.cov(np.stack(samples).T).astype(np.float32)
