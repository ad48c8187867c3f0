"""Originals go unencrypted to no other machine, unless somebody says so."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.access import access_of, spec_of
from pipeline.errors import ConfigurationError
from pipeline.job import load_spec
from pipeline.operations import resume_command
from pipeline.storage import AccessDenied, ObjectStore, StorageSettings, open_store

ELSEWHERE = "http://storage.example.test:9000"


class Listener:
    """A proxy that notes each request it is given and denies it: what would leave the machine."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(403)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to print."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """The way out of this machine for plain http, and credentials to send along."""
    for name in [each for each in os.environ if each.startswith(("AWS_", "STREETBLUR_STORAGE"))]:
        monkeypatch.delenv(name)
    listener = Listener()
    values = {
        "http_proxy": listener.url,
        "no_proxy": "",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield listener
    listener.close()


def store(**settings: object) -> ObjectStore:
    made = StorageSettings(region="us-east-1", max_attempts=1, **settings)  # type: ignore[arg-type]
    return open_store("s3://bucket/p", settings=made)


def test_a_plain_endpoint_elsewhere_is_refused_before_anything_is_sent(proxy: Listener) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store(endpoint_url=ELSEWHERE).ensure_root()
    assert caught.value.where == "endpoint_url"
    assert "http://storage.example.test is not encrypted" in caught.value.what
    assert "--insecure" in caught.value.fix
    assert proxy.asked == []


def test_a_plain_endpoint_elsewhere_is_used_when_somebody_says_so(proxy: Listener) -> None:
    with pytest.raises(AccessDenied):
        store(endpoint_url=ELSEWHERE, insecure=True).ensure_root()
    assert proxy.asked
    assert proxy.asked[0].startswith(f"{ELSEWHERE}/bucket?")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_the_environment_is_refused_without_its_password(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://user:hidden@storage.example.test")
    with pytest.raises(ConfigurationError, match=f"{name}: .*is not encrypted") as caught:
        store().ensure_root()
    assert "hidden" not in str(caught.value)
    assert proxy.asked == []


def test_an_endpoint_of_an_aws_profile_is_refused(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {ELSEWHERE}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(ConfigurationError, match="profile"):
        store().ensure_root()
    assert proxy.asked == []


def test_the_anonymous_check_is_refused_too(proxy: Listener) -> None:
    with pytest.raises(ConfigurationError, match="not encrypted"):
        store(endpoint_url=ELSEWHERE).answers_anonymous_reads("a")
    assert proxy.asked == []


def test_loopback_behind_a_proxy_is_elsewhere(proxy: Listener) -> None:
    with pytest.raises(ConfigurationError, match="proxy"):
        store(endpoint_url="http://127.0.0.1:1").ensure_root()
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost:9000", True),
        ("http://127.8.9.10", True),
        ("http://[::1]:9000", True),
        ("https://storage.example.test", True),
        ("http://localhost.example.test", False),
        ("http://127.0.0.1.example.test", False),
        ("http://0.0.0.0:9000", False),
        ("http://10.0.0.1", False),
        ("http://[fe80::1]", False),
    ],
)
def test_what_stays_on_this_machine_or_is_encrypted_is_allowed(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch, url: str, allowed: bool
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    opened = store(endpoint_url=url)
    if allowed:
        assert opened.connection.client.meta.endpoint_url == url  # type: ignore[attr-defined]
    else:
        with pytest.raises(ConfigurationError, match="not encrypted"):
            _ = opened.connection.client  # type: ignore[attr-defined]


def test_an_address_that_is_none_is_told_without_it(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "user:hidden@storage")
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL: ") as caught:
        store().ensure_root()
    assert "hidden" not in str(caught.value)


def test_the_consent_comes_from_flag_environment_or_job_file(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("input: a\noutput: b\nstorage: {insecure: true}\n")
    assert load_spec(job).storage.insecure
    assert load_spec(None, input="a", output="b").storage.insecure is False
    flags = spec_of(None, ELSEWHERE, True, input="a", output="b")
    assert (flags.storage.endpoint_url, flags.storage.insecure) == (ELSEWHERE, True)
    assert "--insecure" in resume_command(flags, ["run", "a", "b", "--insecure"])
    assert access_of("b", None, None, None, insecure=True).storage.insecure
    monkeypatch.setenv("STREETBLUR_STORAGE__INSECURE", "true")
    assert load_spec(None, input="a", output="b").storage.insecure
    assert access_of("b", None, None, ELSEWHERE).storage.insecure
