"""What a job is: flags over environment over file, and what wrong ones say."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime

import pytest

from pipeline.access import access_of, spec_of
from pipeline.errors import ConfigurationError
from pipeline.job import (
    check_job_name,
    default_job_name,
    load_spec,
    warn_of_unknown_settings,
)
from pipeline.operations import resume_command
from pipeline.overrides import load_overrides
from pipeline.policy import parse_policy

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("STREETBLUR_"):
            monkeypatch.delenv(name)


def test_flags_win_over_environment_and_environment_over_file(tmp_path, monkeypatch):
    path = tmp_path / "job.yaml"
    path.write_text(
        "input: a\noutput: b\nworkers: 1\nshard_size: 10\nwave_images: 20\n"
        "storage: {region: x, max_attempts: 7}\n"
    )
    monkeypatch.setenv("STREETBLUR_SHARD_SIZE", "11")
    monkeypatch.setenv("STREETBLUR_WORKERS", "2")
    monkeypatch.setenv("STREETBLUR_STORAGE__REGION", "y")
    spec = load_spec(path, workers=3)
    assert (spec.workers, spec.shard_size, spec.wave_images) == (3, 11, 20)
    assert (spec.storage.region, spec.storage.max_attempts) == ("y", 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("input: a\noutput: b\nworkers: many\n", "workers"),
        ("input: a\noutput: b\nwrokers: 2\n", "wrokers"),
        ("input: a\noutput: b\nstorage: {max_attempts: 0}\n", "max_attempts"),
        ("input: a\noutput: b\nworkers: 2\nworkers: 3\n", "'workers' stands twice"),
        ("input: a\noutput: b\nworkers: 2\nmin_workers: 3\n", "min_workers 3 exceeds workers 2"),
        ("input: a\n", "OUTPUT is missing"),
        ("input: a\noutptu: b\n", "OUTPUT is missing; field outptu"),
        ("[a, b]\n", "mapping"),
        ("input: [\n", "YAML"),
    ],
)
def test_a_wrong_job_file_is_told_with_its_name(tmp_path, text, expected):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_spec(path)
    assert expected in str(caught.value)
    assert "job.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"input": "a"}, "OUTPUT is missing. Name it on the command line, as `output` in a job "),
        ({"output": "b"}, "INPUT is missing. Name it on the command line, as `input` in a job "),
        ({}, "INPUT and OUTPUT are missing. Name them on the command line"),
    ],
)
def test_a_place_that_nobody_named_is_asked_for_in_the_words_of_the_help(flags, expected):
    with pytest.raises(ConfigurationError) as caught:
        load_spec(None, **flags)
    assert expected in str(caught.value)


def test_an_output_that_nobody_named_is_asked_for_where_a_job_exists_too():
    with pytest.raises(ConfigurationError, match="OUTPUT is missing"):
        access_of(None, None, None, None)


def test_a_job_file_says_where_a_job_is_and_flags_win(tmp_path, monkeypatch):
    path = tmp_path / "job.yaml"
    path.write_text(
        "input: a\noutput: b\nworkspace: w\njob: j\nstorage: {region: x, max_attempts: 7}\n"
    )
    monkeypatch.setenv("STREETBLUR_WORKSPACE", "from-environment")
    access = access_of("from-flag", None, None, None, job_file=path)
    assert (access.output, access.workspace, access.job) == ("from-flag", "from-environment", "j")
    assert (access.storage.region, access.storage.max_attempts) == ("x", 7)


@pytest.mark.parametrize("name", ["STREETBLUR_STORAGE", "STREETBLUR_STORAGE__MAX_ATTEMPTS"])
def test_a_wrong_environment_is_told_without_a_traceback(monkeypatch, name):
    monkeypatch.setenv(name, "foo")
    with pytest.raises(ConfigurationError, match=r"(?i)storage"):
        load_spec(None, input="a", output="b")
    with pytest.raises(ConfigurationError, match=r"(?i)storage"):
        access_of("b", None, None, None)


def test_a_typo_in_the_environment_is_named(caplog):
    given = {
        "STREETBLUR_POLCY": "us",
        "STREETBLUR_POLICY": "us",
        "STREETBLUR_STORAGE__REGION": "x",
        "STREETBLUR_LIMITS__MAX_PIXELS": "1",
        "STREETBLUR_SECRET": "x",
        "HOME": "/",
    }
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_settings(given)
    (record,) = caplog.records
    assert "STREETBLUR_POLCY" in record.getMessage()
    assert "STREETBLUR_POLICY meant" in record.getMessage()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_of_the_workers_and_servers_exclude_each_other(tmp_path, runtime):
    path = tmp_path / "job.yaml"
    path.write_text(f"input: a\noutput: b\nruntime: {runtime}\n")
    servers = {"urls": ("grpc://127.0.0.1:8001",)}
    assert load_spec(path).runtime == runtime
    with pytest.raises(ConfigurationError, match=f"{runtime} would run the models in the workers"):
        load_spec(path, triton=servers)
    assert load_spec(path, triton=servers, runtime="auto").triton.urls == servers["urls"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"model": ["face_detector=x"]}, "--model face_detector=x: this is no NAME=VERSION, where"),
        ({"model": ["face_detector"]}, "--model face_detector: this is no NAME=VERSION, where"),
        ({"shadow": ["face_detector:x=1"]}, "--shadow face_detector:x=1: this is no NAME:VERSION="),
    ],
)
def test_a_version_that_is_no_number_is_told_as_it_was_typed(flags, told):
    with pytest.raises(ConfigurationError) as caught:
        spec_of(None, None, None, input="a", output="b", **flags)
    assert told in str(caught.value)
    assert "VERSION is a number" in str(caught.value)


def test_the_same_places_give_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = default_job_name("in", "out", NOW)
    assert name == default_job_name(str(tmp_path / "in"), "./out/", NOW)
    assert name != default_job_name("in", "out2", NOW)
    assert default_job_name("s3://b/in/", "s3://b/out", NOW) == default_job_name(
        "s3://b/in", "s3://b/out", NOW
    )


def test_the_command_to_go_on_is_what_was_typed_with_the_name_of_the_job():
    spec = load_spec(None, input="my in", output="out")
    typed = ["run", "my in", "out", "--overrides", "boxes.yaml", "--engine", "local"]
    told = resume_command(spec, typed)
    assert told.startswith("streetblur run 'my in' out --overrides boxes.yaml --engine local --job")
    assert spec.job_name in told
    named = load_spec(None, input="a", output="b", job="j")
    assert resume_command(named, ["rerun", "b"]) == "streetblur rerun b"


def test_a_key_that_stands_twice_is_refused_wherever_people_write(tmp_path):
    path = tmp_path / "boxes.yaml"
    box = "[{label: face, xyxy: [0, 0, 1, 1]}]"
    path.write_text(f"a.jpg: {box}\na.jpg: {box}\n")
    with pytest.raises(ConfigurationError, match=r"'a\.jpg' stands twice"):
        load_overrides(str(path))
    with pytest.raises(ConfigurationError, match="'face' stands twice"):
        parse_policy("name: x\nface: {threshold: 0.2}\nface: {threshold: 0.9}\n", "here")


@pytest.mark.parametrize("name", ["lease", "tmp", "a..b", "a/b", "", ".a", "x" * 101, "ü"])
def test_a_job_name_makes_one_folder_of_its_own(name):
    with pytest.raises(ConfigurationError, match="lease and tmp are taken"):
        check_job_name(name)
