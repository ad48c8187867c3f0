"""Who a process is on its machine, so that a later process can tell whether it still runs."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from serving.owner import is_hidden, started_at


class ProcessIdentity(BaseModel):
    """One process, told apart from a later one with the same number.

    Attributes:
        host: host name, for people.
        machine: boot id and process-number space: containers of one machine share the boot id
            but number their processes separately.
        pid: process number.
        started: start time in the machine's own count; only compared for equality.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    machine: str
    pid: int
    started: str

    def gone(self) -> bool:
        """Say whether the process surely no longer runs; False when another machine ran it."""
        if self.machine != _machine():
            return False
        started = start_time(self.pid)
        if started is None and is_hidden(self.pid):
            return False
        return started != self.started


def this_process() -> ProcessIdentity:
    """Return the identity of the running process."""
    pid = os.getpid()
    started = start_time(pid)
    if started is None:
        raise RuntimeError("this process is not in the process table")  # pragma: no cover
    return ProcessIdentity(host=socket.gethostname(), machine=_machine(), pid=pid, started=started)


def start_time(pid: int) -> str | None:
    """Return when the process started, None when there is none or it is a zombie."""
    started = started_at(pid)
    return None if started is None else str(started)


@cache
def _machine() -> str:
    if sys.platform == "linux":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()}/{int(psutil.boot_time())}"  # pragma: no cover
