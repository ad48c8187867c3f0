"""Folders and files addressed step by step below a root, never through a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.process_identity import start_time, this_process

TMP_FOLDER = ("_streetblur", "tmp")
# Without O_NONBLOCK, opening a named pipe that lies among the inputs would hang.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 18
_FOREIGN_LEFTOVER_S = 86_400.0  # no write takes a day: older files of other machines are dead


@contextlib.contextmanager
def open_folder(
    root: Path, parts: Sequence[str], *, create: bool = False, mode: int = 0o777
) -> Iterator[int]:
    """Give a descriptor of the folder ``parts`` below ``root``.

    Args:
        root: may itself be a link; must exist.
        parts: folder names, none of them empty, '.' or '..'.
        create: make and sync missing folders, private from ``_streetblur`` on.
        mode: of folders that are made, besides the umask.

    Raises:
        OSError: ``ELOOP`` for a link among the parts, ``ENOTDIR`` for a file.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        private = False
        for part in parts:
            private = private or part == TMP_FOLDER[0]
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700 if private else mode, dir_fd=fd)
                    os.fsync(fd)
            child = open_child_folder(fd, part)
            os.close(fd)
            fd = child
        yield fd
    finally:
        os.close(fd)


def lets_strangers_in(root: Path, parts: Sequence[str]) -> bool:
    """Whether other users of this machine may read or enter every folder from ``root`` on.

    A folder that anyone may write to guards nothing below it: another one can be put in the place
    of what it holds. Groups are no strangers, and folders above ``root`` do not count: where the
    same folder is mounted elsewhere, they are others. ``_streetblur`` counts by its own mode, for
    who may write to an output may swap the pictures as well.

    Raises:
        OSError: as ``open_folder``.
    """
    for depth in range(len(parts) + 1):
        with open_folder(root, parts[:depth]) as fd:
            mode = os.fstat(fd).st_mode
        below = parts[depth : depth + 1]
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and [*below] != [TMP_FOLDER[0]]:
            return True
        if not mode & (stat.S_IROTH | stat.S_IXOTH):
            return False
    return True


def open_child_folder(fd: int, name: str) -> int:
    """Return a descriptor of a folder inside folder ``fd``; the caller closes it."""
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=fd)
    except NotADirectoryError as error:
        if stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "it is a symbolic link", name) from error
        raise


def read_chunks(fd: int) -> Iterator[bytes]:
    """Yield what is left to read of a file."""
    while chunk := os.read(fd, _CHUNK_BYTES):
        yield chunk


def content_etag(chunks: Iterator[bytes]) -> tuple[str, int]:
    """Return ``sha256:<hex>`` and the number of bytes of a content."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return f"sha256:{digest.hexdigest()}", size


@contextlib.contextmanager
def temporary_file(root: Path, data: bytes, *, private: bool) -> Iterator[tuple[int, str]]:
    """Write ``data``, synced, into the temporary folder of ``root``; removed at the end if left.

    Yields:
        descriptor of the temporary folder, and the file's name in it.
    """
    with open_folder(root, TMP_FOLDER, create=True) as tmp_fd:
        name = f"{_own_name()}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600 if private else 0o666, dir_fd=tmp_fd)
        try:
            with os.fdopen(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(fd)
            yield tmp_fd, name
        finally:
            with contextlib.suppress(FileNotFoundError):  # renamed into place
                os.unlink(name, dir_fd=tmp_fd)


def remove_leftovers(root: Path) -> int:
    """Remove temporary files of processes that no longer run; return how many."""
    removed = 0
    own_machine = _own_name().split(".")[0]
    with contextlib.suppress(FileNotFoundError), open_folder(root, TMP_FOLDER) as tmp_fd:
        for name in os.listdir(tmp_fd):
            machine, _, rest = name.partition(".")
            pid, _, rest = rest.partition(".")
            started = rest.partition(".")[0]
            with contextlib.suppress(FileNotFoundError):  # its writer was quicker
                if machine == own_machine and pid.isdecimal():
                    dead = start_time(int(pid)) != started
                else:
                    written = os.stat(name, dir_fd=tmp_fd, follow_symlinks=False).st_mtime
                    dead = time.time() - written > _FOREIGN_LEFTOVER_S
                if dead:
                    os.unlink(name, dir_fd=tmp_fd)
                    removed += 1
    return removed


def _own_name() -> str:
    own = this_process()
    machine = hashlib.sha256(own.machine.encode()).hexdigest()[:16]
    return f"{machine}.{own.pid}.{own.started.replace('.', '_')}"
