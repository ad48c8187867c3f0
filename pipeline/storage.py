"""Object storage: one small interface over S3 buckets and local folders, and how to open one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias
from urllib.parse import urlsplit

from pipeline.errors import ConfigurationError, ImageRefused, StorageError
from pipeline.storage_location import WORKSPACE_FOLDER, parse_location
from pipeline.storage_location import check_disjoint as check_disjoint

INTERNAL_PREFIX = f"{WORKSPACE_FOLDER}/"
MAX_KEY_BYTES = 1024
OCTET_STREAM = "application/octet-stream"
EXAMPLES_KEPT = 20

Names: TypeAlias = list[str]  # `list` is a method's name in the stores


class NotFound(StorageError):
    """The object, bucket or folder does not exist."""


class PreconditionFailed(StorageError):
    """The object changed since it was listed."""


class TooLarge(StorageError):
    """The object has more bytes than the caller allows."""


class AccessDenied(StorageError):
    """The store refuses these credentials or this user, or there are no credentials."""


class RefusedKey(ImageRefused):
    """A key that cannot be stored safely everywhere; the input behind it is quarantined.

    ``reason`` is one of ``empty``, ``absolute``, ``empty_segment``, ``dot_segment``,
    ``control_character``, ``backslash``, ``not_utf8``, ``too_long``, ``reserved``, ``symlink``,
    ``path_collision``.
    """


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object.

    Attributes:
        key: relative to the root of the store that returned it.
        size: bytes.
        etag: S3 entity tag without quotes, or ``sha256:<hex>`` of the content in folders;
            ``unreadable`` for a file whose content this user may not read.
    """

    key: str
    size: int
    etag: str


@dataclass(slots=True)
class ListingReport:
    """What a listing passed over: counts by kind, and some names of each for people.

    Kinds: ``marker`` (empty object whose key ends in '/'), ``link`` (symbolic link),
    ``undecodable`` (file name that is not UTF-8), ``special`` (device, socket, pipe).
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count one entry that was passed over; the caller serialises calls."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = self.examples.setdefault(kind, [])
        if len(names) < EXAMPLES_KEPT:
            names.append(name.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """How to reach an S3 server; credentials are never here but in boto3's default chain.

    Attributes:
        endpoint_url: server address, None for AWS; also selects path-style addressing.
        region: AWS region, None for boto3's default chain.
        max_connections: size of the connection pool of each process.
        connect_timeout_s: seconds to wait for a connection.
        read_timeout_s: seconds to wait for each answer or part of a body.
        max_attempts: tries of each request in all, the first one included.
        insecure: accept a server on another machine that is reached without encryption.
    """

    endpoint_url: str | None = None
    region: str | None = None
    max_connections: int = 32
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    max_attempts: int = 5
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.endpoint_url is not None:
            parts = urlsplit(self.endpoint_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigurationError(
                    "the endpoint is not an http:// or https:// address",
                    where="endpoint_url",
                    fix="Give it as https://host:port",
                )
            if parts.username or parts.password or parts.query:
                raise ConfigurationError(
                    "the endpoint carries a user name, password or query",
                    where="endpoint_url",
                    fix="Give credentials through the environment or an AWS profile",
                )
        for name in ("max_connections", "connect_timeout_s", "read_timeout_s", "max_attempts"):
            if getattr(self, name) <= 0:
                raise ConfigurationError("must be greater than 0", where=name)


class ObjectStore(Protocol):
    """Whole objects under keys; thread-safe, picklable, the same on a folder and on S3.

    Every method may raise ``StorageError`` (or its subclass ``AccessDenied``) after bounded
    retries, and ``RefusedKey`` for a key that ``validate_key`` refuses (workspace keys allowed).
    """

    @property
    def uri(self) -> str:
        """Canonical address without credentials and without a trailing slash."""

    def list(
        self, prefix: str = "", *, exclude: Sequence[str] = (), report: ListingReport | None = None
    ) -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in any order, in flat memory.

        ``exclude`` names relative prefixes ending in '/' that are not descended into. What is
        passed over is counted in ``report``. Keys come as stored: check with ``validate_key``.
        """

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return the content; raises NotFound, PreconditionFailed or TooLarge."""

    def head(self, key: str) -> ObjectInfo | None:
        """Return what ``list`` would say of this key, None without such an object."""

    def put(self, key: str, data: bytes, *, content_type: str = OCTET_STREAM) -> ObjectInfo:
        """Write or replace an object in one step; readers see the old or the new, whole."""

    def create(self, key: str, data: bytes, *, content_type: str = OCTET_STREAM) -> bool:
        """Write an object unless the key exists; True for exactly one of concurrent creators.

        After a lost answer the store is asked whether the object is ours by content. Creators
        who must tell themselves apart put something of their own into ``data``.
        """

    def list_dirs(self, prefix: str = "") -> Names:
        """Return the folders directly under ``prefix``, sorted.

        They are relative to the store's root and end in '/': fit for ``list`` and ``sub``. On a
        file system empty folders count too.
        """

    def sub(self, prefix: str) -> ObjectStore:
        """Return the store rooted at ``prefix`` inside this one; connections are shared."""

    def answers_anonymous_reads(self, key: str) -> bool:
        """Say whether somebody without credentials can get or list this key.

        In folders that is any other user of the machine.
        """

    def versioned(self) -> bool:
        """Say whether replaced objects stay readable as old versions."""

    def ensure_root(self, *, create: bool = True, mode: int = 0o700) -> None:
        """Check that the root is there and reachable.

        A folder is created with ``mode`` unless ``create`` is false, and what dead writers left
        in it is removed. Buckets are never created. Raises NotFound, AccessDenied.
        """


def open_store(uri: str, *, settings: StorageSettings) -> ObjectStore:
    """Open ``s3://bucket/prefix``, ``file:///folder`` or a plain folder path; nothing is read.

    Raises:
        ConfigurationError: the address cannot be understood.
    """
    location = parse_location(uri)
    if isinstance(location, Path):
        from pipeline.storage_local import FolderStore

        return FolderStore(location)
    from pipeline.storage_s3 import S3Store
    from pipeline.storage_s3_connection import S3Connection

    prefix = f"{location.prefix}/" if location.prefix else ""
    return S3Store(S3Connection(settings), location.bucket, prefix)


def validate_key(key: str, *, internal: bool = False) -> None:
    """Refuse a key that some store would change, hide or write outside its root.

    Args:
        key: relative to a store's root.
        internal: allow keys below ``_streetblur/``.

    Raises:
        RefusedKey: with a stable ``reason``.
    """
    segments = key.split("/")
    if not key:
        _refuse("empty", "the key is empty", key)
    if key.startswith("/"):
        _refuse("absolute", "the key starts with '/'", key)
    if "" in segments:
        _refuse("empty_segment", "the key has an empty part ('//' or a '/' at its end)", key)
    if "." in segments or ".." in segments:
        _refuse("dot_segment", "the key has a part '.' or '..'", key)
    if any(unicodedata.category(char) == "Cc" for char in key):
        _refuse("control_character", "the key has a control character", key)
    if "\\" in key:  # some S3 servers store it as '/', and so does Windows
        _refuse("backslash", "the key has a backslash", key)
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        _refuse("not_utf8", "the key is not valid Unicode", key)
    if length > MAX_KEY_BYTES:
        _refuse("too_long", f"the key has {length} bytes, at most {MAX_KEY_BYTES} go", key)
    if segments[0] == INTERNAL_PREFIX[:-1] and not internal:
        _refuse("reserved", f"{INTERNAL_PREFIX} is kept for streetblur's own records", key)


def _refuse(reason: str, what: str, key: str) -> NoReturn:
    shown = ascii(key[:200])
    raise RefusedKey(reason, what, where=shown, fix="Rename the object and run again")
