"""The filter: what it asks, what it believes, and that it drops nothing."""

import dataclasses
import json
import shutil

import numpy as np
import onnxruntime as ort
import pytest

from pipeline.policy import load_policy, packaged_policies
from pipeline.stages.decide import decide
from serving.backends.protocol import InferenceBackend
from serving.baseline import WEIGHTS, build_baseline
from serving.contracts import FEATURES, POSTPROCESSOR
from serving.detectors import DetectorSet
from serving.errors import InsaneOutput, ModelCorrupt, ModelMissing
from serving.features import features
from serving.geometry import LABELS, Box, Candidate
from serving.model_checks import check_models
from serving.postprocessor import Filter, load_postprocessor
from serving.registry import (
    build_model,
    fetch_models,
    is_intact,
    list_models,
    model_path,
    read_record,
)
from serving.sources import BASELINE
from tests.serving.conftest import VERSIONS


class Echo(InferenceBackend):
    """Answers with each row's ``score`` feature; remembers how many rows it was asked at a time."""

    def __init__(self, **spoilt):
        self.asked, self._spoilt = [], spoilt

    def infer(self, model, inputs, *, version=None, timeout_s=None):
        rows = inputs["features"]
        self.asked.append((model, version, timeout_s, len(inputs["crops"]), len(rows)))
        fingerprint = np.tile(np.frombuffer(bytes.fromhex("0123456789abcdef"), np.uint8), (1, 1))
        outputs = {
            "probability": rows[:, FEATURES.index("score")].copy(),
            "fingerprint": np.repeat(fingerprint, len(rows), axis=0),
        }
        return {**outputs, **{k: v(outputs) for k, v in self._spoilt.items()}}


def crowd(count):
    draw = np.random.default_rng(0)
    low = draw.uniform(0, 80, (count, 2))
    boxes = np.hstack([low, low + draw.uniform(1, 20, (count, 2))])
    scores = draw.uniform(0.05, 1, count)
    return [
        Candidate(LABELS[i % 2], Box(*map(float, box)), float(score), 0.0, "native")
        for i, (box, score) in enumerate(zip(boxes, scores, strict=True))
    ]


PIXELS = np.random.default_rng(1).integers(0, 256, (100, 100, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("count", "asked"), [(0, []), (1, [1]), (256, [256]), (257, [256, 1]), (600, [256, 256, 88])]
)
def test_candidates_are_asked_for_in_batches_and_keep_their_order(count, asked):
    candidates, backend = crowd(count), Echo()
    judged = Filter(7, backend, timeout_s=3.0).judge(PIXELS, candidates)
    assert backend.asked == [("postprocessor", 7, 3.0, rows, rows) for rows in asked]
    plain = [dataclasses.replace(c, probability=0.0, features=()) for c in judged]
    assert plain == candidates
    assert [c.probability for c in judged] == pytest.approx([c.score for c in candidates])


def test_candidates_keep_the_features_they_were_judged_by():
    candidates = crowd(9)
    judged = Filter(1, Echo()).judge(PIXELS, candidates)
    rows = np.array([c.features for c in judged], np.float32)
    np.testing.assert_array_equal(rows, features(PIXELS, candidates))


def with_first(value):
    def spoil(outputs):
        spoilt = outputs["probability"].copy()
        spoilt[0] = value
        return spoilt

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        *(with_first(value) for value in (np.nan, np.inf, -np.inf, -0.01, 1.01)),
        lambda outputs: outputs["probability"][:-1],
        lambda outputs: outputs["probability"][:, None],
        lambda outputs: outputs["probability"].astype(np.float64),
    ],
)
def test_an_insane_answer_is_refused(spoil):
    with pytest.raises(InsaneOutput, match="postprocessor, output probability") as caught:
        Filter(1, Echo(probability=spoil)).judge(PIXELS, crowd(5))
    assert caught.value.model == "postprocessor"


def test_another_graphs_answer_is_refused():
    Filter(1, Echo(), fingerprint="0123456789abcdef").judge(PIXELS, crowd(3))
    with pytest.raises(InsaneOutput, match="another graph"):
        Filter(1, Echo(), fingerprint="f" * 16).judge(PIXELS, crowd(3))


def test_the_set_of_detectors_insists_on_the_filters_graph(repository, backend, canary):
    record = read_record(model_path(repository, "postprocessor", 1).parent)
    known = {"postprocessor": record.fingerprint}
    DetectorSet(backend, VERSIONS, fingerprints=known).detect(canary)
    with pytest.raises(InsaneOutput, match="postprocessor"):
        DetectorSet(backend, VERSIONS, fingerprints={"postprocessor": "0" * 16}).detect(canary)


@pytest.mark.parametrize("name", packaged_policies())
def test_the_packaged_policies_decide_as_without_a_filter(backend, canary, name):
    policy = load_policy(name)
    assert policy.models.postprocessor == 1
    decisions = []
    for version in (0, 1):
        found = DetectorSet(
            backend, {**VERSIONS, "postprocessor": version}, {"face": 0.05, "plate": 0.05}
        ).detect(canary)
        made = decide(found.candidates, policy, canary.shape[1], canary.shape[0])
        decisions.append([dataclasses.replace(d, probability=0, features=()) for d in made])
    assert decisions[0] == decisions[1]
    assert any(d.kept for d in decisions[0])


def test_even_probability_zero_drops_nothing(canary):
    candidates = [dataclasses.replace(c, probability=0.0) for c in crowd(50)]
    sure = [dataclasses.replace(c, probability=1.0) for c in candidates]
    policy = load_policy("default")
    kept = [[d.kept for d in decide(items, policy, 100, 100)] for items in (candidates, sure)]
    assert kept[0] == kept[1]


def test_versions_below_zero_do_not_exist():
    with pytest.raises(ModelMissing):
        load_postprocessor(-1, Echo())


def test_a_damaged_filter_is_found(repository, tmp_path):
    shutil.copytree(repository, tmp_path / "models")
    path = model_path(tmp_path / "models", "postprocessor", 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelCorrupt, match="postprocessor"):
        list(check_models(tmp_path / "models"))


def test_the_canary_runs_the_filter(repository, tmp_path, monkeypatch):
    shutil.copytree(repository, tmp_path / "models")
    monkeypatch.setattr("serving.baseline.BIAS", dict.fromkeys(LABELS, float("nan")))
    build_model(BASELINE, tmp_path / "models")
    with pytest.raises(InsaneOutput, match="canary, postprocessor"):
        list(check_models(tmp_path / "models"))


def test_the_committed_model_is_what_the_module_builds(repository):
    path = model_path(repository, "postprocessor", 1)
    assert build_baseline().SerializeToString(deterministic=True) == path.read_bytes()
    assert is_intact("postprocessor", 1, repository)


def test_an_empty_repository_gets_its_own_build(repository, tmp_path):
    (fetched,) = (m for m in fetch_models(tmp_path) if m.record.model == "postprocessor")
    assert fetched.fresh
    own = model_path(repository, "postprocessor", 1)
    assert fetched.path.read_bytes() == own.read_bytes()
    assert fetched.record == read_record(own.parent)
    assert ("postprocessor", 1, True) in {
        (m.model, m.version, m.present) for m in list_models(tmp_path)
    }


def test_a_build_of_another_recipe_is_not_intact(repository, tmp_path):
    shutil.copytree(repository / "postprocessor", tmp_path / "postprocessor")
    record = tmp_path / "postprocessor" / "1" / "source.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "source_sha256": "0" * 64}))
    assert not is_intact("postprocessor", 1, tmp_path)


def test_the_runtime_keeps_the_crops_as_an_input(repository):
    path = str(model_path(repository, "postprocessor", 1))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["crops", "features"]


@pytest.mark.parametrize("label", LABELS)
def test_the_probability_never_falls_when_the_score_rises(backend, label):
    steps = np.linspace(0.001, 0.999, 200)
    box = Box(20, 20, 60, 50)
    items = [Candidate(label, box, float(score), 0.0, "native") for score in steps]
    alone = [features(PIXELS, [item])[0] for item in items]
    inputs = {"crops": np.zeros((200, 64, 64, 1), np.uint8), "features": np.stack(alone)}
    probability = backend.infer("postprocessor", inputs, version=1)["probability"]
    assert (np.diff(probability) > 0).all()
    assert 0 < probability[0] < 0.1
    assert 0.9 < probability[-1] < 1


@pytest.mark.parametrize("label", LABELS)
def test_the_baseline_weighs_no_brightness(label):
    assert not [name for name in WEIGHTS[label] if name.startswith("grey")]


def test_the_contract_counts_the_features():
    assert POSTPROCESSOR.inputs[1].shape == ("N", len(FEATURES))
    assert len(set(FEATURES)) == len(FEATURES)
