"""Settings of a sweep, what they do to real photographs, and how candidates fit labels."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from evaluation import fit, sweep
from evaluation.annotations import LabelledBox, LabelledPicture
from evaluation.candidates import CandidateCache, detection_digest
from evaluation.demo.sources import FACES
from evaluation.sweep import Setting, judge_setting, settings_of
from pipeline.errors import ConfigurationError
from pipeline.policy import load_policy
from serving.geometry import Box, Candidate

NAME = "grace_hopper.jpg"
FACE = Box(*FACES[NAME])
PICTURE = LabelledPicture(f"images/{NAME}", 512, 600, ("face",), (LabelledBox("face", FACE),))
FOUND = Candidate("face", FACE, 0.3, 1.0, "native")


def test_every_combination_is_tried() -> None:
    found = settings_of(["face.threshold=0.1,0.2", "face.style.margin_px=0,1,2"])
    assert len(found) == 6
    policy = found[-1].applied(load_policy("default"))
    assert policy.face.threshold == {0: 0.2}
    assert policy.face.style.margin_px == 2


@pytest.mark.parametrize(
    "setting",
    [
        Setting((("face.colour", 1.0),)),
        Setting((("hand.threshold", 0.2),)),
        Setting((("face.threshold", 3.0),)),
        Setting((("face.style.dilation.top.more", 0.2),)),
    ],
)
def test_a_setting_the_policy_does_not_know_is_refused(setting: Setting) -> None:
    with pytest.raises(ConfigurationError):
        setting.applied(load_policy("default"))


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"face\.threshold"):
        settings_of(["face.threshold=low"])


@pytest.mark.parametrize(("threshold", "obscured"), [(0.3, True), (0.31, False)])
def test_a_setting_decides_what_is_obscured(
    photographs: Path, tmp_path: Path, threshold: float, obscured: bool
) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(photographs / NAME, tmp_path / "images" / NAME)
    policy = Setting((("face.threshold", threshold),)).applied(load_policy("default"))
    (verdict,) = judge_setting(policy, [(PICTURE, [FOUND])], tmp_path)
    assert verdict.status == "judged"
    assert [box.obscured for box in verdict.boxes] == [obscured]


def test_the_command_sweeps_a_folder(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "faces"
    (folder / "images").mkdir(parents=True)
    shutil.copy(photographs / NAME, folder / "images" / NAME)
    row = {"image": PICTURE.image, "width": 512, "height": 600, "labelled_classes": ["face"]}
    row["boxes"] = [{"label": "face", "xyxy": list(FACES[NAME])}]
    (folder / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    common = ["--sets", "faces", "--data", str(tmp_path), "--cache", str(tmp_path / "cache")]
    vary = ["--vary", "face.threshold=0.2,1", "--json", str(tmp_path / "out.json")]
    assert sweep.main([*common, *vary, "--processes", "1"]) == 0
    assert "face 100.0%" in capsys.readouterr().out
    low, high = json.loads((tmp_path / "out.json").read_text())
    assert low["sets"][0]["recalls"][0]["recall"] == 1
    assert high["sets"][0]["recalls"][0]["recall"] == 0
    (cached,) = (tmp_path / "cache").iterdir()
    before = cached.stat().st_mtime_ns
    assert fit.main([*common, "--label", "face", "--processes", "1"]) == 0
    assert "1 matched face boxes" in capsys.readouterr().out
    assert cached.stat().st_mtime_ns == before


def test_candidates_come_back_from_the_cache_as_they_were(tmp_path: Path) -> None:
    versions = load_policy("default").models.model_dump()
    stored = tmp_path / f"candidates-{detection_digest(versions)}.json"
    picture = tmp_path / "x.jpg"
    picture.write_bytes(b"some picture")
    name = hashlib.sha256(b"some picture").hexdigest()
    stored.write_text(json.dumps({name: [asdict(FOUND)]}))
    assert CandidateCache(tmp_path, versions).candidates(picture) == [FOUND]
    assert detection_digest({**versions, "face_detector": 2}) not in stored.name


def test_what_a_detection_lacks_is_measured_side_by_side() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 60.0], [200.0, 200.0, 220.0, 220.0]])
    labels = np.array([[8.0, 24.0, 34.0, 64.0]])
    gaps = fit.lacking(boxes, labels, np.array([0.9, 0.9]), 0.5)
    np.testing.assert_allclose(gaps, [[0.1, -0.1, 0.2, 0.1]])
    assert fit.lacking(boxes, labels, np.array([0.4, 0.9]), 0.5).shape == (0, 4)
    assert fit.lacking(boxes[:0], labels, np.zeros(0), 0.5).shape == (0, 4)


def test_labels_and_false_boxes_are_counted_by_score_and_height() -> None:
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 90.0, 90.0]])
    labels = np.array([[0.0, 0.0, 10.0, 10.0], [300.0, 300.0, 330.0, 330.0]])
    found, false = fit.score_counts(boxes, labels, np.array([0.22, 0.6]), [0, 20, 1000])
    assert found[0, 4] == 1  # 0.2-0.25
    assert found[1, 0] == 1  # never found
    assert found.sum() == 2
    assert false[1, 8] == 1600
    assert false.sum() == 1600
