"""`tipl-bench --help` beside a bare interpreter and an interpreter that imports click."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.performance


@pytest.mark.benchmark(group="command line: calls")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("python, importing click (limit)", ["-c", "import click"]),
        ("tipl-bench --help", ["-m", "tipl_bench", "--help"]),
        ("python, importing torch (what --help avoids)", ["-c", "import torch"]),
    ],
)
def test_start(name, arguments, timed):
    command = [sys.executable, *arguments]
    timed(name, lambda: subprocess.run(command, check=True, capture_output=True), 1000, "calls per 1000 s", rounds=5)
