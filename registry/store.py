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


def cache_root() -> Path:
    """The root of everything kept on this machine: `TIPL_BENCH_HOME`, or the operating system's cache directory."""
    override = os.environ.get(HOME_VARIABLE)
    return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("tipl-bench"))


def dataset_folder(name: str) -> Path:
    """Where the finished dataset `name` stands, if it is here."""
    return cache_root() / "datasets" / name


def staging_folder(name: str) -> Path:
    """Where the dataset `name` is collected until it is finished."""
    return cache_root() / "collecting" / name


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
    path = cache_root() / "locks" / f"{name.replace('/', '--')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise DatasetError(
            f"Another process is working on {name} in {cache_root()} (lock {path}); wait for it, or set "
            f"{HOME_VARIABLE} to another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()
