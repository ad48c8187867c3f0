"""Damaged JPEGs against the splicer: refused, or equal outside the boxes; nothing else.

``NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(mktemp -d) python -m tests.pipeline.fuzz_splice``

With ``NUMBA_BOUNDSCHECK`` every index of compiled code is checked (compiled anew, hence the cache
folder of its own). Each file goes to the splicer directly, whatever a decoder says of it, and then
the product's whole way: strict decoding, redaction, check of the output, another decoder. Half of
them are damaged byte by byte, in the others sound headers contradict one another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from unittest.mock import patch

import numpy as np

from pipeline.decode import decode_stored
from pipeline.encode import redact_image
from pipeline.errors import ImageRefused, OutputRejected
from pipeline.images import ImageLimits, inspect_image
from pipeline.jpeg import two_lanes
from pipeline.jpeg.dct import BASIS, DECODED, decode_blocks
from pipeline.jpeg.frame import ZIGZAG
from pipeline.jpeg.segments import parse_jpeg
from pipeline.jpeg.splice import splice_jpeg
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from tests.pipeline.fuzz_headers import mismatched
from tests.pipeline.jpegs import ARITHMETIC, VARIANTS
from tests.pipeline.pictures import box, policy, textured
from tests.pipeline.test_splice import assert_only_touched_pixels_differ

KEY = NoiseKey(b"a secret of the operator, 32 byte", "street/1.jpg")
BOXES = [box(5, 5, 30, 30), box(40, 28, 80, 60, mode="pixelate")]
LIMITS = ImageLimits(max_pixels=1_000_000)
# Markers that begin what splicing reads: frames, tables, restart interval, scans.
_HEADERS = (0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xDA)


def sources() -> list[bytes]:
    """One small file of each kind."""
    makers = [*VARIANTS.values(), *ARITHMETIC.values()]
    return [make(textured(72, 56, seed=i)) for i, make in enumerate(makers)]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to six faults, mostly few, half of them in headers."""
    out = bytearray(data)
    heads = [i + 2 for i in range(len(data) - 2) if data[i] == 0xFF and data[i + 1] in _HEADERS]
    for _ in range(chance.choice([1, 1, 1, 1, 2, 2, 3, 6])):
        if chance.random() < 0.5 and heads:
            at = min(chance.choice(heads) + chance.randrange(24), len(out) - 1)
        else:
            at = chance.randrange(len(out))
        kind = chance.randrange(8)
        if kind < 2:
            out[at] ^= 1 << chance.randrange(8)
        elif kind < 4:
            out[at] = chance.choice([0, 1, 2, 16, 63, 64, 127, 255, chance.randrange(256)])
        elif kind == 4 and len(out) > 60:
            del out[at : at + chance.randrange(1, 30)]
        elif kind == 5:
            out[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 12)))
        elif kind == 6:
            out[at : at + 2] = bytes([0xFF, chance.choice([0, 0xC4, 0xDA, *range(0xD0, 0xDA)])])
        else:
            other = chance.randrange(len(out))
            size = chance.randrange(1, 64)
            out[at : at + size] = out[other : other + size]
    if chance.random() < 0.1:
        del out[chance.randrange(2, len(out)) :]
        out += b"\xff\xd9"
    return bytes(out)


def outcome(data: bytes) -> str:
    """What becomes of one file.

    Raises:
        AssertionError, OutputRejected: it comes out with other changes than those asked for.
        Exception: anything that is not the product's own refusal.
    """
    with contextlib.suppress(ImageRefused, Unspliceable):
        splice_jpeg(data, parse_jpeg(data), BOXES, KEY)
    try:
        info = inspect_image(data, LIMITS)
        before = decode_stored(data, info)
        made = redact_image(data, info, BOXES, noise=KEY, policy=policy())
    except ImageRefused:
        return "refused"
    try:
        check_output(data, info, made.data, BOXES, policy(), spliced=made.spliced)
    except OutputRejected as error:
        # hostile colours may keep their detail; all else is the redaction's own mistake
        if error.reason != "not_obscured":
            raise
        return f"rejected_{error.reason}"
    after = decode_stored(made.data, info)
    assert after.shape == before.shape
    if made.route in ("spliced", "rewritten"):
        assert_only_touched_pixels_differ(data, made.data, BOXES)
    return made.route


# small pictures are to go the way of large ones
@patch.object(two_lanes, "LEAST_MCUS", 1)
def fuzz(files: int, seed: int) -> dict[str, object]:
    """Try ``files`` damaged files; the counts of outcomes, times and memory."""
    chance = random.Random(seed)
    originals = sources()
    for data in originals:
        outcome(data)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    for number in range(files):
        damage = mismatched if chance.random() < 0.5 else mutated
        data = damage(chance.choice(originals), chance)
        begin = time.process_time()
        try:
            counts[outcome(data)] += 1
        except Exception as error:  # noqa: BLE001 the fuzzer's very purpose
            counts["wrong"] += 1
            wrong.append(f"file {number} of seed {seed}: {type(error).__name__}: {error}")
        slowest = max(slowest, time.process_time() - begin)
    return {
        "files": files,
        "seed": seed,
        "bounds_checked": _bounds_are_checked(),
        "outcomes": dict(sorted(counts.items())),
        "wrong": wrong,
        "slowest_s": round(slowest, 3),
        "memory_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024,
    }


def _bounds_are_checked() -> bool:
    """Whether compiled code notices an index beyond its array (tried only where it should)."""
    if os.environ.get("NUMBA_BOUNDSCHECK") != "1":
        return False
    beyond, grids = np.ones(1, np.int64), np.array([[0, 1, 1, 0]])
    uses = np.full(1, DECODED, np.int8)
    blocks, steps = np.zeros((1, 64), np.int16), np.ones((1, 64), np.int32)
    out = np.empty(64, np.uint8)
    try:
        decode_blocks(blocks, beyond, uses, grids, ZIGZAG, steps, BASIS, out)
    except IndexError:
        return True
    return False


def main() -> int:
    """Run from the command line; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = fuzz(arguments.files, arguments.seed)
    print(json.dumps(report, indent=2))
    return int(bool(report["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
