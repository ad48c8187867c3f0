"""Loops over bits and pixels, compiled to machine code by numba.

What is compiled is kept beside the source, or in the user's cache folder where that cannot be
written; where neither can, each process compiles anew. Compiled functions run without the GIL and
use no relaxed arithmetic: the same numbers on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Number = Any
"""A scalar inside a compiled function: numba infers its type from what it is made of."""


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``function`` as machine code from its first call on."""
    return _jit(function, inline="never")


def inlined(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``function`` as machine code, to be called from other compiled functions alone."""
    return _jit(function, inline="always")


def _jit(function: Callable[Arguments, Result], inline: str) -> Callable[Arguments, Result]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "inline": inline}
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written
        made = numba.njit(**options)(function)
    return made  # type: ignore[no-any-return]
