"""Temporary folders that nobody else can look into, and that the next start removes.

Each lies in ``<temp>/streetblur-<uid>/``, mode 0700, beside a file that names its process. What
a killed process left is removed when the next one makes a folder there.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import ConfigurationError
from pipeline.process_identity import ProcessIdentity, this_process

log = logging.getLogger(__name__)

_OWNER = ".owner"
_OUR_NAME = re.compile(r"[a-z]+-[0-9a-f]{8}")
_TRIES = 20
_PAUSE_S = 0.1


def scratch_root(temp: Path | None = None) -> Path:
    """Where this user's scratch folders lie, below ``temp`` (by default the system's)."""
    return (temp or Path(tempfile.gettempdir())) / f"streetblur-{os.getuid()}"


def make_scratch(purpose: str, *, temp: Path | None = None) -> Path:
    """A new, empty folder of this process; first, what dead processes left beside it is removed.

    Raises:
        ConfigurationError: the place belongs to somebody else.
    """
    root = scratch_root(temp)
    _make_private(root)
    sweep(root)
    folder = root / f"{purpose}-{secrets.token_hex(4)}"
    # the owner first: killed in between, this process leaves nothing that is not its own
    _owner_file(folder).write_text(this_process().model_dump_json(), "utf-8")
    folder.mkdir(mode=0o700)
    return folder


def remove_scratch(folder: Path) -> None:
    """Remove a folder of :func:`make_scratch`; processes that still die in it are waited for."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            _owner_file(folder).unlink(missing_ok=True)
            return
        time.sleep(_PAUSE_S)
    log.warning("cannot remove %s; the next start tries again once this process has ended", folder)


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A scratch folder for the length of a ``with`` block."""
    folder = make_scratch(purpose)
    try:
        yield folder
    finally:
        remove_scratch(folder)


def sweep(root: Path) -> None:
    """Remove the folders in ``root`` whose owners have surely ended; never a living one's.

    A folder without an owner was swept before, and made again by a process that died later than
    its parent: a living owner's file is there before its folder and goes after it.
    """
    for owner_file in sorted(root.glob(f"*{_OWNER}")):
        try:
            owner = ProcessIdentity.model_validate_json(owner_file.read_bytes())
        except (OSError, ValidationError):
            continue  # being written, or swept by another process just now
        if owner.gone():
            folder = owner_file.with_suffix("")
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                owner_file.unlink(missing_ok=True)
    for folder in root.iterdir():
        ours = _OUR_NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
        if ours and not _owner_file(folder).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _owner_file(folder: Path) -> Path:
    return folder.with_name(folder.name + _OWNER)


def _make_private(root: Path) -> None:
    """Make ``root`` with mode 0700; in a folder open to all, somebody may have made it before."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigurationError(
            "the folder for temporary files belongs to somebody else",
            where=str(root),
            fix="Remove it, or name another place with TMPDIR",
        )
    root.chmod(0o700)
