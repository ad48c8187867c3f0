"""Freed memory is used again instead of being mapped anew."""

import subprocess
import sys

import pytest

# Page faults of a process are counted by the system: no clock is involved.
PROGRAM = """
import resource, sys
import numpy as np
from serving.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    print(keep_freed_memory())
np.ones(8 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(8 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
np.ones(3 << 29, np.uint8)
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * resource.getpagesize())
"""


def run(how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_used_again_and_a_huge_rest_goes_back():
    default_faults, _ = run("default")
    done, faults, resident = run("kept")
    assert done == "True"
    assert int(default_faults) >= 50 * 4  # mapped anew each time, in huge pages at the largest
    assert int(faults) < int(default_faults) / 4
    assert int(resident) < 1.2 * (1 << 30)


def test_another_allocator_is_left_alone(monkeypatch):
    from serving import allocator

    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
