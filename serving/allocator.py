"""The C allocator of a process that runs models."""

from __future__ import annotations

import ctypes
import sys

# glibc, malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

KEPT_BYTES = 1 << 30

ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""The environment of a process whose models run in another thread than its main one.

glibc gives such a thread a heap of its own, in pieces of 64 MB, which cannot be told to keep what a
model frees: a third more CPU time of detection with ONNX Runtime (docs/benchmarks/README.md). Once
the process runs it is too late, since a thread stays with its heap.
"""


def keep_freed_memory(limit: int = KEPT_BYTES) -> bool:
    """Let this process keep the memory it frees and use it again.

    Pictures and a model's tensors are some megabytes each. By default glibc maps each anew and
    gives it back, and the system clears its pages every time: a fifth of the CPU time of
    detection (docs/benchmarks/README.md). Memory stays bounded by the largest image seen.

    Args:
        limit: bytes; free memory above it at the end of the heap goes back to the system. A
            process that has asked before keeps what it asked for then.

    Returns:
        Whether it took effect; False where the allocator is not glibc's.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    global _kept
    _kept = max(_kept, limit)
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _kept))


_kept = 0
