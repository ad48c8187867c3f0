"""The Ray cluster of a run: a private one on this machine or a running one, kept quiet, watched."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray._private import auto_init_hook
from ray._private import worker as ray_worker

from pipeline.errors import EngineUnavailable
from pipeline.scratch import make_scratch, remove_scratch, scratch_root
from serving.allocator import ONE_ARENA

log = logging.getLogger(__name__)

PRIVATE_FIX = (
    "Run again; if it stays, look for memory, free disk in TMPDIR and limits on processes, or use "
    "--engine local"
)
SHARED_FIX = "Check the address, the token (RAY_AUTH_TOKEN) and the network, then run again"
_VITAL = {"gcs_server", "raylet"}
# Logs of a cluster that did not start, and how much of each is told.
_TELLING, _LAST_LINES = ("gcs_server", "raylet", "dashboard"), 5
START_TRIES = 2
_LONGEST = 300
_STUCK_S = 5.0
_CONNECT_S = 10.0
_A_YEAR_S = 31_536_000
# What Ray appends to its folder for a socket; the whole path must stay within the system's limit.
_SOCKET_TAIL = "/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_LONGEST_SOCKET = 107 if sys.platform == "linux" else 103
_folders: list[Path] = []
"""Folders of private clusters that this process has started and not yet removed."""


def connect(workers: int, address: str | None) -> bool:
    """Start or join a cluster; True when it is ours to stop.

    Args:
        workers: detector actors at most; as many CPUs again are for the other steps.
        address: a running cluster; None starts a private one, whatever runs on this machine.

    Raises:
        EngineUnavailable: there is none.
    """
    if ray.is_initialized():
        return False
    # A thread that is late when the cluster stops would start another one by asking for anything.
    auto_init_hook.enable_auto_connect = False
    ray_worker.print_to_stdstream = _relay
    if address is not None:
        try:
            _refuse_silent(address)
            # what its core writes to file descriptor 2 tells why, as its exception does not
            ray.init(
                address=address,
                runtime_env={"env_vars": ONE_ARENA},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            raise _no_cluster(error, address, SHARED_FIX) from error
        return False
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the driver shows our lines only
    # Ray ends workers that idle for a second, also between two blocks; a new one imports anew.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(1000 * _A_YEAR_S))
    # What is left in this process of a cluster whose GCS died would end the process by then.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(_A_YEAR_S))
    # Ray Data runs models in a thread of its workers; these inherit our environment.
    for name, value in ONE_ARENA.items():
        os.environ.setdefault(name, value)
    _demand_token()
    on_terminate = signal.getsignal(signal.SIGTERM)
    disconnect()  # what is left of a cluster before
    for tries_left in reversed(range(START_TRIES)):
        try:
            _start(workers)
            break
        except Exception as error:
            for line in _last_words(_folders):
                log.warning("%s", line)
            disconnect()
            # Ray waits 30 s, which a busy machine may need for its processes to come up
            if not tries_left or "timed out" not in str(error).lower():
                raise _no_cluster(error, "this machine", PRIVATE_FIX) from error
            log.warning("Ray took too long to start; once more")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own handler ends in an abort
    return True


def _start(workers: int) -> None:
    """Start a private cluster in a folder of its own."""
    folder = make_scratch("ray", temp=_short_temp())
    _folders.append(folder)
    with _quiet_stderr():
        ray.init(
            address="local",
            # Ray opens its own folder to everybody, so it lies in one that is not; originals
            # are spilled into it when they do not fit into memory
            _temp_dir=str(folder / "r"),
            object_spilling_directory=str(folder / "spill"),
            num_cpus=workers + max(1, workers),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def _last_words(folders: Sequence[Path]) -> list[str]:
    """What Ray's processes wrote last, before their logs are removed: why one ended."""
    found = []
    for path in (path for folder in folders for path in sorted(folder.glob("r/session_*/logs/*"))):
        if path.name.startswith(_TELLING) and path.is_file() and not path.is_symlink():
            lines = path.read_text(errors="replace").strip().splitlines()
            found += [f"{path.name}: {line[:_LONGEST]}" for line in lines[-_LAST_LINES:]]
    return found


def _refuse_silent(address: str) -> None:
    """Raise OSError if nobody listens there: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def _no_cluster(error: Exception, where: str, fix: str) -> EngineUnavailable:
    text = str(error).strip().splitlines() or [type(error).__name__]
    return EngineUnavailable(f"no Ray cluster ({text[0][:_LONGEST]})", where=where, fix=fix)


@atexit.register
def disconnect() -> None:
    """Stop the private cluster of this process, if there is one, and remove all that it wrote."""
    if _folders and ray.is_initialized():
        if dead_processes():
            _leave_stuck_threads()
        ray.shutdown()
    while _folders:
        remove_scratch(_folders.pop())


def _leave_stuck_threads() -> None:
    """Let Ray's shutdown go on without its threads that wait for a dead GCS: it joins them."""
    worker = ray_worker.global_worker
    worker.threads_stopped.set()
    for thread, subscriber in (
        ("listener_thread", "gcs_error_subscriber"),
        ("logger_thread", "gcs_log_subscriber"),
    ):
        if hasattr(worker, thread):
            getattr(worker, subscriber).close()
            getattr(worker, thread).join(_STUCK_S)
            if getattr(worker, thread).is_alive():
                delattr(worker, thread)
    # shutdown clears the flag for the next cluster's threads; those left behind keep theirs
    worker.threads_stopped = threading.Event()


def _demand_token() -> None:
    """Let only this process and its children into its private clusters.

    Ray listens on all interfaces. It asks for a token unless the environment says otherwise; by
    default for one that lies in the home folder and never changes.
    """
    os.environ.pop("RAY_AUTH_MODE", None)
    os.environ["RAY_AUTH_TOKEN"] = _token()


@cache
def _token() -> str:
    return secrets.token_hex(32)  # one a process: Ray reads it once


def _short_temp() -> Path:
    """The folder for temporary files, or ``/tmp`` where its name is too long for Ray's sockets."""
    temp = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if len(f"{scratch_root(temp)}/ray-01234567{_SOCKET_TAIL}") <= _LONGEST_SOCKET:
        return temp
    log.warning("Ray's files go to /tmp: the name of %s is too long for its sockets", temp)
    return Path("/tmp")  # noqa: S108 - the folder made in it is private


def dead_processes() -> list[str]:
    """Kinds of the private cluster's vital processes that have ended; Ray waits for them."""
    node = ray_worker._global_node
    return [] if node is None else [kind for kind, _ in node.dead_processes() if kind in _VITAL]


def mute_console(name: str) -> None:
    """Keep a logger of Ray's off the console; its files in Ray's session folder are still written.

    What it says there with a traceback is raised, too, and told by us.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.ERROR)
    for handler in list(logger.handlers):
        if isinstance(handler, logging.StreamHandler) and not hasattr(handler, "baseFilename"):
            logger.removeHandler(handler)


def _relay(data: Mapping[str, Any], *_: object, **__: object) -> None:
    """Ray prints events of its cluster, with colours, among our results: make them log lines.

    A sentence is enough for people; the rest is advice about Ray's own files.
    """
    for text in data["lines"]:
        level = logging.DEBUG if "will be retried" in text else logging.WARNING
        log.log(level, "Ray: %s", text.strip().split("\n")[0].split(". ")[0][:_LONGEST])


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Ray's core writes its settings to file descriptor 2 while it starts; errors are raised."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
