"""Kill -9 of worker, detector actor and driver at random moments; then the same final bucket."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.jobs import command, copy_sample, environment, files, pictures, streetblur

JOB = ("--job", "kill", "--workers", "1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """Real pictures (drawn ones where there are no real ones) and the output without any fault."""
    folder = tmp_path_factory.mktemp("kill")
    source = folder / "in"
    found = copy_sample(source, {"facemask_kaggle": 24, "openalpr_eu": 10, "kaggle_cars": 6})
    if not found:
        pictures(source, 40, size=(320, 240))
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    done = streetblur(
        "run", source, folder / "reference", *JOB, "--engine", "local", "--allow-empty"
    )
    assert done.returncode == 3, done.stderr
    return source, files(folder / "reference")


BUSY = {"actor": "ray::MapWorker", "worker": "ray::MapBatches"}
"""How the title of a process begins that works on one of our stages just now; others idle."""

ATTEMPTS = 5
"""Runs a round may take until one of its kind was hit: a CPU step is busy for moments only."""


def kill_busy(driver: subprocess.Popen[str], what: str, rng: random.Random, output: Path) -> bool:
    """Wait for a random moment, then SIGKILL one process of the kind; False if none was left."""
    target = rng.randrange(0, 30)
    pause = rng.uniform(0, 0.5)
    deadline = time.monotonic() + 180
    root = psutil.Process(driver.pid)
    family: list[psutil.Process] = []
    looked = 0.0
    while driver.poll() is None and time.monotonic() < deadline:
        published = sum(1 for _ in output.rglob("*.jpg")) if output.exists() else 0
        if published < target:
            time.sleep(0.02)
            continue
        if pause:
            time.sleep(pause)
            pause = 0.0
        if time.monotonic() - looked > 0.5:
            family, looked = root.children(recursive=True), time.monotonic()
        candidates = [root] if what == "driver" else [one for one in family if is_busy(one, what)]
        if candidates:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(candidates).pid, signal.SIGKILL)
                return True
        time.sleep(0.001)
    return False


def is_busy(process: psutil.Process, what: str) -> bool:
    """Whether a process works on a stage of this kind at this moment."""
    try:
        return " ".join(process.cmdline()).startswith(BUSY[what])
    except psutil.Error:
        return False


def disturb(what: str, rng: random.Random, source: Path, output: Path) -> bool:
    """One run with one kill, waited for to its end; False if it ended before anything was hit."""
    driver = subprocess.Popen(
        [*command(), "run", str(source), str(output), *JOB],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    hit = kill_busy(driver, what, rng, output)
    driver.wait(timeout=300)
    return hit


@dataclass(frozen=True)
class Round:
    """What one kill and one resume left: the kind killed, the bucket, what ``verify`` says."""

    killed: str
    bucket: dict[str, bytes]
    report: dict[str, Any]


def one_round(seed: int, undisturbed: tuple[Path, dict[str, bytes]], folder: Path) -> Round:
    """One kill, one resume."""
    source, reference = undisturbed
    rng = random.Random(seed)
    what = ("worker", "actor", "driver")[seed % 3]
    output = folder / f"out-{seed}"
    for _ in range(ATTEMPTS):
        if disturb(what, rng, source, output):
            break
        shutil.rmtree(output)
    else:
        pytest.fail(f"seed {seed}: no {what} could be killed in {ATTEMPTS} runs")
    check_no_leak(source, output, reference)
    done = streetblur("run", source, output, *JOB, "--allow-empty")
    assert done.returncode == 3, f"seed {seed}, killed {what}: {done.stderr[-2000:]}"
    left = Round(what, files(output), json.loads(streetblur("verify", output, "--json").stdout))
    shutil.rmtree(output)
    return left


def is_as_undisturbed(left: Round, reference: dict[str, bytes]) -> bool:
    """The same bucket, and one outcome for each image (one of them is broken by intent)."""
    report, images = left.report, len(reference) + 1
    one_each = report["tally"]["rows"] == report["images"] == images
    return left.bucket == reference and report["complete"] and one_each


def check_no_leak(source: Path, output: Path, reference: dict[str, bytes]) -> None:
    """Right after the kill: whatever lies in the output is exactly a protected picture."""
    if not output.exists():
        return
    for key, data in files(output).items():
        assert data == reference[key], f"{key} is not what an undisturbed run publishes"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_and_run_again_gives_the_same_bucket(seed, undisturbed, tmp_path):
    left = one_round(seed, undisturbed, tmp_path)
    assert is_as_undisturbed(left, undisturbed[1]), f"killed {left.killed}: {left.report}"


@pytest.mark.nightly
def test_twenty_rounds(undisturbed, tmp_path):
    rounds = {seed: one_round(seed, undisturbed, tmp_path) for seed in range(100, 120)}
    print("killed:", Counter(left.killed for left in rounds.values()))
    spoilt = [s for s, left in rounds.items() if not is_as_undisturbed(left, undisturbed[1])]
    assert spoilt == []
