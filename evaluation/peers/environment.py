"""A virtual environment for each set of packages: peers live neither with us nor with each other.

deface asks for ``opencv-python``, which would overwrite our ``opencv-python-headless``, and for
version 5 of it, where the cascades need version 4.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from evaluation.peers.tools import Peer
from pipeline.errors import ConfigurationError
from serving import virtual_environment


def find_environment(peer: Peer, root: Path) -> Path:
    """Where the peer's environment is, or would be; other versions have other folders."""
    digest = hashlib.sha256(peer.requirements.read_bytes()).hexdigest()[:12]
    number = f"{sys.version_info.major}{sys.version_info.minor}"
    return root.resolve() / f"{peer.requirements.stem}-py{number}-{digest}"


def install(peer: Peer, root: Path, log: Callable[[str], None] = lambda _: None) -> Path:
    """Make the peer's environment unless it is there.

    Args:
        peer: the tool.
        root: folder of all environments.
        log: called with one line, licence included.

    Raises:
        FetchFailed: pip could not install it.
    """
    environment = find_environment(peer, root)
    virtual_environment.make(
        environment,
        ["--require-hashes", "-r", str(peer.requirements)],
        what="the peer's",
        setting="--environments",
        announce=lambda: log(f"installing into {environment} once ({peer.licence})"),
    )
    return environment


def command(peer: Peer, environment: Path) -> list[str]:
    """What to call, with the program's path in the environment.

    Raises:
        ConfigurationError: the program is not there.
    """
    program = environment / "bin" / peer.command[0]
    if not program.is_file():
        raise ConfigurationError(
            f"{peer.name} is not installed here: there is no {program.name}",
            where=str(program),
            fix=f"Delete {environment}; the next run makes it again",
        )
    return [str(program), *peer.command[1:]]


def variables(environment: Path) -> dict[str, str]:
    """The environment variables that a peer gets: none of ours."""
    return {
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.defpath}",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
    }
