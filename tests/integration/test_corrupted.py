"""300 corrupted files among 100 good ones: each bad one quarantined, each good one published."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path

from PIL import Image

from evaluation.demo.sources import fetch_photographs
from tests.integration.jobs import copy_sample, files, streetblur

KINDS = ("truncated", "flipped", "magic", "bomb", "empty", "text")


def corrupt(kind: str, good: bytes, rng: random.Random) -> bytes:
    """A bad file of ``kind`` made of a good JPEG."""
    if kind == "truncated":
        return good[: rng.randrange(1, len(good) * 9 // 10)]
    if kind == "flipped":
        data = bytearray(good)
        scan = good.rfind(b"\xff\xda") + 14
        for _ in range(max(40, len(data) // 200)):
            data[rng.randrange(scan, len(data) - 2)] ^= 1 << rng.randrange(8)
        return bytes(data)
    if kind == "magic":
        return bytes(rng.randrange(256) for _ in range(4)) + good[4:]
    if kind == "bomb":
        return bomb(rng)
    if kind == "empty":
        return b""
    return ("this is text, not a picture\n" * rng.randrange(1, 200)).encode()


def bomb(rng: random.Random) -> bytes:
    """A tiny PNG that claims, and holds, hundreds of megapixels."""
    side = rng.randrange(20_000, 60_000)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1_000_000, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def photograph_crops(folder: Path, count: int) -> None:
    """Crops of photographs that come with packages: as detailed as real ones, so that a flipped
    bit shows."""
    photographs = fetch_photographs()
    found = [
        image
        for path in sorted(photographs.glob("[!.]*.*"))
        if (image := Image.open(path).convert("RGB")).width >= 400 and image.height >= 300
    ]
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = found[number % len(found)]
        left, top = rng.randrange(image.width - 399), rng.randrange(image.height - 299)
        crop = image.crop((left, top, left + 400, top + 300))
        crop.save(folder / f"{number:03d}.jpg", quality=90)


def make_corpus(source: Path, seed: int) -> tuple[set[str], dict[str, str]]:
    """100 good pictures and 300 bad files; keys of the good, kinds of the bad."""
    if not copy_sample(source, {"facemask_kaggle": 60, "openalpr_eu": 40}):
        photograph_crops(source, 100)
    good = {path.relative_to(source).as_posix(): path for path in source.rglob("*.jpg")}
    rng = random.Random(seed)
    bad: dict[str, str] = {}
    originals = [path.read_bytes() for path in good.values()]
    for number in range(300):
        kind = KINDS[number % len(KINDS)]
        suffix = ".png" if kind == "bomb" else ".jpg"
        key = f"bad/{number:03d}-{kind}{suffix}"
        path = source / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(corrupt(kind, rng.choice(originals), rng))
        bad[key] = kind
    return set(good), bad


def test_bad_files_harm_nobody_else(tmp_path):
    good, bad = make_corpus(tmp_path / "in", seed=42)
    assert (len(good), len(bad)) == (100, 300)
    done = streetblur("run", tmp_path / "in", tmp_path / "out", "--job", "bad", "--workers", "2")
    assert done.returncode == 3, done.stderr[-3000:]
    assert files(tmp_path / "out").keys() == good
    summary = json.loads((tmp_path / "out/_streetblur/bad/summary.json").read_text())
    assert (summary["published"], summary["quarantined"], summary["failed"]) == (100, 300, 0)
    reasons = {reason.removeprefix("quarantined: ") for reason in summary["reasons"]}
    # a flipped bit may make a marker of a coding that is refused by its name
    assert {one for one in reasons if not one.startswith("unsupported_jpeg_")} <= {
        "truncated",
        "corrupt",
        "unknown_format",
        "too_many_pixels",
        "empty",
    }, reasons
