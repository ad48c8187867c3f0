"""A job whose real Triton server is killed, stopped, starved, swapped and poisoned under load.

Each round runs a job over real pictures while something happens to its server, then mends the
server and runs the job again. After the first run every picture in the output must be the one that
an undisturbed run publishes, byte for byte, and the run must be complete or have said why not;
after the second all of them must be there. `make nightly` plays 50 rounds of all kinds, `make test`
one of some.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from pipeline.job import load_spec
from pipeline.model_commands import models_for, versions_for
from pipeline.result import Exit, RunResult
from pipeline.runner import Runner
from pipeline.secret import VARIABLE
from serving.canary import canary_pixels
from serving.errors import CanaryFailed, ModelMissing, ServerUnavailable, ServingError
from serving.graphs import fingerprint_of
from serving.registry import read_record
from serving.server.process import PORTS, TritonServer, free_ports
from tests.integration.jobs import SECRET, Recorder, files
from tests.serving import triton
from tests.serving.triton import FACE, PLATE, add_version, asking, copy_repository, request, tensor

PICTURES = 9
GROUP = 3
STOPPED = (CanaryFailed, ModelMissing, ServerUnavailable)


def make_pictures(folder: Path) -> None:
    """Real pictures with a face and a plate: the canary, cut and lit in several ways."""
    folder.mkdir()
    known = canary_pixels()
    for number in range(PICTURES):
        light = (known * (0.7 + 0.05 * number)).clip(0, 255).astype(np.uint8)
        part = light[: 400 + 8 * number, : 416 - 16 * (number % 4)]
        Image.fromarray(part).save(folder / f"{number}.jpg", quality=92)


def disguise(repository: Path, model: str, version: int, as_version: int) -> None:
    """Let a graph claim to be another: only what it answers can give it away."""
    path = repository / model / str(version) / "model.onnx"
    wanted = read_record(repository / model / str(as_version)).fingerprint
    graph = onnx.load(path)
    (value,) = (item for item in graph.graph.initializer if item.name == "fingerprint/value")
    array = np.frombuffer(bytes.fromhex(wanted), np.uint8)[None]
    value.CopyFrom(onnx.numpy_helper.from_array(array, value.name))
    onnx.save(graph, path)
    assert fingerprint_of(onnx.load(path)) == wanted


@dataclass
class Site:
    """What all rounds share.

    Attributes:
        folder: private to them.
        repository: sound; versions 1 and 2 of the face detector.
        reference: what an undisturbed run publishes, by version of the face detector.
        ports: every server of the site listens there.
    """

    folder: Path
    repository: Path
    source: Path
    ports: dict[str, int]
    reference: dict[int, dict[str, bytes]] = field(default_factory=dict)
    server: TritonServer | None = None
    count: int = 0

    def start(self, repository: Path | None = None) -> None:
        """Kill the server there is, if any, and start one over ``repository``."""
        self.end()
        self.count += 1
        place = self.folder / f"server-{self.count}"
        self.server = triton.make_server(repository or self.repository, place, ports=self.ports)
        self.server.start()

    def end(self) -> None:
        """Kill the server."""
        if self.server is not None:
            triton.kill(self.server)
        self.server = None

    def variant(self, change: Callable[[Path], object]) -> Path:
        """A copy of the repository with something changed."""
        self.count += 1
        copy = shutil.copytree(self.repository, self.folder / f"repository-{self.count}")
        change(copy)
        return copy

    def run(self, output: Path, *, version: int = 1, observer: Recorder | None = None) -> RunResult:
        """Run the job over the server."""
        spec = load_spec(
            None,
            input=str(self.source),
            output=str(output),
            job="chaos",
            engine="local",
            shard_size=4,
            models={FACE: version, "postprocessor": 0},
            triton={"urls": (f"grpc://127.0.0.1:{self.ports['grpc']}",), "outage_s": 12.0},
        )
        observers = [observer or Recorder.new()]
        available = versions_for(spec.triton)
        return Runner(spec, observers, models_for(spec.triton), available=available).run()


@pytest.fixture(scope="module")
def site(tmp_path_factory, can_serve, repository) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("chaos")
    patch = pytest.MonkeyPatch()
    patch.setenv(VARIABLE, SECRET)
    patch.setattr("pipeline.stages.detect.GROUP_ROWS", GROUP)
    made = copy_repository(repository, folder / "repository")
    add_version(made, FACE, 2, triton.other_weights)
    make_pictures(folder / "in")
    found = Site(folder, made, folder / "in", free_ports(*PORTS))
    try:
        found.start()
        for version in (1, 2):
            output = folder / f"reference-{version}"
            assert found.run(output, version=version).exit_code is Exit.COMPLETE
            found.reference[version] = files(output)
        yield found
    finally:
        found.end()
        patch.undo()


@contextmanager
def load(site: Site) -> Iterator[None]:
    """Another client that keeps the server busy, whatever happens to it."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            url = f"grpc://127.0.0.1:{site.ports['grpc']}"
            with suppress(ServingError), asking(url, outage_s=1.0) as backend:
                for number in range(20):
                    if over.is_set():
                        return
                    backend.infer(PLATE, request(tensor(number), PLATE).inputs, version=1)
                    time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# what happens to the server


def killed(site: Site, chance: random.Random) -> None:
    site.end()
    time.sleep(chance.uniform(0, 1))
    site.start()


def slow(site: Site, chance: random.Random) -> None:
    os.kill(site.server.pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(site.server.pid, signal.SIGCONT)


def busy(site: Site, chance: random.Random) -> None:
    site.start(site.variant(lambda copy: triton.limit_queue(copy, PLATE, 1)))


def stub_killed(site: Site, chance: random.Random) -> None:
    for stub in triton.stubs(site.server, chance.choice([FACE, PLATE])):
        stub.kill()


def restarted_without_the_version(site: Site, chance: random.Random) -> None:
    site.start(site.variant(lambda copy: shutil.rmtree(copy / FACE / "1")))


def restarted_with_other_weights(site: Site, chance: random.Random) -> None:
    site.start(site.variant(lambda copy: add_version(copy, PLATE, 1, triton.other_weights)))


def gone(site: Site, chance: random.Random) -> None:
    site.end()


def poisoned_by(change: triton.Change) -> Callable[[Site, random.Random], None]:
    def poisoned(site: Site, chance: random.Random) -> None:
        model = chance.choice([FACE, PLATE])

        def spoil(copy: Path) -> None:
            shutil.copytree(copy / model / "1", copy / model / "9")
            add_version(copy, model, 1, change)
            disguise(copy, model, 1, as_version=9)
            shutil.rmtree(copy / model / "9")

        site.start(site.variant(spoil))

    poisoned.__name__ = f"poisoned_{change.__name__}"
    return poisoned


HARMLESS = (killed, slow, busy)
HARMFUL = (
    *(stub_killed, restarted_without_the_version, restarted_with_other_weights, gone),
    *map(poisoned_by, (triton.zeros, triton.not_a_number, triton.shifted, triton.constant_rows)),
)
EVENTS = (*HARMLESS, *HARMFUL)
BY_DAY = (killed, stub_killed, restarted_with_other_weights, HARMFUL[6])
"""Those that `make test` plays; HARMFUL[6] shifts boxes."""


def play(site: Site, event: Callable[[Site, random.Random], None], seed: int) -> str:
    """One round; what became of the first run."""
    chance = random.Random(seed)
    output = site.folder / f"out-{event.__name__}-{seed}"
    site.start()
    recorder = Recorder.new()
    most = chance.randrange(PICTURES)

    def happen() -> None:
        deadline = time.monotonic() + 30
        while len(recorder.rows) < min(most, PICTURES - GROUP) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        event(site, chance)

    thread = threading.Thread(target=happen)
    with load(site):
        thread.start()
        try:
            ended = site.run(output, observer=recorder).exit_code.name.lower()
        except STOPPED as error:
            ended = str(error)
        finally:
            thread.join()
    published = files(output) if output.exists() else {}
    wrong = [key for key, data in published.items() if data != site.reference[1][key]]
    assert not wrong, f"published by a server that cannot be relied on: {wrong} ({ended})"
    if event in HARMLESS or ended == "complete":
        assert (ended, published) == ("complete", site.reference[1])
    else:
        assert "_detector" in ended or "grpc://127.0.0.1" in ended, "it says what is wrong"
    site.start()
    again = site.run(output)
    assert again.exit_code is Exit.COMPLETE
    assert files(output) == site.reference[1]
    assert again.processed == PICTURES - len(published), "nothing is lost, nothing done twice"
    shutil.rmtree(output)
    return ended


@pytest.mark.parametrize("event", BY_DAY, ids=lambda event: event.__name__)
def test_one_round(site, event):
    assert play(site, event, seed=1)


def test_a_version_that_goes_bad_is_replaced_by_the_one_before(site):
    def spoil(copy: Path) -> None:
        add_version(copy, FACE, 9, triton.shifted)
        disguise(copy, FACE, 9, as_version=2)
        shutil.rmtree(copy / FACE / "2")
        (copy / FACE / "9").rename(copy / FACE / "2")

    bad = site.variant(spoil)
    site.start()
    output = site.folder / "fallback"
    recorder = Recorder.new()

    def happen() -> None:
        while len(recorder.rows) < GROUP:
            time.sleep(0.005)
        site.start(bad)

    thread = threading.Thread(target=happen)
    thread.start()
    try:
        result = site.run(output, version=2, observer=recorder)
    finally:
        thread.join()
    assert result.exit_code is Exit.COMPLETE
    assert "face_detector 2 failed its canary, version 1 judges instead" in result.revision.note
    assert set(files(output)) == set(site.reference[1])
    late = {row["key"] for row in recorder.rows if row["status"] == "failed"}
    assert late
    assert all(files(output)[key] == site.reference[1][key] for key in late)


@pytest.mark.nightly
def test_fifty_rounds(site, capsys):
    ends = []
    for seed in range(100, 150):
        event = EVENTS[seed % len(EVENTS)]
        ends.append((event.__name__, play(site, event, seed)))
    with capsys.disabled():
        for name, end in ends:
            print(f"{name}: {end[:160]}")
    assert len(ends) == 50
    assert {end for name, end in ends if name in {"killed", "slow", "busy"}} == {"complete"}
