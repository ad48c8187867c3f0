"""Models that answer as no live model does: nothing may be published on their word."""

import numpy as np
import pytest

from serving.backends.protocol import InferenceBackend
from serving.canary import run_canary
from serving.detectors import DetectorSet
from serving.errors import InsaneOutput
from tests.serving.conftest import VERSIONS


class Poisoned(InferenceBackend):
    """The real backend, each answer spoilt by ``spoil`` (in place or by returning another)."""

    def __init__(self, backend, spoil, model):
        self._backend, self._spoil, self._model = backend, spoil, model

    def infer(self, model, inputs, *, version=None, timeout_s=None):
        outputs = self._backend.infer(model, inputs, version=version, timeout_s=timeout_s)
        if model != self._model:
            return outputs
        outputs = {name: value.copy() for name, value in outputs.items()}
        return self._spoil(outputs) or outputs

    def close(self):
        pass


def zeros(outputs):
    return {name: np.zeros_like(value) for name, value in outputs.items()}


def empty(outputs):
    return {name: np.empty((0,), value.dtype) for name, value in outputs.items()}


def missing(outputs):
    del outputs["peak"]


def not_a_number(outputs):
    outputs["boxes"][0, 0, 0] = np.nan


def nan_peak(outputs):
    outputs["peak"][:] = np.nan


def nan_points(outputs):
    outputs["points"][0, -1, 0] = np.nan


def points_without_a_row(outputs):
    outputs["points"][0, -1] = 7


def infinite(outputs):
    outputs["boxes"][0, 0, 2] = np.inf


def wrong_shape(outputs):
    outputs["boxes"] = outputs["boxes"][:, :-1]


def wrong_dtype(outputs):
    outputs["boxes"] = outputs["boxes"].astype(np.float64)


def score_above_one(outputs):
    outputs["boxes"][0, 0, 4] = outputs["peak"][0] = 1.5


def unsorted(outputs):
    outputs["boxes"][0, :3, 4] = [0.5, 0.6, 0.4]
    outputs["count"][0] = 3
    outputs["peak"][0] = 0.5
    outputs["boxes"][0, 3:] = 0
    outputs["boxes"][0, :3, :4] = [1, 1, 9, 9]


def count_too_high(outputs):
    outputs["count"][0] += 1


def count_too_low(outputs):
    outputs["count"][0] = max(0, outputs["count"][0] - 1)


def constant(outputs):
    outputs["boxes"][0, :20] = [10, 10, 30, 30, 0.5]
    outputs["boxes"][0, 20:] = 0
    outputs["count"][0], outputs["peak"][0] = 20, 0.5


def inverted(outputs):
    outputs["boxes"][0, 0, :4] = [30, 30, 10, 10]


BAD = [
    *(
        zeros,
        nan_points,
        points_without_a_row,
        empty,
        missing,
        not_a_number,
        nan_peak,
        infinite,
        wrong_shape,
        wrong_dtype,
    ),
    *(score_above_one, unsorted, count_too_high, count_too_low, constant, inverted),
]


@pytest.mark.parametrize("model", ["face_detector", "plate_detector"])
@pytest.mark.parametrize("spoil", BAD)
def test_an_insane_answer_raises(backend, canary, spoil, model):
    with pytest.raises(InsaneOutput, match=model):
        DetectorSet(Poisoned(backend, spoil, model), VERSIONS).detect(canary)


def shifted(outputs):
    count = int(outputs["count"][0])
    outputs["boxes"][0, :count, :4] += 20


def transposed(outputs):
    outputs["boxes"] = outputs["boxes"][..., [1, 0, 3, 2, 4]]


def weak(outputs):
    outputs["boxes"][..., 4] *= 0.5
    outputs["peak"] *= 0.5
    rows = outputs["boxes"][0, :, 4] >= 0.05
    outputs["boxes"][0, ~rows] = 0
    outputs["count"][0] = rows.sum()
    if not rows.any():
        outputs["peak"] = np.minimum(outputs["peak"], 0.04)


def blind(outputs):
    outputs["boxes"][:] = 0
    outputs["count"][:] = 0
    outputs["peak"][:] = 0.01


@pytest.mark.parametrize("model", ["face_detector", "plate_detector"])
@pytest.mark.parametrize("spoil", [shifted, transposed, weak, blind])
def test_the_canary_catches_a_plausible_but_wrong_model(backend, spoil, model):
    with pytest.raises(InsaneOutput, match="canary"):
        run_canary(DetectorSet(Poisoned(backend, spoil, model), VERSIONS))
