"""`tipl-bench --help` beside a bare interpreter and an interpreter that imports click."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

pytestmark = pytest.mark.performance


@pytest.mark.benchmark(group="command line: calls")
@pytest.mark.parametrize(
    ("name", "arguments", "seconds"),
    [
        ("python, importing click (limit)", ["-c", "import click"], math.inf),
        ("tipl-bench --help", ["-m", "tipl_bench", "--help"], 0.3),
        ("python, importing torch (what --help avoids)", ["-c", "import torch"], math.inf),
    ],
)
def test_start(name, arguments, seconds, timed):
    command = [sys.executable, *arguments]
    rate = timed(
        name, lambda: subprocess.run(command, check=True, capture_output=True), 1000, "calls / 1000 s", rounds=5
    )
    assert 1000 / rate < seconds
