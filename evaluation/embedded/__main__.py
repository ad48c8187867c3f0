"""``python -m evaluation.embedded FILE_OR_FOLDER [...]``: look for hidden pictures in files."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from evaluation.embedded import Finding, UnreadableImage, embedded_pictures

# Pictures are read whole.
_MAX_BYTES = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when all files were looked through and nothing was found, 1 when something was found, 2
        when nothing was found but a path or a file could not be read.
    """
    parser = argparse.ArgumentParser(prog="python -m evaluation.embedded", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    given = parser.parse_args(arguments)
    looked_at = laden = unreadable = 0
    for path in given.paths:
        missing: list[OSError] = []
        files = list(_files(path, missing.append))
        for error in missing:
            _complain(Path(error.filename or path), error.strerror or str(error))
        unreadable += len(missing)
        for file in files:
            looked_at += 1
            found, readable = _scan(file)
            laden += bool(found)
            unreadable += not readable
            for finding in found:
                print(f"{_shown(file)}: {finding}")
    print(f"{looked_at} files looked at: {laden} with findings, {unreadable} unreadable")
    return 1 if laden else 2 if unreadable else 0


def _files(path: Path, missing: Callable[[OSError], object]) -> Iterator[Path]:
    """``path`` itself, or all files below it in order; links to folders among them.

    Args:
        missing: told of what cannot be listed, and of a folder without a file.
    """
    if not path.is_dir():
        yield path
        return
    empty = True
    for folder, below, names in os.walk(path, onerror=missing):
        below.sort()
        links = [name for name in below if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            empty = False
            yield Path(folder) / name
    if empty:
        missing(OSError(f"{_shown(path)} holds no file"))


def _scan(file: Path) -> tuple[Sequence[Finding], bool]:
    """What is in ``file``, and whether it could be looked through to its end."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("it is no regular file")
        if status.st_size > _MAX_BYTES:
            raise UnreadableImage(f"it has more than {_MAX_BYTES} bytes")
        return embedded_pictures(file.read_bytes()), True
    except UnreadableImage as error:
        _complain(file, str(error))
        return error.findings, False
    except OSError as error:
        _complain(file, error.strerror or str(error))
        return (), False


def _complain(path: Path, what: str) -> None:
    print(f"{_shown(path)}: unreadable: {what}", file=sys.stderr)


def _shown(path: Path) -> str:
    """``path`` as it can be printed: names need not be valid text."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


if __name__ == "__main__":
    sys.exit(main())
