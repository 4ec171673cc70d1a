"""Another user of the machine, for whom files' modes count; for root they do not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import tipl_bench

NOBODY = 65534
"""A user and a group without rights."""


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be another user while the block lasts, if this is root.

    Where that user cannot read the package the test is skipped, but fails in continuous integration (`CI=1`).
    """
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        for package in (tipl_bench, numpy):
            try:
                Path(str(package.__file__)).read_bytes()
            except PermissionError:
                problem = f"{package.__file__}: no other user may read it, and this test is one"
                pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
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
