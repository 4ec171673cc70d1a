"""The local store: where datasets stand on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from ..utils.errors import DatasetError

HOME_VARIABLE = "TIPL_BENCH_HOME"


def home() -> Path:
    """The store's root: `TIPL_BENCH_HOME`, or the operating system's cache directory."""
    override = os.environ.get(HOME_VARIABLE)
    return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("tipl-bench"))


def dataset_folder(name: str) -> Path:
    """Where the finished dataset `name` stands, if it is here."""
    return home() / "datasets" / name


def collecting_folder(name: str) -> Path:
    """Where the dataset `name` grows until it is finished."""
    return home() / "collecting" / name


@contextlib.contextmanager
def exclusive(name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the store's lock on one dataset; the lock goes with the process, however it ends.

    Parameters
    ----------
    name
        The dataset.
    wait
        Wait for another process that holds it, rather than raise.

    Raises
    ------
    DatasetError
        If another process holds it.
    """
    path = home() / "locks" / f"{name.replace('/', '--')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise DatasetError(
            f"Another process is working on {name} in {home()} (lock {path}); wait for it, or set {HOME_VARIABLE} to "
            "another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()
