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

FINGERPRINT_BYTES = 8
"""Length of ``fingerprint``: the first bytes of the SHA-256 of the graph that answered."""

CROP = 64
"""Height and width of a crop that the post-processor sees."""

FEATURES: tuple[str, ...] = (
    *("is_face", "is_plate"),
    *("score", "score_logit"),
    *("secondary_1", "secondary_1_known", "secondary_2", "secondary_2_known"),
    *("landmarks", "landmarks_known"),
    *("centre_x", "centre_y", "top", "bottom", "width", "height"),
    *("log_width", "log_height", "log_aspect", "height_to_bottom", "touches_border"),
    *("camera", "camera_known"),
    *("pass_native", "pass_upscaled", "pass_low", "log_height_seen"),
    *("support", "support_other_pass", "best_overlap", "other_label_overlap"),
    *("vehicle_overlap", "vehicle_known"),
    *("face_colour", "face_colour_context"),
    *("saturation_mean", "saturation_std", "saturation_contrast"),
    *("hue_concentration", "colourfulness"),
    *("grey_mean", "grey_std", "grey_contrast", "entropy", "sharpness"),
)
"""What the post-processor is told of a candidate, in order; ``serving/features.py`` defines each.
A post-processor is made for exactly these: change them and every version must be made again."""

SECONDARY = 2
"""Secondary detectors that there is room for among the features."""

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
        inputs: tensors that it takes; the first dimension of each is N.
        outputs: tensors that it gives; the first dimension of each is N. The last one is
            ``fingerprint`` uint8 [N, 8], a constant that says which graph answered.
        max_batch: largest N that a server takes.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """What is wrong with an input of ``shape`` besides its dimensions' number, or None."""
        return "a dimension is 0" if min(shape) < 1 else None


@dataclass(frozen=True, slots=True)
class DetectorContract(ModelContract):
    """What a detector takes and gives.

    Inputs: ``image`` uint8 [N, H, W, 3], RGB 0..255, H and W multiples of 32.

    Outputs: ``boxes`` float32 [N, K, 5] = x1, y1, x2, y2, score in input pixels, by falling score,
    zero-padded; ``points`` float32 [N, K, 2P] = x, y of P landmarks (faces: eyes, nose, corners of
    the mouth) or corners (plates) of each row; ``count`` int32 [N], rows with a score of at least
    ``GRAPH_FLOOR`` (capped at K); ``peak`` float32 [N], the highest raw score before the floor,
    never exactly 0 in a live model; ``fingerprint``.

    Attributes:
        label: what it finds.
    """

    label: Label

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Height and width must be multiples of 32."""
        _, height, width, _ = shape
        if min(shape) < 1 or height % MULTIPLE != 0 or width % MULTIPLE != 0:
            return f"height and width of {shape} are not multiples of {MULTIPLE}"
        return None


FINGERPRINT = TensorSpec("fingerprint", "uint8", ("N", FINGERPRINT_BYTES))


def _detector(label: Label, points: int) -> DetectorContract:
    return DetectorContract(
        name=f"{label}_detector",
        inputs=(TensorSpec("image", "uint8", ("N", "H", "W", 3)),),
        outputs=(
            TensorSpec("boxes", "float32", ("N", MAX_BOXES, 5)),
            TensorSpec("points", "float32", ("N", MAX_BOXES, 2 * points)),
            TensorSpec("count", "int32", ("N",)),
            TensorSpec("peak", "float32", ("N",)),
            FINGERPRINT,
        ),
        max_batch=16,
        label=label,
    )


FACE_DETECTOR = _detector("face", points=5)
PLATE_DETECTOR = _detector("plate", points=4)

POSTPROCESSOR = ModelContract(
    name="postprocessor",
    inputs=(
        TensorSpec("crops", "uint8", ("N", CROP, CROP, 1)),
        TensorSpec("features", "float32", ("N", len(FEATURES))),
    ),
    outputs=(TensorSpec("probability", "float32", ("N",)), FINGERPRINT),
    max_batch=256,
)
"""The false-positive filter. N counts candidates: ``crops`` are grey 0..255 (``serving/crops.py``),
``features`` as ``FEATURES``; ``probability`` 0..1 is that of a true object."""

DETECTORS: tuple[DetectorContract, ...] = (FACE_DETECTOR, PLATE_DETECTOR)
CONTRACTS: dict[str, ModelContract] = {
    contract.name: contract for contract in (*DETECTORS, POSTPROCESSOR)
}
