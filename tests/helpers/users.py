"""Users for whom files' modes count; for root they do not."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
"""A user and a group without rights."""
IGNORE_MODES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h."""


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Let files' modes count for this thread while the block lasts, as they do for everyone but root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, kept = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    assert libc.capget(header, kept) == 0
    effective, *others = struct.unpack("6I", kept.raw)
    assert libc.capset(header, struct.pack("6I", effective & ~IGNORE_MODES, *others)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, kept.raw) == 0


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Be a user without rights while the block lasts; only root can."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody but root write below a folder, and everybody read, while the block lasts."""
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def public_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store in a folder that every user may search, which pytest's are not."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="tipl-bench-test-"))
    folder.chmod(0o755)
    monkeypatch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
    yield folder / "store"
    shutil.rmtree(folder)
