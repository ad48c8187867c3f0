"""Loops over bits and pixels, compiled to machine code by numba.

What is compiled is kept beside the source, or in the user's cache folder where that cannot be
written (``NUMBA_CACHE_DIR`` names another); where neither can, each process compiles anew. The
folder is named after all sources that compile anything: machine code holds parts of other modules,
and numba looks at a function's own file alone. Compiled functions run without the GIL and use no
relaxed arithmetic: the same numbers on every machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Number = Any
"""A scalar inside a compiled function: numba infers its type from what it is made of."""


_config: Any = numba.config
_PACKAGE = Path(__file__).parent
_BESIDE_SOURCE = _PACKAGE / "__pycache__"
_PREFIX = "compiled-"


def digest_of_sources(package: Path) -> str:
    """What tells one state of all sources in ``package`` that compile something from another."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if b"pipeline.compiled" in source:
            found.update(path.relative_to(package).as_posix().encode() + b"\0" + source)
    return found.hexdigest()[:16]


def _cache_folder() -> Path:
    name = _PREFIX + digest_of_sources(_PACKAGE)
    if _config.CACHE_DIR:
        return Path(_config.CACHE_DIR) / name
    if os.access(_BESIDE_SOURCE if _BESIDE_SOURCE.exists() else _PACKAGE, os.W_OK):
        return _BESIDE_SOURCE / name
    own = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(own) / "streetblur" / name


CACHE_FOLDER = _cache_folder()
_config.CACHE_DIR = str(CACHE_FOLDER)


def forget_old_code() -> None:
    """Remove what was compiled beside the source from other states of it."""
    for folder in _BESIDE_SOURCE.glob(f"{_PREFIX}*"):
        if folder != CACHE_FOLDER:
            shutil.rmtree(folder, ignore_errors=True)


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``function`` as machine code from its first call on."""
    return _jit(function, inline="never")


def inlined(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``function`` as machine code, to be called from other compiled functions alone."""
    return _jit(function, inline="always")


def either_way(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``function`` as it is, which compiled functions can call, too.

    For a few sums: to call machine code from Python costs more than they do.
    """
    return numba.extending.register_jitable(function)


def _jit(function: Callable[Arguments, Result], inline: str) -> Callable[Arguments, Result]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "inline": inline}
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written
        made = numba.njit(**options)(function)
    return made  # type: ignore[no-any-return]
