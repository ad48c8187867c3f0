"""Models that answer as no live model does: nothing may be published on their word."""

import numpy as np
import pytest

from pipeline.images import ImageLimits
from pipeline.policy import load_policy
from pipeline.stages.build import StageConfig, packaged_detector
from pipeline.storage import StorageSettings
from serving.backends.protocol import InferenceBackend
from serving.canary import run_canary
from serving.detectors import DetectorSet
from serving.errors import CanaryFailed, InsaneOutput
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


def scored(factor):
    """Scores ``factor`` times what they were; rows below the graph's floor go."""

    def spoil(outputs):
        outputs["boxes"][..., 4] *= np.float32(factor)
        outputs["peak"] *= np.float32(factor)
        gone = outputs["boxes"][0, :, 4] < 0.05
        outputs["boxes"][0, gone] = outputs["points"][0, gone] = 0
        outputs["count"][0] = (~gone).sum()
        if gone.all():
            outputs["peak"] = np.minimum(outputs["peak"], 0.04)

    return spoil


def blind(outputs):
    outputs["boxes"][:] = outputs["points"][:] = 0
    outputs["count"][:] = 0
    outputs["peak"][:] = 0.01


def crowded(outputs):
    """The known object, and nine more that do not overlap."""
    rows = np.zeros((10, 5), np.float32)
    rows[:, 0] = rows[:, 1] = 20.0 * np.arange(10)
    rows[:, 2:4] = rows[:, :2] + 12
    rows[:, 4] = np.linspace(0.45, 0.4, 10)
    count = int(outputs["count"][0])
    known = outputs["boxes"][0, 0]
    apart = [row for row in rows if row[0] + 12 < known[0] or row[0] > known[2]]
    best = outputs["boxes"][0, :1].copy()
    outputs["boxes"][0, :count] = outputs["points"][0, :count] = 0
    outputs["boxes"][0, : 1 + len(apart)] = np.concatenate([best, apart])
    outputs["count"][0] = 1 + len(apart)


MISJUDGED = {
    shifted: "is found with IoU",
    transposed: "is found with IoU",
    blind: "is found with IoU",
    scored(0.8): "score",
    scored(0.3): "score",
}


@pytest.mark.parametrize("model", ["face_detector", "plate_detector"])
@pytest.mark.parametrize(("spoil", "why"), MISJUDGED.items())
def test_the_canary_catches_a_plausible_but_wrong_model(backend, spoil, why, model):
    with pytest.raises(CanaryFailed, match=why) as caught:
        run_canary(DetectorSet(Poisoned(backend, spoil, model), VERSIONS))
    assert caught.value.model == model
    assert "the known" in caught.value.what


@pytest.mark.parametrize("model", ["face_detector", "plate_detector"])
def test_the_canary_catches_a_model_that_sees_things(backend, model):
    with pytest.raises(CanaryFailed, match="among"):
        run_canary(DetectorSet(Poisoned(backend, crowded, model), VERSIONS))


def all_probabilities(value):
    def spoil(outputs):
        outputs["probability"][:] = value

    return spoil


def inverted_probability(outputs):
    outputs["probability"] = 1 - outputs["probability"]


FILTER = "postprocessor"
DEAD = [*map(all_probabilities, (0, 1, np.nan, 0.5)), inverted_probability]


@pytest.mark.parametrize("spoil", DEAD, ids=["zeros", "ones", "nan", "constant", "inverted"])
def test_the_canary_catches_a_dead_filter(backend, spoil):
    detectors = DetectorSet(Poisoned(backend, spoil, FILTER), VERSIONS)
    for check in (lambda: run_canary(detectors), detectors.check):
        with pytest.raises(CanaryFailed, match="canary, postprocessor") as caught:
            check()
        assert caught.value.model == FILTER


def test_no_filter_passes_whatever_the_rules_demand(backend):
    least = {"face": 1.0, "plate": 1.0}
    assert DetectorSet(backend, {**VERSIONS, FILTER: 0}, least_probability=least).check()


@pytest.mark.parametrize("label", ["face", "plate"])
def test_the_canary_must_reach_what_the_rules_demand(backend, label):
    assert DetectorSet(backend, VERSIONS, least_probability={label: 0.9}).check()
    with pytest.raises(CanaryFailed, match=f"known {label} has probability"):
        DetectorSet(backend, VERSIONS, least_probability={label: 0.99}).check()


def test_the_strictest_rules_of_all_runs_are_demanded():
    policy = load_policy("default")
    strict, lax = (
        policy.model_copy(
            update={"face": policy.face.model_copy(update={"min_probability": least})}
        )
        for least in (0.99, 0.05)
    )
    for now, past in ((strict, {}), (lax, {"before": strict})):
        detector = packaged_detector(config(now, past))
        with pytest.raises(CanaryFailed, match=r"known face has probability .* 0\.99"):
            detector.check()
        detector.close()
    detector = packaged_detector(config(lax, {}))
    assert detector.check()
    detector.close()


def config(policy, past):
    return StageConfig(
        token="filter",
        input_uri="",
        output_uri="",
        storage=StorageSettings(),
        policy=policy,
        limits=ImageLimits(),
        epoch=1,
        secret_id="",
        past=past,
    )
