"""ObjectStore on S3 and servers that speak it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import StorageError
from pipeline.storage import (
    MAX_KEY_BYTES,
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
from pipeline.storage_s3_connection import S3Connection
from pipeline.storage_s3_errors import CONFLICT, code, status, translate
from pipeline.storage_s3_listing import Page, list_parallel

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ListObjectsV2OutputTypeDef

_LONGEST_PAUSE_S = 5.0


class _CutShort(OSError):
    """A body broke off after its headers: the client itself repeats only what comes before."""


@dataclass(frozen=True, slots=True)
class S3Store:
    """Objects below ``prefix`` in a bucket.

    Attributes:
        connection: shared by the stores made with ``sub``.
        bucket: its name.
        prefix: where this store's keys start: empty or ending in '/'.
    """

    connection: S3Connection
    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """Canonical address: ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def list(
        self, prefix: str = "", *, exclude: Sequence[str] = (), report: ListingReport | None = None
    ) -> Iterator[ObjectInfo]:
        """Yield the objects under ``prefix``, listed by several threads."""
        yield from list_parallel(
            self._page,
            prefix,
            exclude=exclude,
            report=ListingReport() if report is None else report,
            threads=min(8, self.connection.settings.max_connections),
        )

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return the content; a body that breaks off is asked for again, boundedly."""
        settings = self.connection.settings
        for attempt in range(1, settings.max_attempts + 1):
            try:
                with self._told(key):
                    return self._get(key, if_match, max_bytes)
            except (NotFound, PreconditionFailed, TooLarge, AccessDenied):
                raise
            except StorageError as error:
                if attempt == settings.max_attempts or not isinstance(error.__cause__, _CutShort):
                    raise
                _pause(attempt)
        raise AssertionError("unreachable")

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and entity tag, None without such an object."""
        try:
            with self._told(key):
                found = self._client.head_object(Bucket=self.bucket, Key=self._full(key))
        except NotFound:
            return None
        return ObjectInfo(key, found["ContentLength"], _bare(found["ETag"]))

    def put(self, key: str, data: bytes, *, content_type: str = OCTET_STREAM) -> ObjectInfo:
        """Write in one request with a SHA-256 that the server checks."""
        with self._told(key):
            stored = self._client.put_object(**self._request(key, data, content_type))
        return ObjectInfo(key, len(data), _bare(stored["ETag"]))

    def create(self, key: str, data: bytes, *, content_type: str = OCTET_STREAM) -> bool:
        """Write with ``If-None-Match: *``; a try that won unheard is recognised by content."""
        request = self._request(key, data, content_type)
        uncertain = False
        for attempt in range(1, self.connection.settings.max_attempts + 1):
            with self._told(key):
                try:
                    self._client.put_object(**request, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    # The client repeats a request whose answer it lost, and that is then refused.
                    uncertain |= error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                    if status(error) == 412:
                        return uncertain and self._holds(key, data)
                    if code(error) != CONFLICT or attempt == self.connection.settings.max_attempts:
                        raise
            _pause(attempt)  # AWS: another conditional write is under way, ask again
        raise AssertionError("unreachable")

    def list_dirs(self, prefix: str = "") -> Names:
        """Return the folders directly under ``prefix``."""
        found: set[str] = set()
        token: str | None = None
        stripped = prefix.rstrip("/")
        while True:
            page = self._page(f"{stripped}/" if stripped else "", folders=True, token=token)
            found.update(page.prefixes)
            if (token := page.token) is None:
                return sorted(found)

    def sub(self, prefix: str) -> S3Store:
        """Return the store rooted at ``prefix`` inside this one."""
        stripped = prefix.rstrip("/")
        if stripped:
            validate_key(stripped, internal=True)
            stripped += "/"
        return replace(self, prefix=self.prefix + stripped)

    def answers_anonymous_reads(self, key: str) -> bool:
        """Try an unsigned GET and an unsigned listing of ``key``."""
        full = self._full(key)
        client = self.connection.unsigned()
        try:
            return self._answers(
                lambda: client.get_object(Bucket=self.bucket, Key=full)["Body"].close()
            ) or self._answers(
                lambda: client.list_objects_v2(Bucket=self.bucket, Prefix=full, MaxKeys=1)
            )
        finally:
            client.close()

    def versioned(self) -> bool:
        """Ask the bucket; needs the right ``s3:GetBucketVersioning``.

        A bucket whose versioning is suspended makes no new versions but keeps the old ones.
        """
        with self._told(""):
            answer = self._client.get_bucket_versioning(Bucket=self.bucket)
        return answer.get("Status") in ("Enabled", "Suspended")

    def ensure_root(self, *, create: bool = True, mode: int = 0o700) -> None:
        """Check that the bucket exists and may be listed; buckets are never created."""
        with self._told(""):
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    @property
    def _client(self) -> S3Client:
        return self.connection.client

    def _full(self, key: str) -> str:
        validate_key(key, internal=True)
        full = self.prefix + key
        if len(full.encode()) > MAX_KEY_BYTES:
            raise RefusedKey(
                "too_long",
                f"the key and its prefix have more than {MAX_KEY_BYTES} bytes",
                where=ascii(full[:200]),
                fix="Use shorter names or a shorter prefix",
            )
        return full

    def _request(self, key: str, data: bytes, content_type: str) -> dict[str, Any]:
        return {
            "Bucket": self.bucket,
            "Key": self._full(key),
            "Body": data,
            "ContentType": content_type,
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
        }

    def _get(self, key: str, if_match: str | None, max_bytes: int | None) -> bytes:
        request: dict[str, Any] = {"Bucket": self.bucket, "Key": self._full(key)}
        if if_match is not None:
            request["IfMatch"] = f'"{if_match}"'
        answer: GetObjectOutputTypeDef = self._client.get_object(**request)
        size, body = answer["ContentLength"], answer["Body"]
        with contextlib.closing(body):
            if max_bytes is not None and size > max_bytes:
                raise TooLarge(f"has {size} bytes, at most {max_bytes} are accepted", where=key)
            try:
                data = body.read()
            except (BotoCoreError, OSError, urllib3.exceptions.HTTPError) as error:
                raise _CutShort(type(error).__name__) from error
        if len(data) != size:
            raise _CutShort(f"{len(data)} bytes came of {size}")
        return data

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.get(key, max_bytes=len(data)) == data
        except (NotFound, TooLarge):
            return False

    def _page(self, prefix: str, *, folders: bool, token: str | None) -> Page:
        request: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.prefix + prefix}
        if folders:
            request["Delimiter"] = "/"
        if token is not None:
            request["ContinuationToken"] = token
        with self._told(prefix):
            answer: ListObjectsV2OutputTypeDef = self._client.list_objects_v2(**request)
        skip = len(self.prefix)
        return Page(
            objects=[
                ObjectInfo(each["Key"][skip:], each["Size"], _bare(each["ETag"]))
                for each in answer.get("Contents", ())
            ],
            prefixes=[each["Prefix"][skip:] for each in answer.get("CommonPrefixes", ())],
            token=answer.get("NextContinuationToken") if answer.get("IsTruncated") else None,
        )

    def _answers(self, request: Callable[[], object]) -> bool:
        with self._told(""):
            try:
                request()
            except ClientError as error:
                if status(error) in (401, 403):
                    return False
                if status(error) == 404 and code(error) != "NoSuchBucket":
                    return True  # who may not read is not told that there is nothing
                raise
        return True

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Turn errors of the client into ours."""
        try:
            yield
        except (ClientError, BotoCoreError, OSError) as error:
            raise translate(error, f"{self.uri}/{ascii(key)[1:-1]}") from error


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.1 * 2**attempt)))  # noqa: S311
