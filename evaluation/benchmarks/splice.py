"""CPU of redacting a 5-megapixel JPEG in place, against decoding, blurring and encoding it.

``python -m evaluation.benchmarks.splice [--pictures N] [--repeats N] [--data DIR] [--markdown]
[--system-allocator]``

Everything but the nets, one core: the detectors' picture (whole, half or quarter size) and the
redacted file. Ours is the product's way: metadata cleaned, blur with noise at three scales, the
file's own tables. The plain ways, with simplejpeg, Pillow and OpenCV, decode once, make the same
picture for the detectors from that, blur in the cheapest way (each box scaled down and up again)
and encode at the source's quality; they clean no metadata. Ours looks at its output before it
publishes it; that is measured apart.

Pictures of 2448 x 2048, 4:2:0, quality 90, laid out from photographs of the development set at
their own size; boxes of 20 to 160 px (log-uniform). All ways run in turns in this process, which
keeps the memory it frees as the service's workers do (``--system-allocator``: it does not; every
way then pays for pages that the system clears); medians over pictures and repeats of the process's
CPU time.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from evaluation.annotations import data_root
from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.jpeg.quarter import quarter_picture
from pipeline.jpeg.segments import parse_jpeg
from pipeline.jpeg.splice import scan_jpeg
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.policy import DEFAULT_POLICY, load_policy
from pipeline.redaction import RedactionBox
from pipeline.stages.build import WORKER_KEPT_BYTES
from serving.allocator import keep_freed_memory

WIDTH, HEIGHT, QUALITY = 2448, 2048, 90
COUNTS = (0, 2, 6, 20)
SIZES = {"native": 1, "1/2": 2, "1/4": 4}
# most of the plain way's CPU that ours may take
AIMS = {
    ("1/4", 2): 0.5,
    ("1/4", 6): 0.55,
    ("1/2", 2): 0.75,
    ("1/2", 6): 0.8,
    ("native", 2): 0.95,
    ("native", 20): 1.1,
    ("1/2", 20): 1.1,
    ("1/4", 20): 1.1,
}
Pixels = NDArray[np.uint8]
Way = Callable[[bytes, Sequence[RedactionBox], int], object]


def mosaics(root: Path, count: int) -> Iterator[bytes]:
    """``count`` files, each filled with photographs at their own size."""
    paths = sorted(
        path
        for path in (root / "dev").rglob("*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.stat().st_size > 40_000
    )
    if not paths:
        raise SystemExit(f"there are no photographs under {root / 'dev'}: set STREETBLUR_DATA")
    draw = np.random.default_rng(0)
    for _ in range(count):
        canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        top = 0
        while top < HEIGHT:
            left, tallest = 0, 0
            while left < WIDTH:
                picture = cv2.imread(str(paths[draw.integers(len(paths))]))
                if picture is None or min(picture.shape[:2]) < 200:
                    continue
                part = picture[: HEIGHT - top, : WIDTH - left, ::-1]
                canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
                left += part.shape[1]
                tallest = max(tallest, 200)
            top += tallest
        yield bytes(simplejpeg.encode_jpeg(canvas, QUALITY, "RGB", "420"))


def crowd(count: int, seed: int) -> list[RedactionBox]:
    """``count`` boxes of faces and plates as the default policy blurs them."""
    draw = np.random.default_rng(seed)
    style = load_policy(DEFAULT_POLICY).face.style
    boxes = []
    for _ in range(count):
        width = int(np.exp(draw.uniform(np.log(20), np.log(160))))
        height = int(width * draw.uniform(0.4, 1.3))
        x, y = int(draw.integers(0, WIDTH - width)), int(draw.integers(0, HEIGHT - height))
        boxes.append(RedactionBox(x, y, x + width, y + height, style, "face"))
    return boxes


POLICY = load_policy(DEFAULT_POLICY)
KEY = NoiseKey(b"a secret of the benchmark, 32 by", "a.jpg")


def ours(data: bytes, boxes: Sequence[RedactionBox], scale: int) -> object:
    """The detectors' picture and the spliced file."""
    info = inspect_image(data, ImageLimits())
    if scale == 4:
        scanned = scan_jpeg(data, parse_jpeg(data))
        small = quarter_picture(scanned)
        return small, redact_image(data, info, boxes, noise=KEY, policy=POLICY, scanned=scanned)
    least = {"min_height": HEIGHT // scale, "min_width": WIDTH // scale} if scale > 1 else {}
    seen = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, strict=True, **least)
    return seen, redact_image(data, info, boxes, noise=KEY, policy=POLICY)


def _plain(decode: Callable[[bytes], Pixels], encode: Callable[[Pixels], bytes]) -> Way:
    def way(data: bytes, boxes: Sequence[RedactionBox], scale: int) -> object:
        pixels = decode(data)
        seen = pixels
        if scale > 1:
            size = (WIDTH // scale, HEIGHT // scale)
            seen = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        pixels = pixels.copy() if not pixels.flags.writeable else pixels
        for box in boxes:
            region = pixels[box.y1 : box.y2, box.x1 : box.x2]
            cells = (
                max((box.x2 - box.x1) // box.cell_px, 1),
                max((box.y2 - box.y1) // box.cell_px, 1),
            )
            small = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
            size = (box.x2 - box.x1, box.y2 - box.y1)
            region[:] = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
        return seen, encode(pixels)

    return way


def _pillow_decode(data: bytes) -> Pixels:
    return np.array(Image.open(io.BytesIO(data)))


def _pillow_encode(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def _opencv_decode(data: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _opencv_encode(pixels: Pixels) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def _simplejpeg_decode(data: bytes) -> Pixels:
    return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastdct=False, strict=True))


def _simplejpeg_encode(pixels: Pixels) -> bytes:
    return bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420"))


WAYS: dict[str, Way] = {
    "ours": ours,
    "simplejpeg": _plain(_simplejpeg_decode, _simplejpeg_encode),
    "pillow": _plain(_pillow_decode, _pillow_encode),
    "opencv": _plain(_opencv_decode, _opencv_encode),
}


def cpu_ms(run: Callable[[], object]) -> float:
    """Milliseconds of CPU that this process spends on ``run``."""
    start = time.process_time()
    run()
    return 1000 * (time.process_time() - start)


def check_ms(data: bytes, boxes: Sequence[RedactionBox], whole: bool) -> float:
    """What the check of one output costs."""
    info = inspect_image(data, ImageLimits())
    made = redact_image(data, info, boxes, noise=KEY, policy=POLICY)
    return cpu_ms(
        lambda: check_output(
            data, info, made.data, boxes, POLICY, spliced=made.spliced, whole=whole
        )
    )


def measure(pictures: Sequence[bytes], repeats: int) -> dict[str, object]:
    """Medians in ms, ours and the others, and ours as a share of each."""
    table: list[dict[str, object]] = []
    for count in COUNTS:
        times: dict[tuple[str, str], list[float]] = {}
        checks: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(repeats + 1):
            for number, data in enumerate(pictures):
                boxes = crowd(count, seed=number)
                for (size, scale), (name, way) in _turns(repeat + number):
                    spent = cpu_ms(partial(way, data, boxes, scale))
                    if repeat:  # the first warms up
                        times.setdefault((size, name), []).append(spent)
                for whole in checks:
                    if repeat:
                        checks[whole].append(check_ms(data, boxes, whole))
        medians = {key: statistics.median(values) for key, values in times.items()}
        for size in SIZES:
            row: dict[str, object] = {"input": size, "boxes": count}
            row |= {name: round(medians[size, name], 1) for name in WAYS}
            for name in list(WAYS)[1:]:
                row[f"ours/{name}"] = round(medians[size, "ours"] / medians[size, name], 2)
            row["aim"] = AIMS.get((size, count))
            row["check"] = round(statistics.median(checks[False]), 1)
            row["check, decoded"] = round(statistics.median(checks[True]), 1)
            table.append(row)
    return {
        "pictures": len(pictures),
        "median_bytes": int(statistics.median(len(data) for data in pictures)),
        "repeats": repeats,
        "cpu_ms": table,
    }


def _turns(start: int) -> list[tuple[tuple[str, int], tuple[str, Way]]]:
    """All ways at all sizes, beginning elsewhere each time."""
    every = [(size, way) for size in SIZES.items() for way in WAYS.items()]
    first = start % len(every)
    return every[first:] + every[:first]


def markdown(report: dict[str, object]) -> str:
    """The report's table."""
    rows: list[dict[str, object]] = report["cpu_ms"]  # type: ignore[assignment]
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = ["" if row[name] is None else str(row[name]) for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--markdown", action="store_true", help="print the table alone")
    parser.add_argument(
        "--system-allocator", action="store_true", help="give memory back, as other programs do"
    )
    arguments = parser.parse_args()
    if not arguments.system_allocator:
        keep_freed_memory(WORKER_KEPT_BYTES)
    cv2.setNumThreads(1)
    report = measure(list(mosaics(arguments.data, arguments.pictures)), arguments.repeats)
    if arguments.markdown:
        print(markdown(report))
        return
    about = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numba", "simplejpeg", "pillow", "numpy")},
        "opencv": cv2.__version__,
    }
    print(json.dumps({**about, **report}, indent=2))


if __name__ == "__main__":
    main()
