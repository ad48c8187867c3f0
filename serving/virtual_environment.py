"""Virtual environments for programs that nothing else can live with, made once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.errors import FetchFailed
from serving.pypi import locked

INSTALL_TIMEOUT_S = 1800
_DONE = ".installed"


def is_made(folder: Path) -> bool:
    """Whether the environment is there, whole."""
    return (folder / _DONE).is_file()


def make(
    folder: Path,
    packages: Sequence[str],
    *,
    what: str,
    setting: str,
    pythons: str = "3.11 to 3.13",
    announce: Callable[[], None] = lambda: None,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Make an environment unless it is there; safe to call from several processes at once.

    What an interrupted call left is made anew.

    Args:
        folder: its root.
        packages: exact versions, as pip's arguments; nothing else is installed.
        what: whose environment it is, for messages.
        setting: names the place of ``folder``, for messages.
        pythons: which versions of Python there are packages for, likewise.
        announce: called before the work, if there is any.
        finish: called once pip is done, before the environment counts as whole.

    Raises:
        FetchFailed: pip could not install it.
    """
    with locked(folder.with_name(f"{folder.name}.lock"), setting=setting):
        if is_made(folder):
            return
        announce()
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)], what, pythons)
        pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet"]
        exact = ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        _call([*pip, *exact, *packages], what, pythons)
        finish()
        (folder / _DONE).touch()


def _call(command: Sequence[str], what: str, pythons: str) -> None:
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise FetchFailed(
            f"{what} environment could not be made ({said[-1] if said else error})",
            where=" ".join(command[:4]),
            fix=f"Check the network and free disk; needs x86-64 Linux, Python {pythons}",
        ) from error
