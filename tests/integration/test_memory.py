"""Driver memory: 1,000 against 100,000 planned rows, the detector stubbed."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, sys
import psutil
from pipeline.manifest import Row
from pipeline.records import Outcome
import pipeline.planner
from tests.integration.jobs import run_stubbed
count, source, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def rows(store, selection):
    if "in" in store.uri.rsplit("/", 1)[-1]:
        for n in range(count):
            yield Row(f"street/{n % 100:03d}/{n:08d}.jpg", f"etag-{n}", 1000)

pipeline.planner.list_pictures = rows
peak = [0]

class Stub:
    def __init__(self, config): self.config = config
    def run(self, items, *, searching=False):
        for n, item in enumerate(items):
            if n % 500 == 0:
                peak[0] = max(peak[0], psutil.Process().memory_info().rss)
            done = Outcome(key=item.key, shard=item.shard, row=item.row, status="published",
                           reason="", identity=item.identity, source_etag=item.etag,
                           source_size=item.size, output_etag="x", output_size=1)
            yield {**done.as_row(), "shard": done.shard}
    def close(self): pass

import tests.integration.jobs as jobs
jobs.Recorder.outcome = lambda self, row: None
result, recorder = run_stubbed(source, output, engine_factory=Stub, job="memory")
peak[0] = max(peak[0], psutil.Process().memory_info().rss)
print(json.dumps({"peak": peak[0], "rows": result.verification.rows}))
"""


def driver_peak(count, folder):
    (folder / "in").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(count), str(folder / "in"), str(folder / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["rows"] == count
    return report["peak"]


def test_driver_memory_does_not_grow_with_the_rows(tmp_path):
    small = driver_peak(1_000, tmp_path / "small")
    large = driver_peak(100_000, tmp_path / "large")
    assert large - small < 100 * 2**20, f"grew by {(large - small) / 2**20:.0f} MB"
