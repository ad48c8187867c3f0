"""infra/triton: linted, and what it mounts, opens and starts is what the repository has."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.contracts import CONTRACTS
from tests.serving.model_configs import parse, tensorrt

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "triton"
TOOLS = Path(sys.executable).parent


def run(tool, *arguments, **variables):
    environment = {"PATH": os.defpath, "HOME": str(FOLDER), **variables}
    return subprocess.run(
        [str(TOOLS / tool), *arguments], cwd=FOLDER, env=environment, capture_output=True, text=True
    )


def composed(**variables):
    done = run(
        "docker-compose", "-f", "compose.yaml", "--profile", "*", "config", "--format", "json",
        **variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "level=warning" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services():
    return composed()["services"]


def dockerfile_command():
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    return json.loads(command)


def commands(services):
    return {name: service["command"] or dockerfile_command() for name, service in services.items()}


def test_hadolint_has_nothing_to_say():
    done = run("hadolint", "--failure-threshold", "style", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_have_something_to_say(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM nvcr.io/nvidia/tritonserver\nRUN cd /tmp\n")
    assert "DL3006" in run("hadolint", str(tmp_path / "Dockerfile")).stdout


def test_image_is_pinned_and_runs_without_root():
    text = (FOLDER / "Dockerfile").read_text()
    (base,) = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"nvcr\.io/nvidia/tritonserver:\d\d\.\d\d-py3", base)
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) > 0


def test_mounts_are_in_the_repository_and_models_are_read_only(services):
    for service in services.values():
        mounts = {mount["target"]: mount for mount in service["volumes"]}
        assert mounts["/models"]["source"] == str(ROOT / "model_repository")
        assert mounts["/models"]["read_only"]
        assert not mounts["/models"]["bind"]["create_host_path"]
        assert mounts["/var/cache/streetblur"]["type"] == "volume"
        assert Path(service["build"]["context"]) == FOLDER
        assert service["read_only"]


def test_nothing_is_open_to_other_machines_by_default(services):
    for service in services.values():
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}
        assert {port["target"] for port in service["ports"]} == {8000, 8001, 8002}


def test_another_address_opens_grpc_alone():
    ports = composed(STREETBLUR_BIND="192.0.2.1")["services"]["triton-tls"]["ports"]
    assert {p["target"] for p in ports if p["host_ip"] == "192.0.2.1"} == {8001}


def test_every_service_serves_the_mounted_models_with_our_configurations(services):
    for name, command in commands(services).items():
        assert command[0] == "tritonserver"
        assert "--model-repository=/models" in command
        assert "--disable-auto-complete-config" in command
        assert ("--model-config-name=cpu" in command) == (name == "triton-cpu")
        assert ("deploy" in services[name]) == (name != "triton-cpu")


def test_tls_demands_a_certificate_of_the_client(services):
    command = set(commands(services)["triton-tls"])
    assert set(dockerfile_command()) < command
    assert {"--grpc-use-ssl=true", "--grpc-use-ssl-mutual=true"} < command
    files = {part.split("=")[1] for part in command if part.startswith("--grpc-") and "/" in part}
    mounted = {mount["target"] for mount in services["triton-tls"]["volumes"]}
    assert {str(Path(file).parent) for file in files} == {"/tls"}
    assert "/tls" in mounted


def test_time_to_stop_is_longer_than_time_to_finish(services):
    for name, command in commands(services).items():
        (finish,) = [int(p.split("=")[1]) for p in command if p.startswith("--exit-timeout-secs=")]
        grace = services[name]["stop_grace_period"]
        minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", grace).groups()
        assert 60 * int(minutes or 0) + int(seconds) > finish


def test_folders_of_the_engine_cache_are_in_the_image():
    text = (FOLDER / "Dockerfile").read_text()
    for name in CONTRACTS:
        config = parse((ROOT / "model_repository" / name / "config.pbtxt").read_text())
        if not config.optimization.execution_accelerators.gpu_execution_accelerator:
            continue
        parameters = tensorrt(config)
        for key in ("trt_engine_cache_path", "trt_timing_cache_path"):
            assert f" {parameters[key]} " in f" {text.split('RUN mkdir -p ')[1]}".replace("\n", " ")


def test_script_is_sound_bash_and_starts_a_service_that_is_there(services):
    script = FOLDER / "build_engines.sh"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert os.access(script, os.X_OK)
    (started,) = re.findall(r'"\$wait_s" (\S+);', script.read_text())
    assert started in services
