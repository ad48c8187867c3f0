"""The S3 client of a process: how it is configured, and when it is made."""

from __future__ import annotations

import ipaddress
import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies

from pipeline.errors import ConfigurationError
from pipeline.storage import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # the first one set wins


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
        """The client of this process, with credentials of boto3's default chain.

        Raises:
            ConfigurationError: requests would travel unencrypted to another machine.
        """
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
        own_server = settings.endpoint_url or any(map(os.environ.get, _ENDPOINT_VARIABLES))
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
        try:
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=settings.endpoint_url,
                region_name=settings.region,
                config=config.merge(extra),
            )
        except BotoCoreError:
            raise
        except ValueError:  # its text repeats the address, which may hold a password
            raise ConfigurationError(
                "the S3 endpoint is not an address",
                where=self._origin(),
                fix="Give it as https://host:port",
            ) from None
        if not settings.insecure:
            # Asked of the client: it alone knows which of settings, environment and profile won.
            self._refuse_plaintext(client.meta.endpoint_url)
        return client

    def _refuse_plaintext(self, url: str) -> None:
        parts = urlsplit(url)
        way = f"{parts.scheme}://{parts.hostname}"
        if parts.scheme == "https":
            return
        if _is_loopback(parts.hostname or ""):
            if not get_environ_proxies(url):
                return
            way += " through the proxy of http_proxy"
        raise ConfigurationError(
            f"{way} is not encrypted: originals, and records that say where faces are, could be "
            "read on the way",
            where=self._origin(),
            fix="Use an https:// endpoint, or a loopback one that no_proxy names; if the network "
            "itself is trusted, accept it with --insecure (storage.insecure, "
            "STREETBLUR_STORAGE__INSECURE=true)",
        )

    def _origin(self) -> str:
        """Where the endpoint in force was set."""
        if self.settings.endpoint_url is not None:
            return "endpoint_url"
        named = (name for name in _ENDPOINT_VARIABLES if os.environ.get(name))
        return next(named, "endpoint_url of the AWS profile")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
