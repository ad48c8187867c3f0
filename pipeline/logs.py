"""Log lines: plain text for people, one JSON object a line for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["auto", "text", "json"]


def use_json(log_format: LogFormat) -> bool:
    """Whether to write JSON: when asked, or by itself when stderr is no terminal."""
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


def configure_logging(log_format: LogFormat, *, verbose: bool) -> None:
    """Send log lines to stderr in the form asked for."""
    handler = logging.StreamHandler(sys.stderr)
    if use_json(log_format):
        formatter: logging.Formatter = JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )
    else:
        formatter = logging.Formatter("%(levelname)s %(message)s")
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("pipeline", "serving", "evaluation"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
