"""Who tries to find a person again in what was redacted, from one copy or from many.

All attackers know the algorithm, its settings and where the face lies on the grid, and have clear
pictures of everybody which they can redact themselves, with secrets of their own. They only lack
the operator's secret.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from evaluation.irreversibility.bounds import Area, roc_area
from evaluation.irreversibility.observations import Observations

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Longs = NDArray[np.int64]

COPIES = ("one", "reruns", "frames", "all")
# Side of what the linear attacker looks at.
_LINEAR_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What an attacker says.

    Attributes:
        scores: float [n, identities], more is more alike.
        truth: int [n].
    """

    scores: Floats
    truth: Longs

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Which probes were named rightly; a tie is no hit unless the right one comes first."""
        return np.asarray(self.scores.argmax(axis=1) == self.truth)

    @property
    def verification(self) -> Area:
        """Area under the ROC curve of "same person or not", 0.5 by chance."""
        same = np.eye(self.scores.shape[1], dtype=bool)[self.truth]
        # scores of one probe are comparable with those of another after centring
        level = self.scores - self.scores.mean(axis=1, keepdims=True)
        return roc_area(level[same], level[~same].reshape(len(level), -1), self.truth)


def linear(seen: Observations, copies: str) -> Guess:
    """The best linear attacker: Fisher's discriminant, trained on redacted pictures of everybody.

    It learns by how much pictures of one person differ and how the noise is distributed, at each
    place of the grid apart, and weighs averages accordingly: a matched filter.

    Args:
        copies: ``one`` looks at each redacted picture alone; ``reruns`` averages runs with fresh
            secrets; ``frames`` puts together what several places on the grid show (neighbouring
            frames); ``all`` does both.
    """
    small = _shrunk(seen.crops, _LINEAR_PX)
    if copies in ("reruns", "all"):
        small = small.mean(axis=2, keepdims=True)
    chips, places, runs = small.shape[:3]
    if copies in ("frames", "all"):
        parts = [small.transpose(0, 2, 1, 3).reshape(chips, runs, -1)]
    else:
        parts = [small[:, place] for place in range(places)]
    scores, truth = [], []
    for part in parts:
        known, probes = part[seen.known], part[~seen.known]
        names = np.repeat(seen.identities[seen.known], runs)
        scores.append(_discriminant(known.reshape(len(names), -1), names, probes))
        truth.append(np.repeat(seen.identities[~seen.known], runs))
    return Guess(np.concatenate(scores), np.concatenate(truth))


def _discriminant(known: Floats, names: Longs, probes: Floats) -> Floats:
    """Log likelihoods [n, identities] under normal distributions of one covariance."""
    people = int(names.max()) + 1
    means = np.stack([known[names == person].mean(axis=0) for person in range(people)])
    covariance = LedoitWolf(assume_centered=True).fit(known - means[names]).covariance_
    # nothing is known better than to a quarter of a grey level
    covariance += np.eye(len(covariance)) / 16
    weights = np.linalg.solve(covariance, means.T)
    flat = probes.reshape(-1, probes.shape[-1])
    return np.asarray(flat @ weights - 0.5 * (means.T * weights).sum(axis=0), np.float32)


def nearest(probes: Floats, truth: Longs, gallery: Floats, names: Longs) -> Guess:
    """Whose known picture lies nearest, compared with how near it lies to other probes.

    Without the latter (cohort normalisation) all blurred faces look like one person of the set.

    Args:
        probes: embeddings [n, d]; ``truth`` says whose they are.
        gallery: embeddings [m, d] of known pictures; ``names`` says whose they are.
    """
    away = np.linalg.norm(probes[:, None] - gallery[None], axis=2)
    people = int(names.max()) + 1
    least = np.stack([away[:, names == person].min(axis=1) for person in range(people)], axis=1)
    return Guess((least.mean(axis=0) - least).astype(np.float32), truth)


def _shrunk(crops: Pixels, side: int) -> Floats:
    """Averages [..., side x side x channels] over parts of crops [..., h, w, channels]."""
    *lead, height, width, channels = crops.shape
    if height % side or width % side:
        raise ValueError(f"crops of {height} x {width} cannot be split into {side} x {side}")
    split = crops.reshape(-1, side, height // side, side, width // side, channels)
    means = split.mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(*lead, side * side * channels)


def resized(crops: Pixels, side: int) -> Pixels:
    """Crops [n, h, w, channels] at another size [n, side, side, channels]."""
    out = [cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in crops]
    return np.stack(out).reshape(len(crops), side, side, -1)
