"""Real pictures for the scorer: development data, and public-domain photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.annotations import LabelledPicture, data_root, read_annotations
from evaluation.demo.sources import fetch_photographs
from serving.errors import FetchFailed

FOLDERS = {
    "dlib_faces": 3,
    "facemask_ilc2021": 8,
    "facemask_kaggle": 20,
    "kaggle_cars": 6,
    "openalpr_eu": 6,
    "openalpr_us": 6,
    "romanian_plates": 3,
}


@pytest.fixture(scope="session")
def labelled() -> list[tuple[Path, LabelledPicture]]:
    """About fifty labelled pictures, spread over the development folders."""
    dev = data_root() / "dev"
    if not dev.is_dir():
        pytest.skip("no development data: set STREETBLUR_DATA to a folder that holds dev/")
    chosen = []
    for name, count in FOLDERS.items():
        pictures = read_annotations(dev / name / "annotations.jsonl")
        step = max(1, len(pictures) // count)
        chosen += [(dev / name, picture) for picture in pictures[::step][:count]]
    return chosen


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder of the public-domain photographs."""
    try:
        return fetch_photographs()
    except FetchFailed as error:
        pytest.skip(f"no photographs: {error}")
