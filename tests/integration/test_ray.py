"""The Ray engine: same bytes as the local one, the plan, images that kill or stall workers."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from pipeline import graph
from pipeline.blocks import unpack
from pipeline.graph import BLOCK_BYTES, BLOCK_ROWS, RayEngine, _blocks, operators, rows_a_block
from pipeline.isolation import run_isolated
from pipeline.records import WorkItem
from pipeline.result import Exit
from pipeline.secret import VARIABLE
from tests.integration.jobs import SECRET, files, pictures, run_stubbed


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    pictures(folder, 20)
    return folder


def ray_engine(config, stall_timeout_s=120.0):
    return RayEngine(config, workers=2, address=None, stall_timeout_s=stall_timeout_s)


def items_of(sizes):
    return [
        WorkItem(key=str(n), etag="e", size=size, shard=0, row=n, identity="i")
        for n, size in enumerate(sizes)
    ]


@pytest.mark.usefixtures("cluster")
def test_both_engines_give_the_same_bytes(source, tmp_path):
    pictures(source / "grey", 3, size=(33, 47), seed=5)
    (source / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    one, _ = run_stubbed(source, tmp_path / "a")
    two, _ = run_stubbed(source, tmp_path / "b", engine_factory=ray_engine)
    assert files(tmp_path / "a") == files(tmp_path / "b") != {}
    assert one.exit_code is two.exit_code is Exit.QUARANTINED


@pytest.mark.usefixtures("cluster")
def test_nothing_asks_ray_any_more_when_the_rows_are_left(source, tmp_path):
    """A thread that asks a raylet which is gone ends the process: Ctrl-C would end in code 1."""
    pictures(source / "more", 200, seed=7)
    alive = []

    class Left:
        def __init__(self, config):
            self._inner = ray_engine(config)
            self.close = self._inner.close

        def run(self, items, *, searching=False):
            rows = self._inner.run(items, searching=searching)
            yield next(rows)
            rows.close()
            alive.extend(
                one.name
                for one in threading.enumerate()
                if isinstance(one, StreamingExecutor) or one.name == "ray-outcomes"
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stubbed(source, tmp_path / "out", engine_factory=Left)
    assert alive == []


@given(
    sizes=st.lists(st.integers(0, 3 * BLOCK_BYTES // 2), max_size=200),
    rows=st.integers(1, BLOCK_ROWS),
)
def test_blocks_hold_every_image_once_and_stay_small(sizes, rows):
    items = items_of(sizes)
    blocks = [[envelope.item for envelope in unpack(block)] for block in _blocks(items, rows)]
    assert [item for block in blocks for item in block] == items
    for block in blocks:
        assert 1 <= len(block) <= rows
        assert len(block) == 1 or sum(item.size for item in block) <= BLOCK_BYTES


@given(images=st.integers(1, 10**6), workers=st.integers(1, 1000))
def test_few_images_are_spread_over_all_workers(images, workers):
    rows = rows_a_block(images, workers)
    assert 1 <= rows <= BLOCK_ROWS
    assert rows == 1 or images // rows >= 4 * workers


@pytest.mark.parametrize(
    ("searching", "rows"),
    [(False, [2] * 12), (True, [1] * 24)],
)
def test_the_engine_makes_small_blocks_of_few_images(monkeypatch, searching, rows):
    monkeypatch.setattr(graph, "connect", lambda workers, address: False)
    monkeypatch.setattr(graph, "build_graph", lambda blocks, *rest: blocks)
    monkeypatch.setattr(graph, "_drain", lambda build, stall_timeout_s: iter(build()))
    monkeypatch.setattr(graph, "RayGate", lambda token: SimpleNamespace(take=lambda: None))
    config = SimpleNamespace(token="t")
    engine = RayEngine(config, workers=3, address=None, stall_timeout_s=1.0)
    blocks = [list(unpack(block)) for block in engine.run(items_of([1] * 24), searching=searching)]
    assert [len(block) for block in blocks] == rows


@pytest.mark.usefixtures("cluster")
def test_the_three_steps_are_not_fused(source, tmp_path):
    captured = []

    def capture(config):
        captured.append(config)
        return ray_engine(config)

    run_stubbed(source, tmp_path / "out", engine_factory=capture)
    names = operators(captured[0])
    steps = [name for name in names if name != "Input"]
    expected = ("FetchDecode", "DetectActor", "RedactPublish")
    assert steps == [f"MapBatches({step})" for step in expected]


@pytest.mark.usefixtures("cluster")
def test_an_image_that_kills_its_process_harms_itself_alone(source, tmp_path, capfd):
    pictures(source / "killer", 1, size=(13, 20))
    result, recorder = run_stubbed(
        source, tmp_path / "out", detector="deadly", engine_factory=ray_engine
    )
    reasons = {row["key"]: row["reason"] for row in recorder.rows if row["status"] != "published"}
    assert reasons == {"killer/d0/0000.jpg": "kills_worker"}
    assert result.verification.tally.published == 20
    assert result.exit_code is Exit.QUARANTINED
    printed = capfd.readouterr()  # what Ray says of dying workers comes as log lines, or not at all
    assert (printed.out, "Traceback" in printed.err) == ("", False)


def test_an_image_that_stalls_is_quarantined_alone(source, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    pictures(source / "sleeper", 1, size=(17, 20))
    captured = []

    class Capture:
        def __init__(self, config):
            captured.append(config)

        def run(self, items, *, searching=False):
            yield from run_isolated(list(items), captured[0], 8.0)

        def close(self):
            pass

    _, recorder = run_stubbed(source, tmp_path / "out", detector="deadly", engine_factory=Capture)
    reasons = {row["key"]: row["reason"] for row in recorder.rows if row["status"] != "published"}
    assert reasons == {"sleeper/d0/0000.jpg": "stalls_worker"}
