"""The C allocator of a process that runs models."""

from __future__ import annotations

import ctypes
import sys

# glibc, malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

KEPT_BYTES = 1 << 30
"""Free memory above this at the end of the heap goes back to the system."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees, up to ``KEPT_BYTES``, and use it again.

    A model's tensors are some megabytes each. By default glibc maps each anew and gives it back,
    and the system clears its pages every time: a fifth of the CPU time of an image
    (docs/benchmarks/README.md). Memory stays bounded by the largest image seen.

    Returns:
        Whether it took effect; False where the allocator is not glibc's.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    done = [mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)]
    return all(done)
