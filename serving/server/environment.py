"""Where the Triton server from PyPI lives: a virtual environment of its own.

It needs numpy below 2, which nothing else here can live with; with numpy 2 it reports that it is
ready and answers with nothing.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from serving import NO_TELEMETRY, virtual_environment
from serving.allocator import KEPT_BYTES, ONE_ARENA
from serving.errors import FetchFailed
from serving.pypi import CACHE_SETTING, cache_directory

PYTRITON = "0.7.0"
TRITON = "2.51.0"
NUMPY = "1.26.4"
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    **ONE_ARENA,
}
"""As ``serving.allocator`` for processes of our own, in glibc's words. The server and the processes
of its models run models on one thread each, so one arena is enough."""


@dataclass(frozen=True, slots=True)
class ServerEnvironment:
    """A virtual environment with the server.

    Attributes:
        folder: its root.
    """

    folder: Path

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        number = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / f"python{number}" / "site-packages"

    @property
    def triton(self) -> Path:
        """What the wheel brings of Triton."""
        return self.packages / "pytriton" / "tritonserver"

    @property
    def binary(self) -> Path:
        """The server."""
        return self.triton / "bin" / "tritonserver"

    def variables(self) -> dict[str, str]:
        """The environment variables it is started with: of the caller's only what it needs."""
        libraries = [sysconfig.get_config_var("LIBDIR"), self.packages / "nvidia_pytriton.libs"]
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.defpath}",
            "LD_LIBRARY_PATH": os.pathsep.join(str(one) for one in libraries if one),
            "HOME": os.environ.get("HOME", "/"),
            "OMP_NUM_THREADS": "1",
            **_KEEP_FREED_MEMORY,
            **NO_TELEMETRY,
        }


def requirements() -> list[str]:
    """Exact versions; ONNX Runtime is that of this environment, so that answers are the same."""
    return [
        f"nvidia-pytriton=={PYTRITON}",
        f"numpy=={NUMPY}",
        f"onnxruntime=={version('onnxruntime')}",
        f"flatbuffers=={version('flatbuffers')}",
        f"packaging=={version('packaging')}",
        f"protobuf=={version('protobuf')}",
    ]


def find_environment() -> ServerEnvironment:
    """Where the environment is, or would be."""
    number = f"{sys.version_info.major}{sys.version_info.minor}"
    name = f"triton-{TRITON}-py{number}-ort{version('onnxruntime')}"
    return ServerEnvironment(cache_directory() / name)


def installed() -> bool:
    """Whether the environment is there, whole."""
    return virtual_environment.is_made(find_environment().folder)


def install(log: Callable[[str], None] = lambda _: None) -> ServerEnvironment:
    """Make the environment unless it is there; safe to call from several processes at once.

    Args:
        log: called with one line for each step, licence included.

    Raises:
        FetchFailed: pip could not install it, or this Python has no server.
    """
    environment = find_environment()

    def announce() -> None:
        log(f"installing Triton {TRITON} (nvidia-pytriton {PYTRITON}, Apache-2.0) once, 300 MB")

    def finish() -> None:
        if not environment.binary.is_file():
            raise FetchFailed("the wheel holds no server", where=str(environment.binary))
        environment.binary.chmod(0o755)

    virtual_environment.make(
        environment.folder,
        requirements(),
        what="the server's",
        setting=CACHE_SETTING,
        pythons="3.11 or 3.12",
        announce=announce,
        finish=finish,
    )
    return environment
