"""What is compiled on first use, and where it is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline.compiled
from pipeline.compiled import CACHE_FOLDER, digest_of_sources
from pipeline.jpeg.bitstream import copy_bits as peeked

COMMAND = [sys.executable, "-m", "pipeline.warm_up"]
REDACT = """
from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.output_check import check_output
from tests.pipeline.pictures import KINDS, box, policy
from tests.pipeline.test_splice import KEY
for name, make in KINDS.items():
    data = make(97, 61)
    info = inspect_image(data, ImageLimits())
    made = redact_image(data, info, [box(5, 5, 60, 40)], noise=KEY, policy=policy())
    check_output(data, info, made.data, [box(5, 5, 60, 40)], policy(), spliced=made.spliced)
"""


def cached(folder: Path) -> set[str]:
    return {path.name.rsplit("-", 1)[0] for path in folder.rglob("*.nbi")}


@pytest.mark.nightly
def test_warming_up_compiles_all_that_a_job_takes(tmp_path: Path) -> None:
    """Every function that anything here has compiled beside the source is among them."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run(COMMAND, env=environment, check=True)
    names = {name.split(".")[0] for name in cached(tmp_path)}
    for module in ("cells", "dct", "entropy", "huffman", "progressive", "quarter", "two_lanes"):
        assert any(name.startswith(module) for name in names), f"nothing of {module}: {names}"
    before = {path.name for path in tmp_path.rglob("*.nbc")}
    subprocess.run([sys.executable, "-c", REDACT], env=environment, check=True)
    assert {path.name for path in tmp_path.rglob("*.nbc")} == before


def test_a_change_in_any_module_that_compiles_lets_no_old_code_run(tmp_path: Path) -> None:
    """Machine code holds what it calls: its own file alone does not tell whether it is old."""
    inner, outer, other = (tmp_path / name for name in ("inner.py", "outer.py", "other.py"))
    inner.write_text("from pipeline.compiled import inlined\nSTEP = 1\n")
    outer.write_text("from pipeline.compiled import compiled\nfrom inner import STEP\n")
    other.write_text("print()\n")
    before = digest_of_sources(tmp_path)
    other.write_text("print(1)\n")
    assert digest_of_sources(tmp_path) == before
    inner.write_text("from pipeline.compiled import inlined\nSTEP = 2\n")
    assert digest_of_sources(tmp_path) != before


def test_code_is_kept_in_a_folder_named_after_its_sources() -> None:
    assert digest_of_sources(Path(pipeline.compiled.__file__).parent) in CACHE_FOLDER.name
    where = peeked.stats.cache_path  # type: ignore[attr-defined]
    assert Path(where).is_relative_to(CACHE_FOLDER)


@pytest.mark.skipif(os.name != "posix", reason="folders are closed by their mode")
def test_it_works_where_nothing_can_be_kept(tmp_path: Path) -> None:
    script = "import numba, pipeline.compiled as c\n" + (
        "import numba.core.caching as k\n"
        "k.CacheImpl._locator_classes = []\n"
        "@c.compiled\ndef twice(x): return 2 * x\n"
        "assert twice(4) == 8\n"
    )
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
