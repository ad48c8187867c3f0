"""Log lines: plain text for people, one JSON object a line for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonFormatter
from rich.console import Console
from rich.markup import escape

LogFormat = Literal["auto", "text", "json"]

_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "phase"}


def use_json(log_format: LogFormat) -> bool:
    """Whether to write JSON: when asked, or by itself when stderr is no terminal."""
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


def use_bar(log_format: LogFormat, *, verbose: bool) -> bool:
    """Whether a bar shows the progress: on a terminal, unless lines are asked for."""
    return log_format == "auto" and not verbose and sys.stderr.isatty()


class TextFormatter(logging.Formatter):
    """``LEVEL message name=value ...``: what a JSON line says, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the fields that this record alone has."""
        more = {k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD and k[0] != "_"}
        if not more:
            return super().format(record)
        copy = logging.makeLogRecord(vars(record))
        copy.msg = " ".join([record.getMessage(), *(f"{k}={v}" for k, v in more.items())])
        copy.args = None
        return super().format(copy)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the time: a progress bar puts itself below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.stream = sys.stderr
        super().emit(record)


def writes_json() -> bool:
    """Whether log lines are JSON, as ``configure_logging`` was told."""
    handlers = logging.getLogger().handlers
    return any(isinstance(handler.formatter, JsonFormatter) for handler in handlers)


def say_last(text: str, *, label: str, exit_code: int) -> None:
    """Tell on stderr how a command ended, in the form its log lines have.

    Args:
        text: what is to be said.
        label: ``error`` or ``interrupted``.
        exit_code: the command's; a field of the JSON line.
    """
    level, style = (logging.ERROR, "bold red") if label == "error" else (logging.WARNING, "yellow")
    if writes_json():
        logging.getLogger(__name__).log(level, text, extra={"exit_code": exit_code})
        return
    console = Console(stderr=True, highlight=False)
    console.print(f"[{style}]{label}:[/] {escape(text)}", soft_wrap=True)


def configure_logging(log_format: LogFormat, *, verbose: bool) -> None:
    """Send log lines to stderr in the form asked for."""
    handler = StderrHandler()
    if use_json(log_format):
        formatter: logging.Formatter = JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )
    else:
        formatter = TextFormatter("%(levelname)s %(message)s")
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("pipeline", "serving", "evaluation"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
