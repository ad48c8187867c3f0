"""What FP16 would do to boxes, emulated on the CPU (tests/serving/half.py): no GPU has run this."""

import random

import cv2
import numpy as np
import onnx
import pytest

from evaluation.annotations import data_root
from serving.backends.local import LocalBackend
from serving.contracts import CONTRACTS, DETECTORS, GRAPH_FLOOR
from serving.detectors import DetectorSet
from serving.errors import InsaneOutput
from serving.geometry import LABELS, pairwise_iou
from serving.registry import model_path
from serving.sanity import check_outputs
from serving.tiling import TILE
from tests.serving.conftest import VERSIONS
from tests.serving.half import in_half, session

NAMES = [contract.name for contract in DETECTORS]


def the_net(name):
    return name.startswith("net-")


def everything(name):
    return True


@pytest.fixture(scope="module")
def corner(canary):
    """The canary in the far corner of the largest tile, where halves are coarsest."""
    image = np.full((1, TILE, TILE, 3), 128, np.uint8)
    image[0, -canary.shape[0] :, -canary.shape[1] :] = canary
    return image


def best(outputs):
    return outputs["boxes"][0, 0]


def halved(repository, name, chosen, image):
    run = session(in_half(onnx.load(model_path(repository, name, 1)), chosen))
    names = [spec.name for spec in CONTRACTS[name].outputs]
    return dict(zip(names, run.run(names, {"image": image}), strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("chosen", "pixels"), [(the_net, 0.25), (everything, 1.5)])
def test_box_moves_by_less_than(repository, backend, corner, name, chosen, pixels):
    exact = best(backend.infer(name, {"image": corner}))
    assert exact[4] > 0.5
    answer = halved(repository, name, chosen, corner)
    check_outputs(CONTRACTS[name], answer, 1)
    assert np.abs(best(answer)[:4] - exact[:4]).max() < pixels
    assert abs(best(answer)[4] - exact[4]) < 0.01


def test_emulation_rounds_what_it_should(repository, corner):
    rounded = best(halved(repository, "face_detector", everything, corner))
    finer = best(halved(repository, "face_detector", the_net, corner))
    assert (rounded == rounded.astype(np.float16)).all()
    assert (finer != finer.astype(np.float16)).any()


def test_a_score_at_the_floor_is_refused_if_decoding_runs_in_half(backend, corner):
    """0.05 in half is 0.04999: such a graph keeps it, a client must not be told it is sound."""
    answer = {k: v.copy() for k, v in backend.infer("face_detector", {"image": corner}).items()}
    count = int(answer["count"][0])
    answer["boxes"][0, count - 1, 4] = np.float16(GRAPH_FLOOR)
    with pytest.raises(InsaneOutput, match="scores lie outside"):
        check_outputs(CONTRACTS["face_detector"], answer, 1)


class HalvedBackend(LocalBackend):
    """The embedded backend with both detectors' graphs in half where ``chosen`` says so."""

    def __init__(self, repository, chosen):
        super().__init__(repository)
        self._graphs = {
            name: session(in_half(onnx.load(model_path(repository, name, 1)), chosen))
            for name in NAMES
        }

    def infer(self, model, inputs, **options):
        if model not in self._graphs:
            return super().infer(model, inputs, **options)
        names = [spec.name for spec in CONTRACTS[model].outputs]
        return dict(zip(names, self._graphs[model].run(names, dict(inputs)), strict=True))


def dev_pictures():
    """Forty pictures of each of four sets."""
    for folder in ("facemask_kaggle", "openalpr_us", "openalpr_eu", "facemask_ilc2021"):
        paths = sorted((data_root() / "dev" / folder).rglob("*"))
        paths = [path for path in paths if path.suffix in {".jpg", ".png"}]
        random.Random(0).shuffle(paths)
        yield from paths[:40]


def displacements(exact, candidates):
    """How far each sure candidate of ``exact`` moves in pixels; infinity if it is not found."""
    for label in LABELS:
        sure = [c.box.as_tuple() for c in exact if c.label == label and c.score >= 0.2]
        found = [c.box.as_tuple() for c in candidates if c.label == label]
        sure, found = (np.array(b, np.float32).reshape(-1, 4) for b in (sure, found))
        for box, overlap in zip(sure, pairwise_iou(sure, found), strict=True):
            partner = overlap.argmax() if len(found) else None
            kept = partner is not None and overlap[partner] >= 0.7
            yield float(np.abs(box - found[partner]).max()) if kept else np.inf


@pytest.mark.nightly
@pytest.mark.parametrize(("chosen", "pixels"), [(the_net, 0.5), (everything, 1.5)])
def test_candidates_of_dev_stay(repository, float32, chosen, pixels):
    detectors = DetectorSet(float32, VERSIONS)
    in_halves = DetectorSet(HalvedBackend(repository, chosen), VERSIONS)
    moves = []
    for path in dev_pictures():
        image = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
        exact = detectors.detect(image).candidates
        moves += displacements(exact, in_halves.detect(image).candidates)
    kept = np.isfinite(moves)
    print(
        f"\n{chosen.__name__}: {kept.sum()} of {len(moves)} candidates kept; median "
        f"{np.median(moves):.2f} px, 99 % within {np.percentile(np.array(moves)[kept], 99):.2f} px"
    )
    assert len(moves) > 500
    assert kept.mean() > 0.99
    assert np.percentile(np.array(moves)[kept], 99) < pixels
