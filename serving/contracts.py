"""Tensor names, dtypes and shapes of every model: the one place that states them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serving.geometry import Label

Dtype = Literal["uint8", "int32", "float32"]
Dim = int | str

MULTIPLE = 32
"""Height and width of every detector input are multiples of this (the nets' total stride)."""

MAX_BOXES = 1024
"""Rows of ``boxes``. Measured: at most 549 are used on the face and plate sets (83 faces
in the fullest picture), and 632 by 572 faces of 48 px in one tile; above that faces can be lost,
which the flag ``face_rows_full`` says."""

GRAPH_FLOOR = 0.05
"""Rows with a score below this are zeroed inside the graph and not counted."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: ``shape`` holds numbers for fixed and names for dynamic dimensions."""

    name: str
    dtype: Dtype
    shape: tuple[Dim, ...]

    def mismatch(self, array: NDArray[np.generic], bound: dict[str, int]) -> str | None:
        """Why ``array`` breaks this spec, or None; ``bound`` collects the dynamic dimensions."""
        if array.dtype != np.dtype(self.dtype):
            return f"dtype is {array.dtype}, not {self.dtype}"
        if array.ndim != len(self.shape):
            return f"shape is {array.shape}, not {self.shape}"
        for actual, wanted in zip(array.shape, self.shape, strict=True):
            expected = wanted if isinstance(wanted, int) else bound.setdefault(wanted, actual)
            if actual != expected:
                return f"shape is {array.shape}, not {self.shape} with {bound}"
        return None


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What a model takes and gives.

    Attributes:
        name: folder in the model repository.
        label: what the detector finds.
        inputs: ``image`` uint8 [N, H, W, 3], RGB 0..255, H and W multiples of 32.
        outputs: ``boxes`` float32 [N, K, 5] = x1, y1, x2, y2, score in input pixels, by falling
            score, zero-padded; ``count`` int32 [N], rows with a score of at least
            ``GRAPH_FLOOR`` (capped at K); ``peak`` float32 [N], the highest raw score before the
            floor, never exactly 0 in a live model.
    """

    name: str
    label: Label
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @staticmethod
    def misaligned(shape: tuple[int, ...]) -> bool:
        """Whether an image tensor of ``shape`` [N, H, W, 3] breaks the rule for H and W."""
        _, height, width, _ = shape
        return min(shape) < 1 or height % MULTIPLE != 0 or width % MULTIPLE != 0


_IMAGE = TensorSpec("image", "uint8", ("N", "H", "W", 3))
_DETECTOR_OUTPUTS = (
    TensorSpec("boxes", "float32", ("N", MAX_BOXES, 5)),
    TensorSpec("count", "int32", ("N",)),
    TensorSpec("peak", "float32", ("N",)),
)

FACE_DETECTOR = ModelContract("face_detector", "face", (_IMAGE,), _DETECTOR_OUTPUTS)
PLATE_DETECTOR = ModelContract("plate_detector", "plate", (_IMAGE,), _DETECTOR_OUTPUTS)

DETECTORS: tuple[ModelContract, ...] = (FACE_DETECTOR, PLATE_DETECTOR)
CONTRACTS: dict[str, ModelContract] = {contract.name: contract for contract in DETECTORS}
