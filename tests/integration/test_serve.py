"""`streetblur serve`, and `streetblur run --triton`, as a user meets them."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.dataset as ds
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from serving.backends.shared_memory import FOLDER
from serving.canary import canary_pixels
from serving.contracts import CONTRACTS
from serving.registry import fetch_models, find_repository, read_record
from serving.server import environment as server_environment
from serving.server.process import PORTS, free_ports
from tests.integration.jobs import command, environment, files, pictures, streetblur
from tests.serving import triton
from tests.serving.triton import FACE, PLATE, asking, tensor

READY_WITHIN_S = 180
NIGHTLY = pytest.mark.nightly


@dataclass
class Served:
    """A running ``streetblur serve``."""

    process: subprocess.Popen
    url: str
    said: str
    folder: Path

    @property
    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def serve(folder, *arguments, **more):
    """Runs the command until it prints something, with ``folder`` for its temporary files."""
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder.parent / f"{folder.name}.stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*command(), "serve", *map(str, arguments)],
            env=environment(TMPDIR=str(folder), **more),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    watch = psutil.Process(process.pid)
    try:
        line = process.stdout.readline()
        yield Served(process, line.strip(), errors.read_text(), folder)
    finally:
        if process.poll() is None:
            children = watch.children(recursive=True)
            process.terminate()
            process.wait(60)
            psutil.wait_procs(children, timeout=60)
        process.stdout.close()


@pytest.fixture(scope="module")
def installed():
    if reason := triton.why_no_server():
        pytest.skip(reason)
    return server_environment.install()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    location = find_repository()
    fetch_models(location)
    return triton.copy_repository(location, tmp_path_factory.mktemp("models") / "repository")


EVIL = """
import pathlib
pathlib.Path({path!r}).touch()
class TritonPythonModel:
    def execute(self, requests):
        return []
"""


@pytest.fixture(scope="module")
def served(installed, repository, tmp_path_factory):
    """One server for the tests that leave it as it is."""
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository)}
    with serve(tmp_path_factory.mktemp("serve") / "tmp", **own) as running:
        yield running


def left_in_shared_memory(pid):
    return [path.name for path in FOLDER.glob(f"streetblur_*_{pid}_*")]


# the server


def test_it_prints_its_address_after_the_canary(served):
    assert re.fullmatch(r"grpc://127\.0\.0\.1:\d+", served.url), served.said
    for model in (FACE, PLATE, "postprocessor"):
        assert f"{model} 1 at {served.url}: canary ok" in served.said

    with asking(served.url) as backend:
        assert backend.infer(FACE, {"image": tensor(1)}, version=1)["peak"].shape == (1,)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=NIGHTLY), signal.SIGINT])
def test_a_signal_ends_it_and_nothing_stays(installed, repository, tmp_path, number):
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository)}
    with serve(tmp_path / "tmp", **own) as running:
        assert running.url.startswith("grpc://"), running.said
        children = running.children
        running.process.send_signal(number)
        rest, _ = running.process.communicate(timeout=60)
    assert (running.process.returncode, rest) == (0, "")
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(running.folder.iterdir()) == []
    assert left_in_shared_memory(running.process.pid) == []
    errors = (tmp_path / "tmp.stderr").read_text()
    assert errors.splitlines()[-1] == "stopped"


@pytest.mark.parametrize("again", [pytest.param(False, marks=NIGHTLY), True])
def test_a_signal_while_it_starts_leaves_nothing(installed, repository, tmp_path, again):
    errors = tmp_path / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*command(), "serve"],
            env=environment(
                STREETBLUR_MODEL_REPOSITORY=str(repository), TMPDIR=str(folder(tmp_path))
            ),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    deadline = time.monotonic() + READY_WITHIN_S
    while not psutil.Process(process.pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    while again and process.poll() is None and time.monotonic() < deadline:
        process.terminate()
        time.sleep(0.05)
    printed, _ = process.communicate(timeout=60)
    assert children
    assert (process.returncode, printed) == (0, ""), errors.read_text()
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(folder(tmp_path).iterdir()) == []
    assert left_in_shared_memory(process.pid) == []
    assert "Traceback" not in errors.read_text()


def test_killed_it_takes_the_server_along_and_the_next_one_cleans_up(
    installed, repository, tmp_path
):
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository)}
    with serve(tmp_path / "tmp", **own) as running:
        assert running.url.startswith("grpc://"), running.said
        children = running.children
        assert len(children) >= 3
        running.process.kill()
        running.process.wait()
        assert psutil.wait_procs(children, timeout=60)[1] == []
    left = list(running.folder.iterdir())
    assert len(left) == 1
    killed = running.process.pid
    with serve(tmp_path / "tmp", **own) as following:
        assert following.url.startswith("grpc://"), following.said
        assert not left[0].exists()
        assert left_in_shared_memory(killed) == []


@NIGHTLY
def test_what_a_live_server_owns_is_left_to_it(served, repository, tmp_path):
    """A second server, over the same temporary folder, starts beside the first."""
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository)}
    before = set(served.folder.iterdir())
    with serve(served.folder, **own) as second:
        assert second.url.startswith("grpc://"), second.said
        assert second.url != served.url
        assert before < set(served.folder.iterdir())
    assert set(served.folder.iterdir()) == before
    with asking(served.url) as backend:
        assert backend.infer(FACE, {"image": tensor(1)}, version=1)["peak"].shape == (1,)


def test_a_repository_without_configurations_is_told(installed, repository, tmp_path):
    bare = tmp_path / "bare"
    for model in CONTRACTS:
        shutil.copytree(repository / model / "1", bare / model / "1")
    with serve(tmp_path / "tmp", STREETBLUR_MODEL_REPOSITORY=str(bare)) as running:
        assert running.process.wait(60) == 1
        said = (tmp_path / "tmp.stderr").read_text()
    assert "has no configurations for a server" in said


def test_where_it_is_not_installed_it_says_how(tmp_path):
    done = streetblur("serve", STREETBLUR_CACHE=str(tmp_path / "empty"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "streetblur serve --install" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("dims: [ 1024, 5 ]", "dims: [ 1000, 5 ]", "boxes has dims [1000, 5], but [1024, 5]"),
        pytest.param("TYPE_INT32", "TYPE_INT64", "count is TYPE_INT64", marks=NIGHTLY),
        pytest.param('name: "peak"', 'name: "top"', "top is not in the graph", marks=NIGHTLY),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(installed, repository, tmp_path, old, new, told):
    own = triton.copy_repository(repository, tmp_path / "models")
    triton.edit_config(own, FACE, old, new)
    done = streetblur("serve", STREETBLUR_MODEL_REPOSITORY=str(own), TMPDIR=str(folder(tmp_path)))
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert ".log" not in done.stderr, "that is removed"
    assert list(folder(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    "poison", [triton.shifted, pytest.param(triton.not_a_number, marks=NIGHTLY)]
)
def test_a_poisoned_version_is_named(installed, repository, tmp_path, poison):
    own = triton.copy_repository(repository, tmp_path / "models")
    triton.add_version(own, PLATE, 2, poison)
    done = streetblur("serve", STREETBLUR_MODEL_REPOSITORY=str(own), TMPDIR=str(folder(tmp_path)))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{PLATE} 2" in done.stderr.splitlines()[-1]
    assert list(folder(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    "name", ["http", pytest.param("grpc", marks=NIGHTLY), pytest.param("metrics", marks=NIGHTLY)]
)
def test_a_taken_port_is_told(installed, repository, tmp_path, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = streetblur(
            *("serve", f"--{name}-port", port),
            STREETBLUR_MODEL_REPOSITORY=str(repository),
            TMPDIR=str(folder(tmp_path)),
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert str(port) in done.stderr.splitlines()[-1]
    assert list(folder(tmp_path).iterdir()) == []


def test_the_ports_of_another_server_are_not_taken_for_its_own(installed, repository, tmp_path):
    ports = free_ports(*PORTS)
    flags = [word for name in PORTS for word in (f"--{name}-port", str(ports[name]))]
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository)}
    with serve(tmp_path / "first", *flags, **own) as first:
        assert first.url.endswith(f":{ports['grpc']}"), first.said
        done = streetblur("serve", *flags, TMPDIR=str(folder(tmp_path)), **own)
        assert (done.returncode, done.stdout) == (1, "")
        assert first.process.poll() is None


@NIGHTLY
def test_a_proxy_in_the_environment_does_no_harm(installed, repository, tmp_path):
    proxy = f"http://127.0.0.1:{free_ports('proxy')['proxy']}"
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository), "no_proxy": "", "NO_PROXY": ""}
    with serve(tmp_path / "tmp", http_proxy=proxy, https_proxy=proxy, **own) as running:
        assert running.url.startswith("grpc://"), running.said


@pytest.mark.parametrize("number", [signal.SIGSEGV, pytest.param(signal.SIGKILL, marks=NIGHTLY)])
def test_a_server_that_ends_by_itself_is_told(installed, repository, tmp_path, number):
    own = {"STREETBLUR_MODEL_REPOSITORY": str(repository)}
    with serve(tmp_path / "tmp", **own) as running:
        assert running.url.startswith("grpc://"), running.said
        children = running.children
        server = next(child for child in children if child.ppid() == running.process.pid)
        server.send_signal(number)
        running.process.wait(60)
    assert running.process.returncode == 1
    assert psutil.wait_procs(children, timeout=60)[1] == []
    last = (tmp_path / "tmp.stderr").read_text().splitlines()[-1]
    assert f"the server ended by itself; it crashed or was killed ({number.name})" in last
    assert "0x0000" not in last
    assert list(running.folder.iterdir()) == []
    assert left_in_shared_memory(running.process.pid) == []


def test_an_ended_process_of_a_model_ends_it_and_is_told(installed, repository, tmp_path):
    """Beside a folder that is no model, which does no harm."""
    own = triton.copy_repository(repository, tmp_path / "models")
    (own / "junk").mkdir()
    with serve(tmp_path / "tmp", STREETBLUR_MODEL_REPOSITORY=str(own)) as running:
        assert running.url.startswith("grpc://"), running.said
        assert "config.pbtxt: junk" in running.said
        children = running.children
        (stub,) = (c for c in children if any(f"/{PLATE}/1/" in word for word in c.cmdline()))
        stub.kill()
        assert running.process.wait(60) == 1
    last = (tmp_path / "tmp.stderr").read_text().splitlines()[-1]
    assert f"the process of a model has ended: {PLATE} 1" in last
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(running.folder.iterdir()) == []


def folder(tmp_path):
    place = tmp_path / "tmp"
    place.mkdir(exist_ok=True)
    return place


# a run on it


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Some pictures without objects, and one with a face and a plate."""
    place = tmp_path_factory.mktemp("photographs")
    pictures(place, 3, size=(640, 480))
    Image.fromarray(canary_pixels()).save(place / "canary.jpg", quality=95)
    return place


@pytest.fixture(scope="module")
def embedded_run(photographs, tmp_path_factory):
    """The output of a run without servers."""
    output = tmp_path_factory.mktemp("embedded") / "out"
    done = streetblur("run", photographs, output, "--engine", "local", "--runtime", "onnxruntime")
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=NIGHTLY)])
def test_a_run_on_a_server_gives_the_same_bytes(
    served, photographs, embedded_run, tmp_path, engine
):
    output = tmp_path / "out"
    arguments = ("run", photographs, output, "--engine", engine, "--triton", served.url)
    done = streetblur(*arguments, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert files(output) == files(embedded_run)
    assert len(files(output)) == 4


def test_outcomes_name_the_graphs_that_the_server_says_it_serves(
    served, repository, photographs, tmp_path
):
    triton_only = {"STREETBLUR_MODEL_REPOSITORY": str(tmp_path / "nothing")}
    output = tmp_path / "out"
    done = streetblur(
        *("run", photographs, output, "--engine", "local", "--triton", served.url), **triton_only
    )
    assert done.returncode == 0, done.stderr
    (models,) = {row["models"] for row in outcomes(output)}
    for model in (FACE, PLATE):
        record = read_record(repository / model / "1")
        assert f"{model}=1:{record.fingerprint}" in models
    assert not (tmp_path / "nothing").exists()


def outcomes(output):
    paths = [str(path) for path in (output / "_streetblur").rglob("*.parquet")]
    rows = [row for path in paths for row in ds.dataset(path).to_table().to_pylist()]
    return [row for row in rows if "models" in row]


def test_a_run_without_its_server_ends_with_a_clear_line(photographs, tmp_path):
    url = f"grpc://127.0.0.1:{free_ports('grpc')['grpc']}"
    began = time.monotonic()
    done = streetblur(
        *("run", photographs, tmp_path / "out", "--engine", "local", "--triton", url),
        *("--log-format", "text"),
        STREETBLUR_TRITON__OUTAGE_S="1",
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert url in last
    assert "Connection refused" in last
    assert "Traceback" not in done.stderr
    assert files(tmp_path / "out") == {}
    assert time.monotonic() - began < 110


def test_pictures_go_elsewhere_only_encrypted(photographs, tmp_path):
    arguments = ("run", photographs, tmp_path / "out", "--triton", "grpc://192.0.2.1:8001")
    done = streetblur(*arguments, "--log-format", "text")
    assert done.returncode == 2
    assert "--insecure" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_token_that_cannot_be_is_told_without_it(served, photographs, tmp_path):
    done = streetblur(
        *("run", photographs, tmp_path / "out", "--engine", "local", "--triton", served.url),
        STREETBLUR_TRITON_TOKEN="one two-secret",
    )
    assert done.returncode in {1, 2}
    assert "STREETBLUR_TRITON_TOKEN" in done.stderr
    assert "two-secret" not in done.stderr + done.stdout


def test_nobody_can_have_the_server_run_code(served, tmp_path):
    (server,) = (
        child for child in served.children if any("--http-port" in word for word in child.cmdline())
    )
    (port,) = (word.split("=")[1] for word in server.cmdline() if word.startswith("--http-port="))
    ran = tmp_path / "ran"
    tensors = {
        kind: [{"name": kind, "data_type": "TYPE_FP32", "dims": [1]}]
        for kind in ("input", "output")
    }
    config = {"name": "evil", "backend": "python", "max_batch_size": 0, **tensors}
    code = base64.b64encode(EVIL.format(path=str(ran)).encode()).decode()
    body = {"parameters": {"config": json.dumps(config), "file:1/model.py": code}}
    url = f"http://127.0.0.1:{port}/v2/repository/models/evil/load"
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "text/plain"})
    with pytest.raises(urllib.error.HTTPError, match=r"HTTP Error (4|503)"):
        urllib.request.urlopen(asked)  # noqa: S310
    with asking(served.url) as backend:
        (one,) = backend.endpoints
        with pytest.raises(InferenceServerException, match="not allowed"):
            one.client.load_model(FACE)
    assert not ran.exists()
