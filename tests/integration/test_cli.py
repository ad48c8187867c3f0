"""The command as a user meets it: help, exit codes, errors, resume after Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from serving.canary import FOLDER
from serving.contracts import FEATURES
from tests.integration.jobs import SECRET, command, environment, files, pictures, streetblur


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    pictures(folder, 6)
    return folder


def run_local(source, output, *more):
    return streetblur("run", source, output, "--engine", "local", "--allow-empty", *more)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("run",),
        ("plan",),
        ("status",),
        ("rerun",),
        ("verify",),
        ("explain",),
        ("models", "list"),
        ("models", "fetch"),
        ("models", "check"),
        ("policy", "list"),
        ("policy", "show"),
    ],
)
def test_every_command_explains_itself(words):
    done = streetblur(*words, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_status_needs_neither_ray_nor_torch_nor_models(source, tmp_path):
    run_local(source, tmp_path / "out", "--job", "j")
    code = (
        "import sys; from pipeline import access as a, operations as o;"
        f"o.show_status(a.access_of({str(tmp_path / 'out')!r}, None, None, None), True);"
        "bad = {'ray', 'torch', 'onnxruntime', 'onnx'} & set(sys.modules); sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["due"] == 0


def test_a_whole_life_of_a_job(source, tmp_path):
    output = tmp_path / "out"
    dry = run_local(source, output, "--dry-run", "--job", "life")
    assert (dry.returncode, "due" in dry.stdout) == (0, True)
    assert not output.exists()
    planned = streetblur("plan", source, output, "--job", "life")
    assert (planned.returncode, "6" in planned.stdout) == (0, True)
    assert files(output) == {}
    assert run_local(source, output, "--job", "life").returncode == 0
    again = streetblur("rerun", output, "--shard", "0", "--engine", "local", "--allow-empty")
    assert again.returncode == 0, again.stderr
    assert "6 images in this run" in again.stdout
    status = json.loads(streetblur("status", output, "--json").stdout)
    assert (status[0]["due"], status[0]["tally"]["published"]) == (0, 6)
    assert streetblur("verify", output, "--allow-empty").returncode == 0
    assert streetblur("verify", output).returncode == 5
    told = streetblur("explain", "d0/0000.jpg", output)
    assert (told.returncode, "published" in told.stdout) == (0, True)
    workspace = output / "_streetblur" / "life"
    for name in ("summary.json", "report.html", "report.md", "metrics.prom", "job.json"):
        assert (workspace / name).is_file()
    metrics = (workspace / "metrics.prom").read_text()
    assert 'streetblur_images_total{job="life",status="published"} 6.0' in metrics


def test_explain_names_the_features_that_were_recorded(tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(FOLDER / "canary.jpg", tmp_path / "in" / "a.jpg")
    assert run_local(tmp_path / "in", tmp_path / "out", "--job", "j").returncode == 0
    told = json.loads(streetblur("explain", "a.jpg", tmp_path / "out", "--json").stdout)
    face = max(told["detections"], key=lambda item: item["score"] * (item["label"] == "face"))
    assert tuple(face["features"]) == FEATURES
    assert face["features"]["score"] == round(face["score"], 3)
    assert 0.5 < face["probability"] < 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("run",), 2, "INPUT and OUTPUT are missing"),
        (("status",), 2, "OUTPUT is missing"),
        (("run", "{in}", "{in}"), 2, "output"),
        (("run", "{in}/nowhere", "{out}"), 2, "INPUT is the folder or bucket"),
        (("run", "{in}/nowhere", "{out}", "--dry-run"), 2, "INPUT is the folder or bucket"),
        (("run", "{in}/d0/0000.jpg", "{out}"), 2, "not a single file"),
        (("plan", "{in}/nowhere", "{out}"), 2, "INPUT is the folder or bucket"),
        (("run", "{in}", "{out}", "--policy", "mars"), 2, "default"),
        (("run", "{in}", "{out}", "--job", "../x"), 2, "--job"),
        (("run", "{in}", "{out}", "--workers", "0"), 2, "workers"),
        (("status", "{out}"), 2, "start a job with `streetblur run INPUT OUTPUT`"),
        (("verify", "{out}"), 2, "start a job with `streetblur run INPUT OUTPUT`"),
        (("explain", "x.jpg", "{in}"), 2, "no job"),
        (("rerun", "{in}", "--failed", "--quarantined"), 2, "--failed"),
        (("policy", "show", "mars"), 2, "eu"),
    ],
)
def test_errors_say_what_and_where_without_a_traceback(source, tmp_path, arguments, code, text):
    places = {"in": source, "out": tmp_path / "out"}
    done = streetblur(*(word.format(**places) for word in arguments))
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_rerun_keeps_to_the_limits_of_the_job_file(source, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(
        f"input: {source}\noutput: {tmp_path}/out\njob: small\nengine: local\n"
        "allow_empty: true\nlimits: {max_pixels: 1000}\n"
    )
    assert streetblur("run", "--job-file", job).returncode == 3
    again = streetblur("rerun", "--job-file", job, "--quarantined")
    assert (again.returncode, "6 images in this run" in again.stdout) == (3, True), again.stderr
    assert files(tmp_path / "out") == {}
    status = json.loads(streetblur("status", "--job-file", job, "--json").stdout)
    assert status[0]["tally"]["quarantined"] == 6


def test_an_incomplete_job_is_told_what_helps(source, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "stray.txt").write_text("nobody published this")
    done = run_local(source, output)
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert told.startswith("exit code 4: incomplete; take what no job has published (unaccounted)")
    assert "run the" not in told


def test_flags_win_over_environment_over_file(source, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(f"input: {source}\noutput: {tmp_path}/from-file\njob: from-file\npolicy: eu\n")
    done = streetblur(
        *("run", "--job-file", job, "--dry-run", "--job", "from-flag"),
        STREETBLUR_OUTPUT=str(tmp_path / "from-env"),
    )
    assert done.returncode == 0, done.stderr
    assert "from-flag" in done.stdout
    assert "from-env" in done.stdout
    assert "eu" in done.stdout


def test_a_wrong_field_in_a_job_file_is_named(tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("input: a\noutput: b\nshards: 3\n")
    done = streetblur("run", "--job-file", job)
    assert done.returncode == 2
    assert "shards" in done.stderr
    assert "job.yaml" in done.stderr


def test_the_policy_that_is_shown_is_accepted(source, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(streetblur("policy", "show", "eu").stdout)
    assert run_local(source, tmp_path / "out", "--policy", path).returncode == 0


def test_log_lines_are_json_and_hold_no_secret(source, tmp_path):
    (source / "bad.jpg").write_text("text")
    done = run_local(source, tmp_path / "out", "--log-format", "json")
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    bad = [line["image"] for line in lines if "image" in line]
    assert [one["key"] for one in bad] == ["bad.jpg"]
    last = lines[-1]
    assert (last["message"], last["exit_code"], last["complete"]) == ("finished", 3, True)
    assert last["tally"]["quarantined"] == 1
    assert SECRET not in done.stderr + done.stdout


def test_an_error_is_the_last_line_in_the_form_of_the_others(source, tmp_path):
    arguments = (source, tmp_path / "out", "--policy", "mars")
    lines = run_local(*arguments, "--log-format", "json").stderr.splitlines()
    last = json.loads(lines[-1])
    assert (last["level"], last["exit_code"]) == ("ERROR", 2)
    assert "mars" in last["message"]
    assert run_local(*arguments, "--log-format", "text").stderr.startswith("error: mars")


def test_log_lines_are_json_also_while_models_are_fetched(source, tmp_path):
    done = streetblur(
        *("run", source, tmp_path / "out", "--engine", "local", "--allow-empty"),
        STREETBLUR_MODEL_REPOSITORY=str(tmp_path / "models"),
    )
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert [one for one in messages if "licence" in one] != []


def test_verbose_names_every_picture(source, tmp_path):
    done = run_local(source, tmp_path / "out", "--log-format", "text", "--verbose")
    assert done.returncode == 0, done.stderr
    for key in files(tmp_path / "out"):
        assert f"DEBUG published image={{'key': '{key}'" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_says_how_to_go_on_and_goes_on(tmp_path, number):
    source, output = tmp_path / "in", tmp_path / "out"
    pictures(source, 60, size=(640, 480))
    arguments = ["run", str(source), str(output), "--job", "stop", "--workers", "1"]
    process = subprocess.Popen(
        [*command(), *arguments, "--allow-empty"],
        env=environment(STREETBLUR_SHARD_SIZE="4"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not files(output) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    last = json.loads(err.splitlines()[-1])
    assert last["exit_code"] == 130
    assert f"streetblur {' '.join(arguments)}" in last["message"]
    assert "Traceback" not in err
    done = streetblur(*arguments, "--engine", "local", "--allow-empty")
    assert done.returncode == 0, done.stderr
    assert len(files(output)) == 60
