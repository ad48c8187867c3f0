"""All of dev through the embedded backend and a real Triton server: the same bytes come out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from serving.server import environment as server_environment
from serving.server.serve import serving
from tests.integration.jobs import files, streetblur

DATA = Path(os.environ.get("STREETBLUR_DATA", "../shared/data")) / "dev"


def published(output: Path) -> dict[str, str]:
    """SHA-256 of each output, by key."""
    return {key: hashlib.sha256(data).hexdigest() for key, data in files(output).items()}


@pytest.mark.nightly
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no annotated pictures at {DATA}")
def test_all_of_dev_is_the_same_in_process_by_grpc_and_by_shared_memory(tmp_path, capsys):
    server_environment.install()
    plain = streetblur("run", DATA, tmp_path / "plain", "--runtime", "onnxruntime", timeout=3600)
    assert plain.returncode == 0, plain.stderr
    expected = published(tmp_path / "plain")
    assert len(expected) > 900
    with serving() as server:
        for way in ("true", "false"):
            output = tmp_path / way
            done = streetblur(
                *("run", DATA, output, "--triton", server.url),
                timeout=3600,
                STREETBLUR_TRITON__SHARED_MEMORY=way,
            )
            assert done.returncode == 0, done.stderr
            differing = {k for k, v in published(output).items() if expected.get(k) != v}
            assert not differing
            assert published(output).keys() == expected.keys()
            with capsys.disabled():
                print(f"shared memory {way}: {len(expected)} pictures, byte for byte the same")
