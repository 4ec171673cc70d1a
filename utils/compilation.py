"""Compiled functions whose machine code is kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function with numba, without the interpreter's lock, and keep its code in numba's cache.

    The cache is optional. Each process compiles anew, which takes seconds, where numba finds no folder that it can
    write (a package and a home of another user; `NUMBA_CACHE_DIR` names a folder), or where the folder is full or its
    files are damaged.
    """
    try:
        Path.home()  # raises for a user without one, for whom numba would create a folder "~" wherever this runs
        dispatcher = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder
        return njit(nogil=True)(function)
    cache: Any = getattr(dispatcher, "_cache", None)  # numba has no public place for this
    for name in ("load_overload", "save_overload"):
        if hasattr(cache, name):
            setattr(cache, name, _optional(getattr(cache, name)))
    return dispatcher


def _optional(access: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(access)
    def attempt(*arguments: Any) -> Any:
        try:
            return access(*arguments)
        except Exception:  # damaged files raise anything
            return None

    return attempt
