"""A Triton server for development: started, judged by the canary, and stopped with its starter."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serving.backends.served import check_served
from serving.backends.triton_settings import TritonSettings
from serving.contracts import CONTRACTS
from serving.errors import ModelMissing, ServerFailed
from serving.owner import PATTERN, is_gone, this_owner
from serving.registry import find_repository, present_versions
from serving.server import environment
from serving.server.process import PORTS, TritonServer, free_ports

_FOLDER = "streetblur-triton-"
_LEFTOVER = re.compile(rf"{_FOLDER}({PATTERN})-.*")
_LOOK_S = 0.5


@contextmanager
def serving(
    location: str | Path | None = None,
    *,
    ports: dict[str, int] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Iterator[TritonServer]:
    """A server that has found the canary's face and plate, with every version it serves.

    Args:
        location: model repository, see ``registry.find_repository``.
        ports: ``grpc``, ``http``, ``metrics``: those that are given; the others are free ones.
        log: called with one line for each step.

    Raises:
        ServerFailed: its environment is not installed, or it does not start.
        ModelMissing: a model is not in the repository.
        CanaryFailed: a model does not find what it should.
    """
    if not environment.installed():
        raise ServerFailed(
            f"Triton {environment.TRITON} is not installed yet",
            where=str(environment.find_environment().folder),
            fix="Run `streetblur serve --install` (or `make triton`); it takes 300 MB",
        )
    repository = find_repository(location)
    for model in CONTRACTS:
        if not present_versions(repository, model):
            raise ModelMissing(
                "no version of the model is there",
                where=str(repository / model),
                fix="Run `streetblur models fetch`",
            )
        if not (repository / model / "configs" / "cpu.pbtxt").is_file():
            raise ServerFailed(
                "the model repository has no configurations for a server",
                where=str(repository / model),
                fix="Name that of a checkout in STREETBLUR_MODEL_REPOSITORY",
            )
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{this_owner()}-"))
    chosen = {**free_ports(*PORTS), **(ports or {})} if ports else None
    installed = environment.find_environment()
    server = None
    try:
        server = TritonServer(installed, _linked(repository, folder, log), folder, ports=chosen)
        log(f"starting Triton {environment.TRITON} over {repository}")
        _start(server, repository)
        for text in check_served(TritonSettings((server.url,))):
            log(f"{text} ok")
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_end(server: TritonServer) -> None:
    """Return never but by an exception.

    Raises:
        ServerFailed: the server ended by itself, or the process of a model did: the server goes on
            without it, and would refuse every request for that model.
        KeyboardInterrupt: asked to stop.
    """
    while server.is_running():
        ended = server.ended_models()
        time.sleep(_LOOK_S)  # when the server ends, the processes of its models do so first
        if ended and server.is_running():
            raise ServerFailed(
                f"the process of a model has ended: {', '.join(ended)}",
                where=server.url,
                fix="Start the server again; if that happens again, look for want of memory",
            )
    raise ServerFailed(
        f"the server ended by itself; {server.why_it_ended()}",
        where=server.url,
        fix="Start it again",
    )


def _linked(repository: Path, folder: Path, log: Callable[[str], None]) -> Path:
    """A repository in ``folder`` of links to each model: a folder that is none stops a server.

    The server loads what is there when it starts, and nothing later: whoever may have it load a
    model on this machine's loopback address, unasked who he is, may have it run any code.
    """
    folders = sorted(path for path in repository.iterdir() if path.is_dir())
    models = [path for path in folders if _is_model(path)]
    if others := [path.name for path in folders if path not in models]:
        log(f"not served, for want of a config.pbtxt: {', '.join(others)}")
    linked = folder / "models"
    linked.mkdir()
    for path in models:
        (linked / path.name).symlink_to(path.resolve(), target_is_directory=True)
    return linked


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.pbtxt", "configs/cpu.pbtxt"))


def _start(server: TritonServer, repository: Path) -> None:
    """Start it; an error does not name its folder or its log, which are removed.

    Raises:
        ServerFailed: see ``TritonServer.start``.
    """
    try:
        server.start()
    except ServerFailed as error:
        raise ServerFailed(
            error.what, where=str(repository), fix="`streetblur models check` looks at the models"
        ) from None


def _remove_leftovers() -> None:
    """Remove folders of starters that were killed; their servers have stopped with them."""
    for path in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        found = _LEFTOVER.fullmatch(path.name)
        with suppress(OSError):
            mine = path.stat().st_uid == os.getuid()
            if found and mine and is_gone(found[1]):
                shutil.rmtree(path, ignore_errors=True)
