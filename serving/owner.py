"""Names for what a process owns on its machine, from which a later one tells that it is gone."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import psutil

PATTERN = r"\d+_\d+_\d+"
"""Of an owner: process-number space, process number, start time."""


def this_owner() -> str:
    """Names this process for good: numbers of processes are used again, start times tell.

    Containers may share folders but number their processes separately, so the space is named too.
    """
    pid = os.getpid()
    return f"{_space()}_{pid}_{started_at(pid)}"


def is_gone(owner: str) -> bool:
    """Whether the process that ``owner`` names surely no longer runs.

    False for what is no name, and for processes in another process-number space: of those nothing
    can be told.
    """
    if not re.fullmatch(PATTERN, owner):
        return False
    space, pid, started = (int(part) for part in owner.split("_"))
    if space != _space():
        return False
    found = started_at(pid)
    if found is None and is_hidden(pid):
        return False
    return found != started


@cache
def _space() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def started_at(pid: int) -> int | None:
    """When the process started; None if there is none, or it waits for its parent to notice."""
    try:  # psutil's value moves when the wall clock is set
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _started_elsewhere(pid)
    except (ProcessLookupError, PermissionError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _started_elsewhere(pid: int) -> int | None:  # pragma: no cover - not on Linux
    try:
        process = psutil.Process(pid)
        dead = process.status() == psutil.STATUS_ZOMBIE
        return None if dead else round(process.create_time() * 100)
    except psutil.NoSuchProcess:
        return None


def is_hidden(pid: int) -> bool:
    """Whether it is another user's process, which the process table may not show (hidepid)."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
