"""Running jobs from tests: through the command line, or in this process with a stub detector."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.due import Choice
from pipeline.engine import LocalEngine
from pipeline.job import load_spec
from pipeline.result import RunResult
from pipeline.runner import Runner

SECRET = "9f1c0a7b52e84d3366b1c2d4e5f60718c13ab56e0d7f92481ce5a3704b89f62d"
MODELS = {"face_detector": "1:test", "plate_detector": "1:test", "postprocessor": "0"}
OTHER_MODELS = {**MODELS, "face_detector": "2:test"}


@dataclass
class Recorder:
    """An observer that remembers."""

    rows: list
    commits: list
    crashes: list
    phases: list

    @classmethod
    def new(cls) -> Recorder:
        return cls([], [], [], [])

    def phase(self, name, **details):
        self.phases.append(name)

    def expect(self, images):
        pass

    def outcome(self, row):
        self.rows.append(row)

    def committed(self, commit):
        self.commits.append(commit)

    def crashed(self, error):
        self.crashes.append(error)


def run_stubbed(
    source: str | Path,
    output: str | Path,
    *,
    detector: str = "centre",
    choice: Choice | None = None,
    models: dict[str, str] | None = None,
    engine_factory=None,
    available=None,
    probe=None,
    models_of=None,
    versions=None,
    observers=(),
    **flags,
) -> tuple[RunResult, Recorder]:
    """Run a job in this process (local engine by default) with a detector of ``tests.stubs``."""
    flags.setdefault("engine", "local")
    flags.setdefault("job", "test")
    spec = load_spec(None, input=str(source), output=str(output), models=versions, **flags)
    recorder = Recorder.new()
    runner = Runner(
        spec,
        [recorder, *observers],
        lambda versions: models_of(versions) if models_of else dict(models or MODELS),
        choice or Choice(),
        detector=f"tests.stubs:{detector}",
        engine_factory=engine_factory,
        available=available,
        probe=probe,
    )
    return runner.run(), recorder


def command() -> list[str]:
    """The installed ``streetblur`` beside this Python."""
    return [str(Path(sys.executable).parent / "streetblur")]


def environment(**more: str) -> dict[str, str]:
    """Environment of a streetblur process: this one's, with the test secret."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STREETBLUR_")}
    for name in ("STREETBLUR_MODEL_REPOSITORY", "STREETBLUR_CACHE"):
        if name in os.environ:
            kept[name] = os.environ[name]
    return {**kept, "STREETBLUR_SECRET": SECRET, "COLUMNS": "200", **more}


def streetblur(*arguments: str | Path, timeout: float = 600, **more: str):
    """Run the command to its end; the completed process with its text output."""
    return subprocess.run(
        [*command(), *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file of an output folder besides the workspace, by relative key."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "_streetblur"
    }


def pictures(folder: Path, count: int, *, size: tuple[int, int] = (96, 64), seed: int = 0) -> None:
    """Write ``count`` small JPEGs of smooth random colours into nested folders."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        path = folder / f"d{number % 3}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (8, 12, 3), np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def altered(data: bytes) -> bytes:
    """Another JPEG of the same size: the minor version of its JFIF header differs."""
    at = data.index(b"JFIF\0") + 6
    return data[:at] + bytes([data[at] ^ 3]) + data[at + 1 :]


def data_root() -> Path:
    """The folder of annotated pictures (it may not exist)."""
    return Path(os.environ.get("STREETBLUR_DATA", "../shared/data")).resolve()


def copy_sample(folder: Path, sets: dict[str, int]) -> int:
    """Copy the first pictures of each dev set into ``folder``; returns how many."""
    copied = 0
    for name, count in sets.items():
        found = sorted((data_root() / "dev" / name / "images").glob("*.jpg"))[:count]
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copy(path, target / path.name)
            copied += 1
    return copied


class Cut(LocalEngine):
    """Ends when some images are published, before anybody hears of any."""

    after = 2

    def run(self, items, *, searching=False):
        for number, _ in enumerate(super().run(items, searching=searching), 1):
            if number == self.after:
                raise KeyboardInterrupt
        yield from ()


class CutAtOnce(Cut):
    """Ends before anything is published."""

    def run(self, items, *, searching=False):
        raise KeyboardInterrupt
        yield


def cut_off(source, output, engine=Cut, **flags):
    """Run a job that is cut off; returns what it left."""
    with pytest.raises(KeyboardInterrupt):
        run_stubbed(source, output, engine_factory=engine, **flags)
    return files(output)
