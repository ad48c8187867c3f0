import gc

import cv2
import numpy as np
import psutil
import pytest

from serving.canary import run_canary
from serving.detectors import DetectorSet
from serving.errors import InvalidInput, ModelMissing
from serving.geometry import pairwise_iou
from tests.serving.conftest import VERSIONS


def best(result, label):
    return max((c for c in result.candidates if c.label == label), key=lambda c: c.score)


def test_the_canary_passes(detectors):
    result = run_canary(detectors)
    assert min(result.iou.values()) > 0.95


def test_the_same_pixels_give_the_same_result(detectors, canary):
    assert detectors.detect(canary) == detectors.detect(canary.copy())


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (31, 33), (5, 3000), (3000, 7)])
def test_odd_pictures_are_judged(detectors, size):
    result = detectors.detect(np.full((*size, 3), 90, np.uint8))
    assert min(result.peaks.values()) > 0


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_flat_picture_is_a_legal_empty_scene(detectors, value):
    result = detectors.detect(np.full((300, 500, 3), value, np.uint8))
    assert not [c for c in result.candidates if c.score > 0.3]


def test_boxes_lie_within_the_picture(detectors, canary):
    for candidate in detectors.detect(canary[60:, 150:]).candidates:
        x1, y1, x2, y2 = candidate.box.as_tuple()
        assert 0 <= x1 < x2 <= canary.shape[1] - 150
        assert 0 <= y1 < y2 <= canary.shape[0] - 60


@pytest.mark.parametrize("x", [1130, 1200, 1250, 1290])
def test_an_object_on_a_tile_border_is_found_whole(detectors, canary, x):
    picture = np.full((400, 2448, 3), 120, np.uint8)
    picture[8 : 8 + 384, x - 170 : x - 170 + 384] = canary
    face = best(detectors.detect(picture), "face")
    alone = best(detectors.detect(canary), "face")
    moved = np.array([alone.box.as_tuple()], np.float32) + np.float32([x - 170, 8] * 2)
    assert pairwise_iou(np.array([face.box.as_tuple()], np.float32), moved)[0, 0] > 0.7
    assert face.score > 0.6


def test_a_face_that_fills_a_large_picture_is_found(detectors, canary):
    large = cv2.resize(canary[20:170, 90:240], (2400, 2400), interpolation=cv2.INTER_CUBIC)
    face = best(detectors.detect(large), "face")
    assert face.score > 0.5
    assert face.box.height > 1000


def test_versions_are_recorded(detectors, canary):
    assert detectors.detect(canary).versions == VERSIONS


def test_an_absent_filter_is_recorded_and_judges_nothing(backend, canary):
    versions = {**VERSIONS, "postprocessor": 0}
    result = DetectorSet(backend, versions).detect(canary)
    assert result.versions == versions
    assert {(c.probability, c.features) for c in result.candidates} == {(1.0, ())}


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(detectors, pixels):
    with pytest.raises(InvalidInput):
        detectors.detect(pixels)


def test_unknown_versions_are_refused(backend):
    with pytest.raises(ModelMissing, match=r"postprocessor.3"):
        DetectorSet(backend, {**VERSIONS, "postprocessor": 3}).check()
    with pytest.raises(ModelMissing, match="postprocessor -1"):
        DetectorSet(backend, {**VERSIONS, "postprocessor": -1})
    with pytest.raises(InvalidInput, match="plate_detector"):
        DetectorSet(backend, {"face_detector": 1})


def test_memory_stays_flat_over_many_shapes(detectors):
    rng = np.random.default_rng(0)
    process = psutil.Process()
    sizes = [(int(h), int(w)) for h, w in rng.integers(40, 700, (40, 2))]
    for height, width in [(700, 700), *sizes[:10]]:
        detectors.detect(np.zeros((height, width, 3), np.uint8))
    gc.collect()
    before = process.memory_info().rss
    for height, width in sizes[10:]:
        detectors.detect(np.zeros((height, width, 3), np.uint8))
    gc.collect()
    assert process.memory_info().rss - before < 80e6
