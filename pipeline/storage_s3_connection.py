"""The S3 client of a process: how it is configured, and when it is made."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from pipeline.storage import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class S3Connection:
    """The connection pool of one process: made at first use, left behind by fork and pickle."""

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings
        self._client: S3Client | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[S3Connection], tuple[StorageSettings]]:
        return (S3Connection, (self.settings,))

    @property
    def client(self) -> S3Client:
        """The client of this process, with credentials of boto3's default chain."""
        if self._owner != os.getpid():
            self._lock = threading.Lock()  # the copy of a forked parent may be held for ever
            self._client, self._owner = None, os.getpid()
        with self._lock:
            if self._client is None:
                self._client = self._make(Config())
            return self._client

    def unsigned(self) -> S3Client:
        """Return a new client without credentials."""
        return self._make(Config(signature_version=UNSIGNED))

    def _make(self, extra: Config) -> S3Client:
        settings = self.settings
        own_server = settings.endpoint_url or any(
            os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
        )
        config = Config(
            max_pool_connections=settings.max_connections,
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            retries={"mode": "adaptive", "total_max_attempts": settings.max_attempts},
            # We send the checksum ourselves: the default one costs a fifth of the throughput.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if own_server else "auto"},
            tcp_keepalive=True,
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            config=config.merge(extra),
        )
