"""Log lines say the same to people and to machines."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from pipeline.logs import LogFormat, configure_logging, use_bar

log = logging.getLogger("pipeline.test")


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    """What was configured before holds again afterwards."""
    root, names = logging.getLogger(), ("pipeline", "serving", "evaluation")
    before = (list(root.handlers), root.level, [logging.getLogger(n).level for n in names])
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name, level in zip(names, before[2], strict=True):
        logging.getLogger(name).setLevel(level)


def test_fields_are_in_json_and_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", verbose=False)
    log.info("%d planned", 3, extra={"revision": 1})
    assert json.loads(capsys.readouterr().err)["revision"] == 1
    configure_logging("text", verbose=False)
    log.info("%d planned", 3, extra={"phase": "planned", "revision": 1})
    assert capsys.readouterr().err == "INFO 3 planned revision=1\n"


def test_what_a_library_adds_to_every_record_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make = logging.getLogRecordFactory()

    def with_more(*arguments: object, **more: object) -> logging.LogRecord:
        record = make(*arguments, **more)
        record._ray_timestamp_ns = 1
        return record

    logging.setLogRecordFactory(with_more)
    try:
        configure_logging("text", verbose=False)
        log.info("planned", extra={"revision": 1})
    finally:
        logging.setLogRecordFactory(make)
    assert capsys.readouterr().err == "INFO planned revision=1\n"


def test_a_percent_sign_in_a_field_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text", verbose=False)
    log.warning("not published", extra={"image": "a%sb.jpg"})
    assert capsys.readouterr().err == "WARNING not published image=a%sb.jpg\n"


def test_lines_follow_stderr_to_where_a_bar_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("text", verbose=False)
    above_the_bar = io.StringIO()
    monkeypatch.setattr(sys, "stderr", above_the_bar)
    log.info("line")
    assert above_the_bar.getvalue() == "INFO line\n"


@pytest.mark.parametrize(
    ("log_format", "verbose", "terminal", "bar"),
    [
        ("auto", False, True, True),
        ("auto", False, False, False),
        ("auto", True, True, False),
        ("text", False, True, False),
        ("json", False, True, False),
    ],
)
def test_a_bar_is_for_terminals_unless_lines_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    log_format: LogFormat,
    verbose: bool,
    terminal: bool,
    bar: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert use_bar(log_format, verbose=verbose) is bar
