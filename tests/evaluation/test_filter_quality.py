import numpy as np
import pytest

from evaluation.annotations import LabelledBox, LabelledPicture
from evaluation.face_colour import darkened, histogram
from evaluation.filter_quality import judged
from evaluation.roc import area_under_curve
from serving.colour import BINS
from serving.geometry import Box, Candidate


@pytest.mark.parametrize(
    ("true", "false", "area"),
    [
        ([2, 3], [0, 1], 1),
        ([0, 1], [2, 3], 0),
        ([1, 1], [1, 1], 0.5),
        ([1, 3], [0, 2], 0.75),
    ],
)
def test_the_area_under_the_curve(true, false, area):
    assert area_under_curve(np.array(true, float), np.array(false, float)) == area


def test_no_candidates_have_no_area():
    assert np.isnan(area_under_curve(np.zeros(0), np.ones(3)))


def test_true_false_and_ignored_candidates_are_told_apart():
    boxes = [Box(0, 0, 10, 10), Box(50, 0, 60, 10)]
    labelled = tuple(
        LabelledBox(label="face", box=box, ignore=ignore, occlusion=None, text=None)
        for box, ignore in zip(boxes, (False, True), strict=True)
    )
    picture = LabelledPicture("a.jpg", 100, 100, ("face",), labelled)
    places = [(0, 1, 10, 11), (50, 0, 60, 10), (80, 80, 90, 90)]
    found = [Candidate("face", Box(*place), 0.5, 0.25, "native") for place in places]
    found.append(Candidate("plate", Box(0, 0, 10, 10), 0.9, 0.9, "native"))
    values, true = judged(picture, found, "face")
    assert values.tolist() == [[0.5, 0.25]] * 2
    assert true.tolist() == [1, 0]


def test_darkened_faces_keep_hue_and_saturation():
    patch = np.tile(np.uint8([[10, 100, 200]]), (4, 1))
    lights = np.concatenate(list(darkened([patch])))
    assert np.unique(lights[:, :2], axis=0).tolist() == [[10, 100]]
    assert sorted(set(lights[:, 2].tolist())) == [50, 70, 100, 140, 200]


def test_a_histogram_sums_to_one_and_spreads_around_its_colour():
    cells = histogram([np.tile(np.uint8([[0, 255, 128]]), (9, 1))])
    assert cells.shape == BINS
    assert cells.sum() == pytest.approx(1)
    assert np.unravel_index(cells.argmax(), BINS) == (0, 7, 2)
    assert cells[-1, 7, 2] == pytest.approx(cells[1, 7, 2])
