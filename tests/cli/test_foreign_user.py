"""The whole command as a user who can write nothing but the folder at hand, as in a container with a foreign uid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.users import NOBODY

Typed = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def typed() -> Iterator[Typed]:
    """Type a command as a user without rights or home, in ASCII, at 60 columns, without a terminal."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    folder = Path(tempfile.mkdtemp(prefix="tb-"))  # pytest's own may not be searched by others
    folder.chmod(0o755)
    for name, owner in (("store", 0), ("work", NOBODY)):
        (folder / name).mkdir()
        os.chown(folder / name, owner, owner)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONIOENCODING": "cp1252",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C",
        "COLUMNS": "60",
        "HOME": "/",
        "TIPL_BENCH_HOME": str(folder / "store"),
        "OMP_NUM_THREADS": "1",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tipl_bench", *words],
            capture_output=True,
            encoding="cp1252",
            env=environment,
            cwd=folder / "work",
            stdin=subprocess.DEVNULL,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
        )

    try:
        try:
            found = run("--version")
        except PermissionError:
            pytest.skip("the interpreter cannot be read by others")
        if found.returncode:
            pytest.skip("the interpreter or the package cannot be read by others")
        yield run
    finally:
        shutil.rmtree(folder)


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a command printed, which holds no traceback and fits the width."""
    lines = (done.stdout + done.stderr).splitlines()
    assert not [line for line in lines if "Traceback" in line or "atplotlib" in line]
    assert not [line for line in lines if len(line) > 60], lines
    return lines


def test_a_run_is_made_and_verified_where_only_the_run_folder_can_be_written(typed):
    limited = ("--env", "InvertedPendulum-v4", "--no-returns", "--limit", "4")
    made = typed("run", "--model", "persistence", *limited, "--out", "here")
    lines = lines_of(made)
    assert made.returncode == 0, lines
    assert "written: here" in lines
    assert "figure: here/figure.svg" in lines
    assert "returns " not in " ".join(line for line in lines if line.startswith("cost:"))
    verified = typed("verify", "here")
    assert verified.returncode == 0, lines_of(verified)
    assert "numbers recomputed from the forecasts; all agree" in " ".join(lines_of(verified))
