"""The noise secret: where it comes from, and that it shows nowhere."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import ConfigurationError
from pipeline.secret import NoiseSecret, fresh_secret, read_secret
from tests.integration.jobs import pictures, run_stubbed

GOOD = "0123456789abcdef" * 4


def test_from_environment_and_from_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(GOOD + "\n")
    path.chmod(0o600)
    from_file = read_secret({"STREETBLUR_SECRET_FILE": str(path)})
    from_environment = read_secret({"STREETBLUR_SECRET": GOOD})
    assert from_file is not None
    assert from_environment is not None
    assert from_file.id == from_environment.id
    assert read_secret({}) is None


@pytest.mark.parametrize("value", ["short", "z" * 64, "0" * 64, GOOD + "00"])
def test_a_weak_or_malformed_secret_is_refused_without_being_shown(value):
    with pytest.raises(ConfigurationError) as caught:
        read_secret({"STREETBLUR_SECRET": value})
    assert value not in str(caught.value)


def test_a_file_open_to_others_is_refused(tmp_path):
    path = tmp_path / "secret"
    path.write_text(GOOD)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_secret({"STREETBLUR_SECRET_FILE": str(path)})


def test_it_is_neither_shown_nor_pickled():
    secret = NoiseSecret(bytes.fromhex(GOOD))
    assert GOOD not in repr(secret) + str(secret) + secret.id
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_fresh_secrets_differ():
    assert fresh_secret().id != fresh_secret().id


def test_a_wrong_secret_stops_a_run_before_it_does_anything(tmp_path, monkeypatch):
    pictures(tmp_path / "in", 1)
    monkeypatch.setenv("STREETBLUR_SECRET", "abc")
    with pytest.raises(ConfigurationError):
        run_stubbed(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
