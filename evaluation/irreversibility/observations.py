"""What attackers get to see: every picture of everybody, redacted many times at many places."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.irreversibility.identities import CHIP_PX, Chip, People
from evaluation.irreversibility.scenes import Place, Shares, grown_shares, scene
from evaluation.irreversibility.treatments import Treatment

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Where CenterFace puts a box on a chip, in shares of it.
FACE_BOX: Shares = (0.14, 0.06, 0.86, 0.86)
# Side of the crops that are kept: enough for all that a blur leaves of the detail.
CROP_PX = 48
# Sizes of boxes are taken about here; what is destroyed depends on their ratio to the cells.
_NOMINAL_PX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Redacted faces.

    Attributes:
        crops: uint8 [chips, places, runs, CROP_PX, CROP_PX, channels]: what shows in the redacted
            area. Places differ in how the grid of cells cuts the face; runs in the secret.
        identities: int [chips].
        known: bool [chips]: whose names attackers know, and which they may redact themselves.
    """

    crops: Pixels
    identities: NDArray[np.int64]
    known: NDArray[np.bool_]


def observe(
    people: People,
    treatment: Treatment,
    *,
    places: int,
    runs: int,
    size: float = 0,
    processes: int = 2,
    seed: int = 1,
) -> Observations:
    """Redact every chip of ``people`` at ``places`` ^ 2 places, ``runs`` times with fresh secrets.

    Args:
        places: how many along each axis.
        size: of the redacted area in pixels; by default one about 64 at which cells are smallest
            in relation to it.
    """
    where = grid_places(treatment, places, size)
    work = partial(_one, treatment=treatment, where=where, runs=runs, seed=seed)
    jobs = list(enumerate(people.chips))
    if processes > 1:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            crops = pool.map(work, jobs, chunksize=8)
    else:
        crops = [work(job) for job in jobs]
    return Observations(
        np.stack(crops),
        np.array([chip.identity for chip in people.chips]),
        np.array([chip.known for chip in people.chips]),
    )


def grid_places(treatment: Treatment, places: int, size: float = 0) -> list[Place]:
    """Places that cut a box of ``size`` in different ways, evenly spread over a cell."""
    share = treatment.period
    if not size:
        size = worst_size(share) if share else _NOMINAL_PX
    period = cell_of(size, share) if share else 64
    steps = [round(period * (i + 0.5) / places) for i in range(places)]
    return [Place(size, x, y, period) for y in steps for x in steps]


def worst_size(share: float) -> float:
    """A size about 64 px at which cells of ``share`` are just not the next larger ones."""
    powers = [2.0**k for k in range(2, 10)]
    cell = min(powers, key=lambda p: abs(np.log(p / share / _NOMINAL_PX)))
    return cell / share * 0.97


def cell_of(size: float, share: float) -> int:
    """Side of the cells of a box of ``size``, as the product chooses it."""
    return max(4, int(2 ** np.ceil(np.log2(max(share * size, 1)))))


def chips_of(crops: NDArray[Any]) -> list[Pixels]:
    """Crops [n, h, w, channels] put back where they lie in a chip [150, 150, 3].

    Levels are 0..255; the rest of the chip is filled from their edges.
    """
    x1, y1, x2, y2 = (round(share * CHIP_PX) for share in grown_shares(FACE_BOX, "face"))
    out = []
    for crop in np.clip(np.rint(crops), 0, 255).astype(np.uint8):
        inside = cv2.resize(crop, (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC)
        inside = inside.reshape(y2 - y1, x2 - x1, -1)
        colour = np.repeat(inside, 3, axis=2) if inside.shape[2] == 1 else inside
        sides = (y1, CHIP_PX - y2, x1, CHIP_PX - x2)
        out.append(np.asarray(cv2.copyMakeBorder(colour, *sides, cv2.BORDER_REPLICATE), np.uint8))
    return out


def shown(seen: Observations, copies: str, each: int = 4) -> tuple[Floats, NDArray[np.int64]]:
    """Pictures that an attacker looks at one by one, [n, CROP_PX, CROP_PX, channels], and of whom.

    Args:
        copies: ``one``: single copies; ``reruns``: averages of all runs; both at ``each`` places.
            ``all``: the average of all copies of a chip.

    Returns:
        The pictures and the number of the chip that each shows.
    """
    chips, places = seen.crops.shape[:2]
    if copies == "all":
        return seen.crops.mean(axis=(1, 2), dtype=np.float32), np.arange(chips)
    at = np.unique(np.linspace(0, places - 1, each).round().astype(int))
    runs = seen.crops[:, at, :1] if copies == "one" else seen.crops[:, at]
    means = runs.mean(axis=2, dtype=np.float32)
    return means.reshape(-1, *means.shape[2:]), np.repeat(np.arange(chips), len(at))


def _one(
    job: tuple[int, Chip], *, treatment: Treatment, where: list[Place], runs: int, seed: int
) -> Pixels:
    """[places, runs, CROP_PX, CROP_PX, channels] of one chip."""
    cv2.setNumThreads(1)
    number, chip = job
    random = np.random.default_rng([seed, number])
    grey = bool((chip.pixels == chip.pixels[:, :, :1]).all())
    rows = []
    for place in where:
        source = scene(chip.pixels, FACE_BOX, place, "face")
        seen = []
        for _ in range(runs if treatment.fresh else 1):
            crop = treatment(source.data, source.box, random.bytes(32))
            small = cv2.resize(crop, (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA)
            if grey:
                small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[:, :, None]
            seen.append(small)
        rows.append(np.stack(seen))
    return np.stack(rows)
