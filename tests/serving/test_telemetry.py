"""ONNX Runtime may tell nobody of what is run here, nor leave files that name the machine."""

import os
import subprocess
import sys
from pathlib import Path

from tests.serving import triton

CODE = """
from serving.backends.local import LocalBackend
from tests.serving.triton import FACE, tensor
LocalBackend({repository!r}).infer(FACE, {{"image": tensor(1)}}, version=1)
"""


def test_the_embedded_backend_leaves_no_file_and_no_identifier(repository, tmp_path):
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    for place in places.values():
        place.mkdir()
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(repository=str(repository))],
        env={**environment, **{name: str(place) for name, place in places.items()}},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_server_runs_models_without_telemetry(triton_server):
    found = triton.stubs(triton_server, triton.FACE)
    assert {stub.environ().get("ORT_DISABLE_TELEMETRY") for stub in found} == {"1"}
