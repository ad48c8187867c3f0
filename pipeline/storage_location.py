"""Addresses of stores: what they mean, and whether two of them overlap."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import ConfigurationError

WORKSPACE_FOLDER = "_streetblur"
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
    source_chain, target_chain = _any_chain(input_uri), _any_chain(output_uri)
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


def check_records_apart(output_uri: str, workspace_uri: str | None) -> None:
    """Refuse an output that lies among records, of this job or of jobs over another output.

    Args:
        output_uri: where pictures go.
        workspace_uri: where records go; None for a folder of the output.

    Raises:
        ConfigurationError: pictures and records would be mixed.
    """
    place = parse_location(output_uri)
    parts = place.parts if isinstance(place, Path) else place.prefix.split("/")
    what = ""
    if WORKSPACE_FOLDER in parts:
        what = f"the output lies in {WORKSPACE_FOLDER}, where jobs keep their records"
    elif workspace_uri is not None and _any_chain(workspace_uri)[0] in _any_chain(output_uri):
        what = "the output lies in the workspace, among the records of jobs"
    if what:
        raise ConfigurationError(
            what,
            where=output_uri,
            fix="Choose another output; the workspace may be a folder of the output, or elsewhere",
        )


def places_above(uri: str) -> list[str]:
    """Addresses of the folders or prefixes that contain a place, innermost first."""
    place = parse_location(uri)
    if isinstance(place, Path):
        return [str(folder) for folder in Path(os.path.realpath(place)).parents]
    parts = place.prefix.split("/") if place.prefix else []
    above = ["/".join(parts[:n]) for n in range(len(parts) - 1, -1, -1)]
    return [f"s3://{place.bucket}/{prefix}".rstrip("/") for prefix in above]


def _any_chain(uri: str) -> list[object]:
    """Identities of a place and of all that contain it, innermost first."""
    place = parse_location(uri)
    return _chain(place) if isinstance(place, Path) else _bucket_chain(place)


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
