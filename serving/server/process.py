"""Starts and stops one real Triton server; whatever it leaves behind is removed with it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from serving.errors import ServerFailed
from serving.owner import PATTERN, is_gone, this_owner
from serving.server.environment import ServerEnvironment

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
PORTS = ("grpc", "http", "metrics")
_TRIES = 5
_LOOK_S = 0.1
_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Has the kernel stop the server when this process is killed and cannot, then becomes the server.
In a process of its own: no code may run in a fork of one in which gRPC has threads."""
_STACK = re.compile(r"\s*\d+# |Signal \(\d+\) received|[+|]|\s*$")
"""Lines of the log that tell nobody why a server ended: stack frames, and tables."""
_WRONG = re.compile(r"[EF]\d{4} |error:")
"""How lines begin that Triton writes about errors."""
_TELLING = ("Misconfigured", "already in use", "failed to load", "error:")
"""What the lines that tell hold; the first that is found."""
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_STANDIN = Path(__file__).parent / "standin"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the server's Python backend puts its own
_LEFTOVER = re.compile(rf"streetblur_triton_({PATTERN})_[0-9a-f]{{8}}_.*")


class TritonServer:
    """A Triton server on loopback ports; a context manager.

    Args:
        environment: where it is installed.
        repository: the model repository.
        folder: an empty, private folder for its backends and its log.
        config_name: which ``configs/<name>.pbtxt`` of each model to use.
        ports: of ``grpc``, ``http`` and ``metrics``; free ones by default.
        options: further options of the server.
    """

    def __init__(
        self,
        environment: ServerEnvironment,
        repository: Path,
        folder: Path,
        *,
        config_name: str = "cpu",
        ports: dict[str, int] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.repository = repository.resolve()
        self._environment = environment
        self._folder = folder
        self._config_name = config_name
        self._given_ports = ports
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._model_processes: list[tuple[psutil.Process, str]] = []
        self._prefix = f"streetblur_triton_{this_owner()}_{secrets.token_hex(4)}_"
        self.ports = ports or {}

    @property
    def url(self) -> str:
        """``grpc://host:port``."""
        return f"grpc://127.0.0.1:{self.ports['grpc']}"

    @property
    def pid(self) -> int:
        """Process number of the server.

        Raises:
            ServerFailed: it does not run.
        """
        if self._process is None:
            raise ServerFailed("the server has not been started")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it writes."""
        return self._folder / "triton.log"

    def start(self) -> None:
        """Start the server and return when it says that it is ready; again on the same ports.

        Raises:
            ServerFailed: it ended, or was not ready in time; the text carries the end of its log.
        """
        remove_leftovers()
        backends = self._make_backends()
        for _ in range(_TRIES):
            self.ports = self.ports or free_ports(*PORTS)
            self._launch(backends)
            if self._wait():
                self._model_processes = self._find_model_processes()
                return
            taken = "already in use" in self._said()
            self.stop()
            if not taken or self._given_ports:
                break
            self.ports = {}
        raise ServerFailed(
            f"the server did not get ready: {self._said()}",
            where=str(self.repository),
            fix=f"See {self.log}; `streetblur models check` looks at the models",
        )

    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def ended_models(self) -> tuple[str, ...]:
        """Models of which a process has ended since the start, as ``name version``, sorted.

        The server does not start it again, and says that it is ready.
        """
        ended = {model for process, model in self._model_processes if not _lives(process)}
        return tuple(sorted(ended))

    def why_it_ended(self) -> str:
        """What is known of a server that ended by itself: how, and what its log says of errors."""
        code = None if self._process is None else self._process.poll()
        how = "it ended"
        if code is not None and code < 0:
            with suppress(ValueError):
                how = f"it crashed or was killed ({signal.Signals(-code).name})"
        elif code:
            how = f"it ended with status {code}"
        lines = [line for line in self._log_lines() if not _STACK.match(line)]
        telling = [line for line in lines if _WRONG.match(line)]
        return f"{how}: {' | '.join(telling[-3:])[-1500:]}" if telling else how

    def stop(self) -> None:
        """Stop the server and its stubs, and remove their shared memory; may be called again."""
        process, self._process = self._process, None
        self._model_processes = []
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # stubs that outlive a killed server
        for left in _SHARED_MEMORY.glob(f"{self._prefix}*"):
            left.unlink(missing_ok=True)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _make_backends(self) -> Path:
        """A backend folder: Python's own, and the stand-in for ONNX Runtime."""
        backends = self._folder / "backends"
        if not backends.exists():
            python = backends / "python"
            shutil.copytree(self._environment.triton / "backends" / "python", python)
            number = f"{sys.version_info.major}.{sys.version_info.minor}"
            stub = self._environment.triton / "python_backend_stubs" / number
            shutil.copytree(stub, python, dirs_exist_ok=True)
            shutil.copytree(_STANDIN, backends / "onnxruntime")
        return backends

    def _launch(self, backends: Path) -> None:
        command = [
            str(self._environment.binary),
            f"--model-repository={self.repository}",
            "--model-control-mode=none",
            f"--backend-directory={backends}",
            *(f"--{name}-address=127.0.0.1" for name in self.ports),
            *(f"--{name}-port={port}" for name, port in self.ports.items()),
            "--disable-auto-complete-config",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--model-config-name={self._config_name}",
            "--exit-timeout-secs=5",
            *self._options,
        ]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = _start_for_good(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment.variables(),
                start_new_session=True,
            )

    def _wait(self) -> bool:
        """Whether it says that it is ready, in time."""
        deadline = time.monotonic() + READY_WITHIN_S
        url = f"http://127.0.0.1:{self.ports['http']}/v2/health/ready"
        while self.is_running() and time.monotonic() < deadline:
            with suppress(OSError), _DIRECTLY.open(url, timeout=1) as answer:
                if answer.status == 200 and self._listens():
                    return True
            time.sleep(_LOOK_S)
        return False

    def _listens(self) -> bool:
        """Whether it is this server that listens: another one may have had the ports before."""
        try:
            open_ports = {
                connection.laddr.port
                for connection in psutil.Process(self.pid).net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
        except psutil.Error:
            return False
        return open_ports >= set(self.ports.values())

    def _find_model_processes(self) -> list[tuple[psutil.Process, str]]:
        """The processes in which the server runs models, and which."""
        found = []
        with suppress(psutil.Error):
            for child in psutil.Process(self.pid).children(recursive=True):
                with suppress(psutil.Error):
                    paths = [Path(word) for word in child.cmdline()[1:]]
                    own = [path for path in paths if path.is_relative_to(self.repository)]
                    found += [(child, " ".join(path.parts[-3:-1])) for path in own[:1]]
        return found

    def _said(self) -> str:
        """The lines of the log that tell what is wrong, since it was started last."""
        lines = self._log_lines()
        for word in _TELLING:
            if telling := [line for line in lines if word in line]:
                return " | ".join(telling[-3:])[-1500:]
        return " | ".join(lines[-3:])[-1500:]

    def _log_lines(self) -> list[str]:
        """What it wrote since it was started last."""
        if not self.log.exists():
            return []
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        return text.strip().splitlines()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def free_ports(*names: str) -> dict[str, int]:
    """Distinct loopback TCP ports that nothing listens on now, by name."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def remove_leftovers() -> None:
    """Remove shared memory of servers whose starter was killed together with them."""
    for path in _SHARED_MEMORY.glob("streetblur_triton_*"):
        found = _LEFTOVER.fullmatch(path.name)
        with suppress(OSError):
            if found and path.stat().st_uid == os.getuid() and is_gone(found[1]):
                path.unlink()


_launchers: dict[int, ThreadPoolExecutor] = {}


def _start_for_good(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, whichever thread asks.

    To the kernel a parent is a thread: a server started by one that ends would end with it. So one
    thread starts them all, and lives as long as this process.
    """
    pid = os.getpid()  # a forked process has none of its parent's threads
    launcher = _launchers.setdefault(pid, ThreadPoolExecutor(1, "triton-launcher"))

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-I", "-S", "-c", _LAUNCH, *command], **options)

    return launcher.submit(start).result()
