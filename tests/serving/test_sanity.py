"""Each sign of a dead model is enough alone: answers that are sound but for one thing."""

from __future__ import annotations

import numpy as np
import pytest

from serving.backends.protocol import InferenceBackend
from serving.contracts import FACE_DETECTOR, FINGERPRINT_BYTES, GRAPH_FLOOR, MAX_BOXES
from serving.detectors import DetectorSet
from serving.errors import InsaneOutput
from serving.sanity import CONSTANT_ROWS, check_outputs

VERSIONS = {"face_detector": 1, "plate_detector": 1}


def answer(scores, peak=None):
    """A sound answer to one picture: boxes beside each other with ``scores``."""
    boxes = np.zeros((1, MAX_BOXES, 5), np.float32)
    for number, score in enumerate(scores):
        boxes[0, number] = [10 * number, 5, 10 * number + 8, 15, score]
    best = max(scores, default=0.01) if peak is None else peak
    return {
        "boxes": boxes,
        "points": np.zeros((1, MAX_BOXES, 10), np.float32),
        "fingerprint": np.zeros((1, FINGERPRINT_BYTES), np.uint8),
        "count": np.array([len(scores)], np.int32),
        "peak": np.array([best], np.float32),
    }


def judge(outputs):
    check_outputs(FACE_DETECTOR, outputs, batch=1)


@pytest.mark.parametrize("scores", [[], [0.9], [0.9, 0.9, 0.3, GRAPH_FLOOR], [1.0] * MAX_BOXES])
def test_sound_answers_pass_unchanged(scores):
    outputs = answer(scores)
    judge(outputs)
    assert all(np.array_equal(outputs[name], value) for name, value in answer(scores).items())


@pytest.mark.parametrize(
    ("scores", "peak"), [([0.9, 0.3], 0.95), ([0.9, 0.3], 0.3), ([], GRAPH_FLOOR), ([], 0.9)]
)
def test_a_peak_that_contradicts_the_rows_is_insane(scores, peak):
    with pytest.raises(InsaneOutput, match="but the best row has"):
        judge(answer(scores, peak))


@pytest.mark.parametrize("scores", [[0.9, 0.3, 0.4], [0.9, 0.3, 0.3, 0.5, 0.2]])
def test_scores_that_do_not_fall_are_insane(scores):
    with pytest.raises(InsaneOutput, match="scores do not fall"):
        judge(answer(scores))


def test_many_rows_that_are_all_the_same_are_insane():
    outputs = answer([0.5] * CONSTANT_ROWS)
    judge(outputs)
    outputs["boxes"][0, :CONSTANT_ROWS] = [10, 10, 30, 30, 0.5]
    with pytest.raises(InsaneOutput, match="rows are the same"):
        judge(outputs)


class Answering(InferenceBackend):
    """A backend whose models answer to every tensor as told."""

    def __init__(self, answers):
        self._answers = answers

    def infer(self, model, inputs, *, version=None, timeout_s=None):
        outputs = self._answers(inputs["image"])
        points = 2 * (5 if model == "face_detector" else 4)
        return {**outputs, "points": outputs["points"][..., :points]}

    def close(self):
        pass


def test_a_model_that_answers_two_scales_alike_is_insane():
    picture = np.zeros((300, 300, 3), np.uint8)
    shapes = set()

    def alive(image):
        shapes.add(image.shape)
        return answer([0.9, 0.5 + image.shape[1] / 1e5, 0.3])

    DetectorSet(Answering(alive), VERSIONS).detect(picture)
    assert len(shapes) > 1
    with pytest.raises(InsaneOutput, match="have the very same scores"):
        DetectorSet(Answering(lambda image: answer([0.9, 0.5, 0.3])), VERSIONS).detect(picture)


def test_an_answer_of_another_graph_is_insane():
    check_outputs(FACE_DETECTOR, answer([0.9]), 1, "00" * FINGERPRINT_BYTES)
    with pytest.raises(InsaneOutput, match="another graph answered"):
        check_outputs(FACE_DETECTOR, answer([0.9]), 1, "01" + "00" * (FINGERPRINT_BYTES - 1))
