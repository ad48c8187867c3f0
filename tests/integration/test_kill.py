"""Kill -9 of worker, detector actor and driver at random moments; then the same final bucket."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

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


def victims(driver: psutil.Process, what: str) -> list[psutil.Process]:
    """Live processes of one kind below ``driver``."""
    if what == "driver":
        return [driver]
    found = []
    for child in driver.children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:
            continue
        # a worker that is busy with one of our stages, not one that idles
        busy = {"actor": "ray::MapWorker", "worker": "ray::MapBatches"}[what]
        if title.startswith(busy):
            found.append(child)
    return found


def kill_one(driver: subprocess.Popen[str], what: str, rng: random.Random, output: Path) -> bool:
    """Wait for a random moment, then SIGKILL one process of the kind; False if none was left."""
    target = rng.randrange(0, 38)
    deadline = time.monotonic() + 180
    root = psutil.Process(driver.pid)
    while driver.poll() is None and time.monotonic() < deadline:
        published = sum(1 for path in output.rglob("*.jpg")) if output.exists() else 0
        if published >= target:
            time.sleep(rng.uniform(0, 0.5))
            candidates = victims(root, what)
            if candidates:
                os.kill(rng.choice(candidates).pid, signal.SIGKILL)
                return True
        time.sleep(0.02)
    return False


def one_round(seed: int, undisturbed: tuple[Path, dict[str, bytes]], folder: Path) -> str:
    """One kill, one resume; returns what was killed."""
    source, reference = undisturbed
    rng = random.Random(seed)
    what = ("worker", "actor", "driver")[seed % 3]
    output = folder / f"out-{seed}"
    driver = subprocess.Popen(
        [*command(), "run", str(source), str(output), *JOB],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    hit = kill_one(driver, what, rng, output)
    driver.wait(timeout=300)
    killed = what if hit else "nothing"
    check_no_leak(source, output, reference)
    done = streetblur("run", source, output, *JOB, "--allow-empty")
    assert done.returncode == 3, f"seed {seed}, killed {killed}: {done.stderr[-2000:]}"
    assert files(output) == reference, f"seed {seed}, killed {killed}"
    checked = streetblur("verify", output, "--json")
    report = json.loads(checked.stdout)
    assert report["complete"], f"seed {seed}: {report}"
    assert report["tally"]["rows"] == report["images"] == len(reference) + 1
    shutil.rmtree(output)
    return killed


def check_no_leak(source: Path, output: Path, reference: dict[str, bytes]) -> None:
    """Right after the kill: whatever lies in the output is exactly a protected picture."""
    if not output.exists():
        return
    for key, data in files(output).items():
        assert data == reference[key], f"{key} is not what an undisturbed run publishes"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_and_run_again_gives_the_same_bucket(seed, undisturbed, tmp_path):
    assert one_round(seed, undisturbed, tmp_path) != "nothing"


@pytest.mark.nightly
def test_twenty_rounds(undisturbed, tmp_path):
    killed = [one_round(seed, undisturbed, tmp_path) for seed in range(100, 120)]
    print("killed:", killed)
    assert killed.count("nothing") <= 2
