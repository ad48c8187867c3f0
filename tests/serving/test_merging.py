import numpy as np
import pytest

from serving.merging import merge

WHOLE = [100, 100, 200, 200]


def kept(boxes, scores, cut):
    return merge(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(cut, bool),
    ).tolist()


@pytest.mark.parametrize(
    ("boxes", "scores", "cut", "expected"),
    [
        pytest.param([], [], [], [], id="empty"),
        pytest.param([WHOLE], [0.5], [False], [0], id="one"),
        pytest.param([WHOLE, WHOLE], [0.4, 0.5], [False, False], [1], id="doubles"),
        pytest.param([WHOLE, [300, 0, 310, 9]], [0.4, 0.5], [False, False], [1, 0], id="apart"),
        pytest.param(
            [WHOLE, [100, 100, 190, 200]], [0.5, 0.9], [False, True], [1, 0], id="cut spares whole"
        ),
        pytest.param(
            [WHOLE, [100, 100, 140, 200]], [0.9, 0.5], [False, True], [0], id="fragment goes"
        ),
        pytest.param(
            [WHOLE, [120, 120, 150, 150]], [0.9, 0.5], [False, False], [0, 1], id="inner stays"
        ),
    ],
)
def test_merge(boxes, scores, cut, expected):
    assert kept(boxes, scores, cut) == expected


def test_a_threshold_after_merging_equals_one_before():
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 200, (600, 2))
    boxes = np.hstack([corner, corner + rng.uniform(10, 60, (600, 2))]).astype(np.float32)
    scores, cut = rng.uniform(0, 1, 600).astype(np.float32), rng.random(600) < 0.2
    after = [i for i in kept(boxes, scores, cut) if scores[i] >= 0.5]
    high = np.flatnonzero(scores >= 0.5)
    before = [int(high[i]) for i in kept(boxes[high], scores[high], cut[high])]
    assert after == before
