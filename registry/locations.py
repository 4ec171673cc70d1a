"""Where catalogs and the store are on this machine; cheap to import, for the completion of names."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs

from ..utils.errors import DatasetError

HOME_VARIABLE = "TIPL_BENCH_HOME"
SHIPPED_CATALOG = Path(__file__).parent / "catalog.toml"


def cache_root() -> Path:
    """The root of everything kept on this machine: `TIPL_BENCH_HOME`, or the operating system's cache directory."""
    override = os.environ.get(HOME_VARIABLE)
    if override:
        try:
            return Path(override).expanduser()
        except RuntimeError as error:
            raise DatasetError(f"{HOME_VARIABLE}={override}: {error} Give an absolute path.") from None
    with contextlib.suppress(RuntimeError):
        root = Path(platformdirs.user_cache_dir("tipl-bench"))
        if root.is_absolute():
            return root
    # A user without a home has no cache directory. Below a file nothing is found and nothing can be written.
    return Path(os.devnull) / "tipl-bench"


def own_catalog() -> Path:
    """The catalog of this machine's own datasets, beside the store; it need not exist."""
    return cache_root() / "catalog.toml"
