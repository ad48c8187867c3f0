"""Input tensors in system shared memory: a server on this machine reads them where they are."""

from __future__ import annotations

import mmap
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.owner import PATTERN, is_gone, this_owner

FOLDER = Path("/dev/shm")  # noqa: S108 - POSIX shared memory on Linux
PREFIX = "streetblur_in"
_NAME = re.compile(rf"{PREFIX}_({PATTERN})_[0-9a-f]+")


class SharedInputs:
    """A region of shared memory, divided into slots of one size, each for one request's tensors.

    Only this user may open it. The memory is reserved at once: a container whose ``/dev/shm`` is
    too small for it is found out here, not by a signal when it is written to. Once the server has
    opened it, its name is to be removed (``hide``): then nothing stays behind, whoever is killed.

    Args:
        slots: requests in flight at most.
        slot_bytes: largest request.

    Raises:
        OSError: there is no shared memory here, or not enough.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        remove_leftovers()
        self.name = f"{PREFIX}_{this_owner()}_{secrets.token_hex(4)}"
        self.nbytes = slots * slot_bytes
        self._path = FOLDER / self.name
        descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.nbytes)
            self._memory = mmap.mmap(descriptor, self.nbytes)
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(descriptor)
        self._slot_bytes = slot_bytes
        self._free = [number * slot_bytes for number in range(slots)]

    def put(self, tensors: Mapping[str, NDArray[Any]]) -> tuple[int, dict[str, int]] | None:
        """Copy tensors into a free slot.

        Returns:
            The slot, to be given back, and each tensor's offset in bytes; None if all slots are
            taken or the tensors are too large.
        """
        if not self._free or sum(array.nbytes for array in tensors.values()) > self._slot_bytes:
            return None
        slot = self._free.pop()
        offsets, offset = {}, slot
        for name, array in tensors.items():
            place: NDArray[Any] = np.frombuffer(self._memory, array.dtype, array.size, offset)
            place.reshape(array.shape)[...] = array
            offsets[name] = offset
            offset += array.nbytes
        return slot, offsets

    def give_back(self, slot: int) -> None:
        """The request was answered, or will never be."""
        self._free.append(slot)

    def hide(self) -> None:
        """Remove the region's name; who has it open keeps it."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the region go; a server keeps it until it is told to unregister it."""
        self.hide()
        with suppress(BufferError):
            self._memory.close()


def remove_leftovers() -> None:
    """Remove regions of this user's processes that were killed before they hid them."""
    for path in FOLDER.glob(f"{PREFIX}_*"):
        with suppress(OSError):
            if path.stat().st_uid == os.getuid() and is_leftover(path.name):
                path.unlink()


def is_leftover(name: str) -> bool:
    """Whether a region of this name belongs to a process of this machine that is gone.

    Of processes in another process namespace (a container) nothing can be told: False.
    """
    found = _NAME.fullmatch(name)
    return found is not None and is_gone(found[1])
