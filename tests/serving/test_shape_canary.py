"""Each tensor shape that pictures have is verified before anything at that shape is relied on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import WorkItem
from pipeline.stages.detect import DetectGroup
from pipeline.stages.envelope import Envelope
from serving.backends.protocol import InferenceBackend
from serving.contracts import DETECTORS, POSTPROCESSOR
from serving.detectors import DetectorSet
from serving.errors import CanaryFailed, InferenceError, InsaneOutput, NoAnswer, TooSlow
from serving.looks import read_answer
from serving.registry import read_record
from serving.shape_canary import (
    MIN_SCORE,
    SHORTEST_PX,
    _whole,
    can_verify,
    run_shape_canaries,
    shape_picture,
)
from serving.shapes import REMEMBERED, Verified
from serving.tiling import TILE, plan_passes, plan_tiles
from tests.serving.conftest import VERSIONS

USUAL = 5
"""Inferences of the usual canary: two passes, two detectors, one filter."""

SIZES = [(2448, 2048), (1920, 1080), (4000, 3000), (1024, 768), (640, 480)]
SHAPES = sorted(
    {
        (tile.padded_height, tile.padded_width)
        for size in SIZES
        for width, height in (size, size[::-1])
        for scale in plan_passes(width, height)
        for tile in plan_tiles(scale.width, scale.height)
    }
)


class Spoiling(InferenceBackend):
    """The real backend; detectors' answers at the ``spoilt`` shapes go through ``spoil``."""

    def __init__(self, backend, spoil=None, spoilt=(), model=None, name=""):
        self._backend, self._spoil, self.name = backend, spoil, name
        self.spoilt, self.model, self.asked = set(spoilt), model, []

    def infer(self, model, inputs, *, version=None, timeout_s=None):
        outputs = self._backend.infer(model, inputs, version=version, timeout_s=timeout_s)
        shape = inputs["image"].shape[1:3] if "image" in inputs else (0, 0)
        self.asked.append((model, shape))
        if (
            shape not in self.spoilt
            or model == POSTPROCESSOR.name
            or self.model
            not in (
                None,
                model,
            )
        ):
            return outputs
        outputs = {name: value.copy() for name, value in outputs.items()}
        self._spoil(outputs)
        return outputs

    def shapes(self):
        """Those of the shape canaries of the last check: all but the usual canary's."""
        return sorted({shape for _, shape in self.asked} - {(0, 0), (384, 384), (768, 768)})


def blind(outputs):
    outputs["boxes"][:] = outputs["points"][:] = 0
    outputs["count"][:] = 0
    outputs["peak"][:] = 0.01


def shifted(outputs):
    outputs["boxes"][0, : int(outputs["count"][0]), :4] += 64


def weak(outputs):
    outputs["boxes"][..., 4] *= 0.25
    outputs["peak"] *= 0.25
    rows = outputs["boxes"][0, :, 4] >= 0.05
    outputs["boxes"][0, ~rows] = outputs["points"][0, ~rows] = 0
    outputs["count"][0] = rows.sum()


def blind_at_the_right(outputs):
    rows = outputs["boxes"][0]
    stays = rows[:, 2] < 400
    for name in ("boxes", "points"):
        kept = outputs[name][0, stays]
        outputs[name][0] = 0
        outputs[name][0, : len(kept)] = kept
    outputs["count"][0] = (outputs["boxes"][0, :, 4] > 0).sum()
    outputs["peak"][0] = outputs["boxes"][0, 0, 4] or 0.01


def silent(outputs):
    raise InferenceError("no kernel for this shape", where="test")


def grey(height, width):
    return np.random.default_rng(0).integers(100, 140, (height, width, 3)).astype(np.uint8)


def run(backend, shapes, detectors=DETECTORS, **fingerprints):
    run_shape_canaries(backend, shapes, VERSIONS, detectors=detectors, fingerprints=fingerprints)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_real_models_pass_at_the_shapes_of_usual_pictures(backend, shape):
    assert can_verify(shape)
    run(backend, [shape])


SIDES = st.integers(SHORTEST_PX // 32, TILE // 32).map(lambda steps: steps * 32)


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(SIDES, SIDES))
def test_the_real_models_pass_with_room_at_any_shape(backend, shape):
    run(backend, [shape])
    for contract in DETECTORS:
        tensor, known = shape_picture(shape, contract.label)
        outputs = backend.infer(contract.name, {"image": tensor}, version=1)
        look = read_answer(outputs, contract, _whole(shape), floor=0.45, fingerprint=None)
        assert len(look.scores) >= len(known)
    assert MIN_SCORE < 0.45


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(SIDES, SIDES), contract=st.sampled_from(DETECTORS))
def test_a_shape_picture_holds_the_known_object_at_each_place(shape, contract):
    tensor, known = shape_picture(shape, contract.label)
    assert tensor.shape == (1, *shape, 3)
    assert tensor.dtype == np.uint8
    rows, columns = (side // min(side, 384) for side in shape)
    assert len(known) == rows * columns
    first = None
    for x1, y1, x2, y2 in known.round().astype(int):
        assert 0 <= x1 < x2 <= shape[1]
        assert 0 <= y1 < y2 <= shape[0]
        patch = tensor[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
        first = patch if first is None else first
        assert (patch == first).all()


def test_shapes_too_small_for_the_known_objects_are_not_verified(backend):
    detectors = DetectorSet(Spoiling(backend), VERSIONS)
    detectors.detect(grey(64, 900))
    assert detectors.check()


@pytest.mark.parametrize("model", ["face_detector", "plate_detector"])
@pytest.mark.parametrize("spoil", [blind, shifted, weak, blind_at_the_right])
def test_a_model_that_fails_at_one_shape_is_caught_once_that_shape_was_used(backend, spoil, model):
    detectors = DetectorSet(Spoiling(backend, spoil, {(416, 864)}, model), VERSIONS)
    assert detectors.check()
    detectors.detect(grey(400, 480))
    assert detectors.check()
    detectors.detect(grey(400, 850))
    for _ in range(2):  # what was judged at that shape stays in doubt
        with pytest.raises(CanaryFailed, match="height 416 and width 864") as caught:
            detectors.check()
        assert caught.value.model == model


def test_nothing_of_a_group_is_let_go_when_its_shape_cannot_be_relied_on(backend):
    spoiling = Spoiling(backend, blind, {(416, 864)})
    detect = DetectGroup(DetectorSet(spoiling, VERSIONS))
    assert len(detect([envelope(400, 480)])) == 1
    with pytest.raises(CanaryFailed, match="height 416 and width 864"):
        detect([envelope(400, 480), envelope(400, 850)])


def envelope(height, width):
    item = WorkItem(key=f"{height}.jpg", etag="e", size=1, shard=0, row=0, identity="i")
    return Envelope(item, pixels=grey(height, width))


def test_no_answer_at_a_used_shape_fails(backend):
    spoiling = Spoiling(backend, silent)
    detectors = DetectorSet(spoiling, VERSIONS)
    detectors.detect(grey(400, 850))
    spoiling.spoilt = {(416, 864)}
    with pytest.raises(CanaryFailed, match="no kernel"):
        detectors.check()


def test_a_shape_at_which_no_picture_was_answered_harms_those_pictures_alone(backend):
    detectors = DetectorSet(Spoiling(backend, silent, {(416, 864)}), VERSIONS)
    with pytest.raises(InferenceError):
        detectors.detect(grey(400, 850))
    assert detectors.check()


def test_the_graph_is_judged_at_each_shape(backend):
    with pytest.raises(CanaryFailed, match="another graph"):
        run(backend, [(416, 480)], face_detector="0" * 16)


def test_check_judges_the_very_version_and_graph_at_each_shape(backend):
    asked = []

    class Noting(Spoiling):
        def infer(self, model, inputs, *, version=None, timeout_s=None):
            asked.append((model, version))
            return super().infer(model, inputs, version=version, timeout_s=timeout_s)

    detectors = DetectorSet(Noting(backend), VERSIONS)
    detectors.detect(grey(400, 850))
    assert detectors.check()
    assert {version for model, version in asked if model != POSTPROCESSOR.name} == {1}

    class Swapped(Spoiling):
        """Another graph at one shape."""

        def infer(self, model, inputs, *, version=None, timeout_s=None):
            outputs = super().infer(model, inputs, version=version, timeout_s=timeout_s)
            if inputs.get("image", np.zeros((1, 0, 0))).shape[1:3] != (416, 864):
                return outputs
            return {**outputs, "fingerprint": outputs["fingerprint"] ^ 1}

    known = {name: read_record(backend.repository / name / "1").fingerprint for name in VERSIONS}
    swapped = Swapped(backend)
    detectors = DetectorSet(swapped, VERSIONS, fingerprints=known)
    detectors._used.add((416, 864))
    with pytest.raises(CanaryFailed, match="height 416 and width 864 px: another graph"):
        detectors.check()


def test_no_answer_in_time_at_a_shape_says_nothing_of_the_model(backend):
    def late(outputs):
        raise NoAnswer("no answer within 30 s, 3 times")

    with pytest.raises(TooSlow, match="not judged in time"):
        run(Spoiling(backend, late, {(416, 480)}), [(416, 480)])


def test_an_insane_answer_at_a_shape_fails(backend):
    def nan(outputs):
        outputs["boxes"][0, 0, 0] = np.nan

    with pytest.raises(InsaneOutput, match="NaN"):
        run(Spoiling(backend, nan, {(416, 480)}), [(416, 480)])


def test_each_shape_is_verified_once_and_then_one_a_check_in_turn(backend):
    counting = Spoiling(backend)
    detectors = DetectorSet(counting, VERSIONS)
    pictures = [grey(400, 820), grey(400, 850), grey(400, 900)]  # one shape each
    shapes = [(416, 832), (416, 864), (416, 928)]
    seen = []
    for _ in range(6):
        for picture in pictures:
            detectors.detect(picture)
        counting.asked.clear()
        assert detectors.check()
        seen.append([shape for shape in counting.shapes() if shape in shapes])
        assert len(counting.asked) <= USUAL + 2 * (len(counting.shapes()) or 1)
    assert seen[0] == shapes
    later = [shape for turn in seen[1:] for shape in turn]
    assert all(len(turn) <= 1 for turn in seen[1:])
    assert later
    counting.asked.clear()
    assert detectors.check()
    assert len(counting.asked) == USUAL  # the canary's own shapes and unused ones cost nothing


class Two(InferenceBackend):
    """Two replicas, each made anew at each call; the first answers."""

    def __init__(self, backend, *, named=True):
        self._backend, self._named = backend, named
        self.asked, self.lost, self.excluded = {0: [], 1: []}, False, []

    def infer(self, model, inputs, *, version=None, timeout_s=None):
        return self._backend.infer(model, inputs, version=version, timeout_s=timeout_s)

    def replicas(self):
        made = []
        for number in (0, 1):
            one = Spoiling(self._backend, name=f"server {number}" if self._named else "")
            one.asked = self.asked[number]
            made.append(one)
        return made

    def steady(self):
        lost, self.lost = self.lost, False
        return not lost

    def count(self):
        counts = tuple(len(asked) for asked in self.asked.values())
        for asked in self.asked.values():
            asked.clear()
        return counts


def small(detectors):
    """A picture of two shapes."""
    detectors.detect(grey(400, 850))


def test_each_replica_is_verified_by_its_name_and_anew_after_a_loss(backend):
    two = Two(backend)
    detectors = DetectorSet(two, VERSIONS)
    small(detectors)
    assert detectors.check()
    first = two.count()
    small(detectors)
    assert detectors.check()
    later = two.count()
    assert later == (USUAL + 2, USUAL + 2)
    assert first[0] == first[1] > later[0]
    small(detectors)
    two.lost = True
    assert not detectors.check()
    two.count()
    small(detectors)
    assert detectors.check()
    assert two.count() == first


def test_a_replica_that_failed_is_verified_anew(backend):
    class Excluding(Two):
        def exclude(self, replica, error):
            return True

        def replicas(self):
            made = super().replicas()
            made[0]._spoil, made[0].spoilt = blind, self.spoilt
            return made

    two = Excluding(backend)
    two.spoilt = set()
    detectors = DetectorSet(two, VERSIONS)
    small(detectors)
    assert detectors.check()
    first = two.count()
    two.spoilt = {(384, 384), (768, 768)}  # those of the canary itself
    assert not detectors.check()
    two.count()
    two.spoilt = set()
    small(detectors)
    assert detectors.check()
    again = two.count()
    assert again[0] == first[0], "nothing is taken for granted of the one that failed"
    assert again[1] < first[1]


def test_replicas_without_a_name_are_verified_each_time(backend):
    two = Two(backend, named=False)
    detectors = DetectorSet(two, VERSIONS)
    counts = []
    for _ in range(2):
        small(detectors)
        assert detectors.check()
        counts.append(two.count())
    assert counts[0] == counts[1]
    assert counts[0][0] == counts[0][1]


def test_what_is_due():
    verified = Verified()
    a, b, c = (32, 32), (32, 64), (64, 64)
    assert verified.due("one", [b, a, b]) == (a, b)
    verified.passed("one", (a, b))
    turns = []
    for _ in range(4):
        due = verified.due("one", [a, b])
        verified.passed("one", due)
        turns.extend(due)
    assert turns == [a, b, a, b]
    assert verified.due("one", [a, b, c]) == (c, a)
    assert verified.due("one", [c]) == (c,)
    assert verified.due("one", []) == ()
    assert verified.due("two", [a]) == (a,)
    verified.forget("one")
    assert verified.due("one", [a, b]) == (a, b)


def test_memory_is_bounded_and_forgets_the_least_recently_used():
    verified = Verified()
    shapes = [(32, 32 * n) for n in range(1, REMEMBERED + 1)]
    verified.passed("one", shapes)
    assert verified.due("one", shapes[:1]) == (shapes[0],)  # used again
    verified.passed("one", [(64, 64)])
    assert verified.due("one", [shapes[0], shapes[1]]) == (shapes[1], shapes[0])
    verified.passed("one", [(64, 32 * n) for n in range(5000)])
    assert sum(map(len, verified._passed.values())) == REMEMBERED
