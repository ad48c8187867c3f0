"""Other tools: their outputs come to the right places, and whatever they leave out is named."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.annotations import LABEL_FILE, LabelledPicture, read_annotations
from evaluation.demo.folder import make_folder
from evaluation.demo.sources import FACES
from evaluation.labelled_sets import find_sets
from evaluation.peers import __main__ as command
from evaluation.peers import page, tools
from evaluation.peers.environment import install
from evaluation.peers.haar_plates import blur_boxes
from evaluation.peers.ours import OURS
from evaluation.peers.page import PeerScore
from evaluation.peers.run import PeerRun, run_peer
from evaluation.peers.tools import PEERS, Peer
from evaluation.picture import read_upright
from evaluation.summary import summarise
from pipeline.errors import ConfigurationError, StreetblurError
from serving.errors import FetchFailed
from tests.pipeline.pictures import saved, textured

# A tool that blackens each picture; what it does besides stands before the loop's last lines.
TOOL = """#!/usr/bin/env python3
import pathlib, shutil, sys
for path in map(pathlib.Path, sys.argv[1:]):
    content = path.read_bytes()
    {trouble}
    path.with_name(path.stem + "_anonymized" + path.suffix).write_bytes(content)
"""
CRASH = 'if b"BAD" in content: raise ValueError("bad picture")'
SKIP = 'if b"BAD" in content: print("skipping", path); continue'


def tool(environment: Path, trouble: str = "pass") -> Peer:
    """A peer whose program stands in ``environment``."""
    program = environment / "bin" / "tool"
    program.parent.mkdir(parents=True)
    program.write_text(TOOL.format(trouble=trouble))
    program.chmod(0o755)
    return Peer("tool", "face", tools.HERE / "haar.txt", ("tool",), "ours")


def folder_of(root: Path, contents: dict[str, bytes]) -> tuple[Path, list[LabelledPicture]]:
    """A folder of originals that are no pictures: only the tool looks at them."""
    for image, content in contents.items():
        path = root / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)
    return root, [LabelledPicture(image, 8, 8, ("face",), ()) for image in contents]


def ran(tmp_path: Path, contents: dict[str, bytes], trouble: str = "pass") -> PeerRun:
    """The tool's run over ``contents``; its outputs lie in ``tmp_path / "out"``."""
    peer = tool(tmp_path / "environment", trouble)
    originals, pictures = folder_of(tmp_path / "set", contents)
    return run_peer(peer, tmp_path / "environment", pictures, originals, tmp_path / "out")


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_outputs_have_the_relative_paths_of_their_originals(tmp_path):
    contents = {"images/a.jpg": b"1", "images/deep/a.jpg": b"2", "images/B c.PNG": b"3"}
    run = ran(tmp_path, contents)
    assert files(tmp_path / "out") == contents
    assert run.pictures == 3
    assert run.failed == ()
    assert run.cpu_s > 0


def test_an_original_named_as_an_output_is_not_written_over(tmp_path):
    contents = {"a.jpg": b"1", "a_anonymized.jpg": b"2"}
    ran(tmp_path, contents)
    assert files(tmp_path / "set") == contents
    assert files(tmp_path / "out") == contents


def test_outputs_of_an_earlier_run_do_not_stand_for_missing_ones(tmp_path):
    folder_of(tmp_path / "out", {"b.jpg": b"old"})
    ran(tmp_path, {"a.jpg": b"1", "b.jpg": b"BAD"}, SKIP)
    assert files(tmp_path / "out") == {"a.jpg": b"1"}


@pytest.mark.parametrize(
    ("trouble", "said"),
    [(CRASH, "status 1: ValueError: bad picture"), (SKIP, "skipping b.jpg")],
)
def test_pictures_that_a_peer_cannot_take_are_named_and_take_no_others_with_them(
    tmp_path, trouble, said
):
    run = ran(tmp_path, {"a.jpg": b"1", "b.jpg": b"BAD", "c.jpg": b"3"}, trouble)
    assert run.failed == (("b.jpg", said),)
    assert set(files(tmp_path / "out")) == {"a.jpg", "c.jpg"}


def test_a_peer_that_only_crashes_is_given_up(tmp_path):
    with pytest.raises(ConfigurationError, match="status 7 and writes nothing"):
        ran(tmp_path, {f"{i}.jpg": b"" for i in range(9)}, "sys.stderr.write('sorry'); sys.exit(7)")


def test_a_peer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="wrote nothing for 2 pictures"):
        ran(tmp_path, {"a.jpg": b"1", "b.jpg": b"2"}, "continue")


def test_a_peer_that_is_not_there_is_an_error(tmp_path):
    originals, pictures = folder_of(tmp_path / "set", {"a.jpg": b"1"})
    with pytest.raises(ConfigurationError, match="deface is not installed here"):
        run_peer(PEERS["deface"], tmp_path, pictures, originals, tmp_path / "out")


@pytest.mark.parametrize("image", ["../a.jpg", "/tmp/a.jpg"])  # noqa: S108 - never written
def test_labels_that_lead_out_of_their_folder_are_refused(tmp_path, image):
    peer = tool(tmp_path / "environment")
    picture = LabelledPicture(image, 8, 8, ("face",), ())
    with pytest.raises(StreetblurError, match="leads out of its folder"):
        run_peer(peer, tmp_path / "environment", [picture], tmp_path, tmp_path / "out")


def test_an_environment_that_cannot_be_made_is_an_error_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(2):
        with pytest.raises(FetchFailed, match="could not be made"):
            install(PEERS["haar"], tmp_path)


@pytest.mark.parametrize("peer", PEERS.values(), ids=list(PEERS))
def test_every_package_of_a_peer_is_exact_and_hashed(peer):
    content = peer.requirements.read_text().split("\n", 1)[1]
    entries = [entry for entry in content.split("\n") if "==" in entry and entry[0] != "#"]
    assert len(peer.packages) == len(entries) > 1
    assert all(entry.endswith("\\") for entry in entries)


def test_a_cascades_box_is_blurred_and_nothing_else():
    picture = textured(120, 80)
    before = picture.copy()
    blur_boxes(picture, [(20, 30, 60, 20)])
    inside = np.zeros(picture.shape, dtype=bool)
    inside[30:50, 20:80] = True
    assert np.array_equal(picture[~inside], before[~inside])
    assert picture[inside].std() < 0.3 * before[inside].std()


def test_the_table_shows_what_was_not_published():
    run = PeerRun(4, (("images/x.jpg", "status 1: no"),), 2.0)
    one = PeerScore(PEERS["haar"], summarise("cars", []), run)
    row = dict(zip(*page.rows([one]), strict=True))
    assert (row["tool"], row["set"], row["class"]) == ("haar", "cars", "plate")
    assert row["CPU s a picture"] == "0.50"
    text = page.page([one], ["deface: offline"], called="it")
    assert "- haar, cars: images/x.jpg not published (status 1: no)" in text
    assert "- deface: offline" in text
    assert "opencv-python-headless==4" in text


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root: faces are labelled in one set, plates in the other, three pictures each."""
    for label in ("face", "plate"):
        folder = tmp_path / "data" / f"{label}s"
        (folder / "images").mkdir(parents=True)
        lines = []
        for number in range(3):
            pixels = textured(160, 120, seed=number)
            image = f"images/{number}.jpg"
            (folder / image).write_bytes(saved(pixels, "JPEG", quality=92))
            row = {"image": image, "width": 160, "height": 120, "labelled_classes": [label]}
            lines.append(row | {"boxes": [{"label": label, "xyxy": [40, 30, 100, 90]}]})
        text = "\n\n".join(json.dumps(line) for line in lines)
        (folder / LABEL_FILE).write_text(f"{text}\n")
    return tmp_path / "data"


@pytest.fixture
def with_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """The command knows one peer only, installed, that hands on every picture unchanged."""
    peer = tool(tmp_path / "environment")
    monkeypatch.setattr(command, "TOOLS", {"tool": peer})
    monkeypatch.setattr(command, "install", lambda *a, **k: tmp_path / "environment")
    return peer


def test_the_command_measures_the_sets_of_a_tools_class(data, tmp_path, with_tool, capsys):
    page_file, figures = tmp_path / "page.md", tmp_path / "figures.json"
    options = ["--data", str(data), "--outputs", str(tmp_path / "out"), "--every", "2"]
    assert command.main([*options, "--markdown", str(page_file), "--json", str(figures)]) == 0
    row = "| tool | faces | face | 2 | 0 (0 boxes) | 0 | 2 | 0.0% | 0.0% - 84.2% | 0.00% | 0.00% |"
    assert row in capsys.readouterr().out
    assert row in page_file.read_text()
    assert [one["score"]["name"] for one in json.loads(figures.read_text())["rows"]] == ["faces"]
    assert set(files(tmp_path / "out")) == {f"tool/faces/images/{number}.jpg" for number in (0, 2)}


def test_a_set_that_fails_is_named_and_the_command_ends_with_2(data, tmp_path, with_tool, capsys):
    shutil.rmtree(tmp_path / "environment")
    options = ["--data", str(data), "--outputs", str(tmp_path / "out")]
    assert command.main(options) == command.EXIT_INCOMPLETE
    assert "tool, faces: " in capsys.readouterr().err


def test_a_set_that_is_not_there_is_told(data, tmp_path, with_tool, capsys):
    options = ["--data", str(data), "--outputs", str(tmp_path / "out"), "--sets", "faces", "nosuch"]
    assert command.main(options) == command.EXIT_INCOMPLETE
    assert "no labelled folder nosuch" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["face", "plate"])
def test_ours_obscures_one_class_alone(label, photographs, tmp_path, capsys):
    """The other one is there, too, and is counted as changed nowhere."""
    scenes, every = tmp_path / "scenes", tmp_path / "data" / "both"
    pictures = make_folder(scenes, photographs)
    one = next(p for p in pictures if {box.label for box in p.boxes} == {"face", "plate"})
    (every / "images").mkdir(parents=True)
    shutil.copy(scenes.parent / one.image, every / "images" / "one.jpg")
    row = {"image": "images/one.jpg", "width": one.width, "height": one.height}
    boxes = [
        {"label": b.label, "xyxy": [b.box.x1, b.box.y1, b.box.x2, b.box.y2]}
        for b in one.boxes
        if b.label == label
    ]
    row |= {"labelled_classes": [label], "boxes": boxes}
    (every / LABEL_FILE).write_text(json.dumps(row) + "\n")
    name = f"streetblur-{label}s"
    figures = tmp_path / "figures.json"
    options = ["--data", str(tmp_path / "data"), "--outputs", str(tmp_path / "out")]
    assert command.main([*options, "--only", *OURS, "--json", str(figures)]) == 0
    (found,) = json.loads(figures.read_text())["rows"]
    assert (found["tool"], found["class"], found["run"]["failed"]) == (name, label, [])
    assert found["run"]["cpu_s"] > 0
    rates = {r["group"]: r["recall"] for r in found["score"]["recalls"] if r["label"] == label}
    assert rates["all"] == 1
    source, output = (
        read_upright(f / "images" / "one.jpg") for f in (every, tmp_path / "out" / name / "both")
    )
    for box in one.boxes:
        x1, y1, x2, y2 = (round(v) for v in (box.box.x1, box.box.y1, box.box.x2, box.box.y2))
        same = np.array_equal(source[y1:y2, x1:x2], output[y1:y2, x1:x2])
        assert same == (box.label != label)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["deface", "deface-boxes", "haar"])
def test_the_real_tools_run_and_deface_hides_faces(name, photographs, tmp_path):
    """Installs them: half a minute each."""
    originals = tmp_path / "set"
    (originals / "images").mkdir(parents=True)
    peer = PEERS[name]
    rows = []
    for image in ("astronaut.png", "grace_hopper.jpg"):
        width, height = Image.open(shutil.copy(photographs / image, originals / "images")).size
        rows.append({"image": f"images/{image}", "width": width, "height": height})
        boxes = [{"label": "face", "xyxy": list(FACES[image])}] if peer.label == "face" else []
        rows[-1] |= {"labelled_classes": [peer.label], "boxes": boxes}
    (originals / LABEL_FILE).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    environment = install(peer, tools.HERE.parents[1] / ".peers")
    (one,) = find_sets(originals)
    measured = command.measure(peer, environment, one, tmp_path / "out", 1)
    assert measured is not None
    assert measured.run.failed == ()
    assert measured.score.judged == len(read_annotations(originals / LABEL_FILE)) == 2
    assert measured.score.changed_outside_pooled < 0.1
    if peer.label == "face":
        found = measured.score.recall("face")
        assert found is not None
        assert found.recall == 1
        assert read_upright(tmp_path / "out" / "images" / "grace_hopper.jpg").shape == (600, 512, 3)
