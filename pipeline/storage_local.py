"""ObjectStore on a local folder: atomic, durable, and never through a symbolic link.

Durability: data, the rename and new folders are each synced before a call returns, so that a
commit never outlives the results it speaks of when the power fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.errors import StorageError
from pipeline.storage import (
    OCTET_STREAM,
    AccessDenied,
    ListingReport,
    Names,
    NotFound,
    ObjectInfo,
    PreconditionFailed,
    RefusedKey,
    TooLarge,
    validate_key,
)
from pipeline.storage_folders import (
    FILE_FLAGS,
    TMP_FOLDER,
    content_etag,
    lets_strangers_in,
    open_folder,
    read_chunks,
    remove_leftovers,
    temporary_file,
)
from pipeline.storage_local_listing import list_folders, list_tree

_TMP_KEYS = "/".join(TMP_FOLDER) + "/"


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Objects as files below ``root`` / ``prefix``.

    Attributes:
        root: absolute folder; may itself be a link, nothing below it may.
        prefix: where this store's keys start below ``root``: empty or ending in '/'.
    """

    root: Path
    prefix: str = ""

    @property
    def uri(self) -> str:
        """Canonical address: ``file:///folder``."""
        return (self.root / self.prefix).as_uri()

    def list(
        self, prefix: str = "", *, exclude: Sequence[str] = (), report: ListingReport | None = None
    ) -> Iterator[ObjectInfo]:
        """Yield the files under ``prefix``; each is read once, for its hash."""
        full = self.prefix + prefix
        base, _, stem = full.rpartition("/")
        base = f"{base}/" if base else ""
        hidden = [self.prefix + each for each in exclude] + [_TMP_KEYS]
        report = ListingReport() if report is None else report
        if any(base.startswith(each) for each in hidden):
            return
        try:
            with self._told(prefix), open_folder(self.root, _parts(base)) as fd:
                for info in list_tree(fd, base, stem, exclude=hidden, report=report):
                    yield ObjectInfo(info.key.removeprefix(self.prefix), info.size, info.etag)
        except NotFound:
            if not self.root.is_dir():
                raise

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return the content; ``if_match`` is compared with the hash of the bytes read."""
        with self._told(key), self._opened(key) as fd:
            data = _read(fd, key, max_bytes)
        if if_match is not None and if_match != content_etag(iter((data,)))[0]:
            raise PreconditionFailed(
                "the file changed since it was listed", where=key, fix="Run again to list it anew"
            )
        return data

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and hash of the file; reads it."""
        try:
            with self._told(key), self._opened(key) as fd:
                etag, size = content_etag(read_chunks(fd))
        except NotFound:
            return None
        return ObjectInfo(key, size, etag)

    def put(self, key: str, data: bytes, *, content_type: str = OCTET_STREAM) -> ObjectInfo:
        """Write a temporary file and rename it into place."""
        with self._told(key, writing=True), self._written(key, data) as (tmp_fd, tmp, fd, name):
            os.replace(tmp, name, src_dir_fd=tmp_fd, dst_dir_fd=fd)
            os.fsync(fd)
        return ObjectInfo(key, len(data), content_etag(iter((data,)))[0])

    def create(self, key: str, data: bytes, *, content_type: str = OCTET_STREAM) -> bool:
        """Write a temporary file and link it into place, which fails where something is."""
        with self._told(key, writing=True), self._written(key, data) as (tmp_fd, tmp, fd, name):
            try:
                os.link(tmp, name, src_dir_fd=tmp_fd, dst_dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                # Over NFS a repeated request can fail because its first try went through.
                if os.stat(tmp, dir_fd=tmp_fd).st_nlink != 2:
                    if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        raise IsADirectoryError(errno.EISDIR, "it is a folder") from None
                    return False
            os.fsync(fd)
        return True

    def list_dirs(self, prefix: str = "") -> Names:
        """Return the folders directly under ``prefix``, links left out."""
        base = _folder_key(prefix)
        try:
            with self._told(prefix), open_folder(self.root, _parts(self.prefix + base)) as fd:
                found = [f"{base}{name}/" for name in list_folders(fd)]
        except NotFound:
            return []
        return [each for each in found if self.prefix + each != _TMP_KEYS]

    def sub(self, prefix: str) -> FolderStore:
        """Return the store rooted at a folder inside this one."""
        return FolderStore(self.root, self.prefix + _folder_key(prefix))

    def answers_anonymous_reads(self, key: str) -> bool:
        """Say whether other users of this machine may read the folder ``key`` lies in."""
        with self._told(key):
            return lets_strangers_in(self.root, _parts(self.prefix + key)[:-1])

    def versioned(self) -> bool:
        """False: a folder keeps no old versions."""
        return False

    def ensure_root(self, *, create: bool = True, mode: int = 0o700) -> None:
        """Create the folder, or check that it is one, and remove what dead writers left."""
        folder = self.root / self.prefix
        with self._told("", writing=create):
            if create:
                self.root.mkdir(mode=mode, parents=True, exist_ok=True)
                with open_folder(self.root, _parts(self.prefix), create=True, mode=mode):
                    remove_leftovers(self.root)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "it cannot be written to")
            with open_folder(self.root, _parts(self.prefix)) as fd, os.scandir(fd):
                return

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        validate_key(key, internal=True)
        *parents, name = _parts(self.prefix + key)
        with open_folder(self.root, parents) as folder:
            fd = os.open(name, FILE_FLAGS, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a file")
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[tuple[int, str, int, str]]:
        """Give the temporary folder and file, and the folder and name it is meant for."""
        validate_key(key, internal=True)
        parts = _parts(self.prefix + key)
        private = TMP_FOLDER[0] in parts[:-1]
        with (
            open_folder(self.root, parts[:-1], create=True) as folder,
            temporary_file(self.root, data, private=private) as (tmp_fd, tmp),
        ):
            yield tmp_fd, tmp, folder, parts[-1]

    @contextlib.contextmanager
    def _told(self, key: str, *, writing: bool = False) -> Iterator[None]:
        """Turn errors of the operating system into ours."""
        try:
            yield
        except OSError as error:
            _raise_told(error, f"{self.uri}/{ascii(key)[1:-1]}", writing=writing)


def _raise_told(error: OSError, where: str, *, writing: bool) -> NoReturn:
    if error.errno == errno.ELOOP:
        what = "a symbolic link is in the way, and none is followed"
        raise RefusedKey("symlink", what, where=where, fix="Put the real file there") from error
    if error.errno == errno.ENAMETOOLONG:
        what = "a part of the key is too long for this file system"
        raise RefusedKey("too_long", what, where=where, fix="Use shorter names") from error
    if writing and error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        what = "on a file system a name cannot be a file and a folder at once"
        fix = "Rename one of the two, or write into a bucket"
        raise RefusedKey("path_collision", what, where=where, fix=fix) from error
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        raise NotFound("there is no such file or folder", where=where) from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "Check owner and permissions, and that the file system knows hard links"
        raise AccessDenied(f"not permitted ({error.strerror})", where=where, fix=fix) from error
    raise StorageError(
        f"the file system failed: {error.strerror}", where=where, fix="Check the disk, run again"
    ) from error


def _read(fd: int, key: str, max_bytes: int | None) -> bytes:
    data = bytearray()
    size = os.fstat(fd).st_size
    chunks = read_chunks(fd) if max_bytes is None or size <= max_bytes else iter(())
    for chunk in chunks:
        data += chunk
        if max_bytes is not None and len(data) > max_bytes:  # it grows while it is read
            size = len(data)
            break
    if max_bytes is not None and size > max_bytes:
        raise TooLarge(f"has {size} bytes, at most {max_bytes} are accepted", where=key)
    return bytes(data)


def _folder_key(prefix: str) -> str:
    stripped = prefix.rstrip("/")
    return f"{stripped}/" if stripped else ""


def _parts(key: str) -> list[str]:
    if not key:
        return []
    stripped = key.removesuffix("/")
    validate_key(stripped, internal=True)
    return stripped.split("/")
