"""Addresses of stores: what they mean, and whether two of them overlap."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import ConfigurationError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """A place in a bucket; ``prefix`` has no slash at either end."""

    bucket: str
    prefix: str


def parse_location(uri: str) -> BucketLocation | Path:
    """Return the bucket and prefix, or the absolute folder, that ``uri`` means.

    Raises:
        ConfigurationError: not ``s3://bucket/prefix``, ``file:///folder`` or a folder path.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        if not uri or "\0" in uri:
            raise ConfigurationError("the address is empty or has a NUL", where=ascii(uri))
        return _folder(uri)
    if scheme[1].lower() == "s3":
        return _parse_bucket(uri[scheme.end() :])
    if scheme[1].lower() == "file":
        parts = urlsplit(uri)
        path = unquote(parts.path)
        odd = not path or parts.query or parts.fragment or "\0" in path
        if odd or parts.netloc not in ("", "localhost"):
            raise ConfigurationError(
                "a file address names a folder of this machine, with '?' and '#' escaped",
                where="file://",
                fix="Write it as file:///folder or as a plain path",
            )
        return _folder(path)
    raise ConfigurationError(
        f"no store is known for {scheme[1]}://",
        fix="Use s3://bucket/prefix, file:///folder or a plain path",
    )


def _folder(path: str) -> Path:
    """The folder itself: one folder has one address, however it is spelled."""
    found = Path(os.path.realpath(path))
    if os.path.islink(path) and not found.exists():
        raise ConfigurationError(
            f"this link leads to {found}, which is not there", where=path, fix="Is a disk missing?"
        )
    return found


def _parse_bucket(rest: str) -> BucketLocation:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):  # not repeated in the text: it may be key:secret@bucket
        raise ConfigurationError(
            "the part after s3:// is not a bucket name",
            where="s3://",
            fix="Write s3://bucket/prefix; credentials go into the environment or a profile",
        )
    prefix = prefix.strip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ConfigurationError(
            "the prefix has an empty part, '.' or '..'",
            where=f"s3://{bucket}",
            fix="Write the prefix out",
        )
    return BucketLocation(bucket, prefix)


def check_disjoint(input_uri: str, output_uri: str, *, name: str = "output") -> None:
    """Refuse an output (or what else ``name`` says) that equals, contains or lies in the input.

    Folders are compared by what they are on disk, so links, ``..``, bind mounts and letter case
    do not hide an overlap; parts that do not exist yet are compared without regard to case.

    Raises:
        ConfigurationError: they overlap, with the reason.
    """
    source, target = parse_location(input_uri), parse_location(output_uri)
    if isinstance(source, Path) and isinstance(target, Path):
        source_chain, target_chain = _chain(source), _chain(target)
    elif isinstance(source, BucketLocation) and isinstance(target, BucketLocation):
        source_chain, target_chain = _bucket_chain(source), _bucket_chain(target)
    else:
        return
    if source_chain[0] == target_chain[0]:
        relation = "is the input itself"
    elif source_chain[0] in target_chain:
        relation = "lies within the input, so the next run would take results for sources"
    elif target_chain[0] in source_chain:
        relation = "contains the input, so originals would lie among the results"
    else:
        return
    raise ConfigurationError(
        f"the {name} {relation}", where=output_uri, fix="Choose a separate bucket or folder"
    )


def _bucket_chain(place: BucketLocation) -> list[object]:
    parts = place.prefix.split("/") if place.prefix else []
    return [(place.bucket, tuple(parts[:n])) for n in range(len(parts), -1, -1)]


def _chain(folder: Path) -> list[object]:
    """Return identities of the folder and of each folder above it, innermost first."""
    real = Path(os.path.realpath(folder))
    return [_identity(each) for each in (real, *real.parents)]


def _identity(path: Path) -> object:
    missing: list[str] = []
    while True:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            missing.append(unicodedata.normalize("NFC", path.name).casefold())
            path = path.parent
            continue
        except OSError as error:
            raise ConfigurationError(
                f"the folder cannot be examined ({error.strerror})", where=str(path)
            ) from error
        return (found.st_dev, found.st_ino, tuple(reversed(missing)))
