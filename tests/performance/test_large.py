"""Opening, indexing and one epoch of windows over a synthetic sparse dataset of 20 GB, in constant memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.performance
SIZES = (2 * 10**9, 20 * 10**9)
SCRIPT = Path(__file__).parent / "large_dataset.py"


@pytest.mark.benchmark(group="20 GB: opening, indexing, one epoch of windows")
def test_memory_does_not_grow_with_the_dataset(timed, tmp_path):
    results = {}

    def work():
        folder = tmp_path / f"of-{len(results)}"
        size = SIZES[min(len(results), len(SIZES) - 1)]
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(folder), str(size)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        results[len(results)] = json.loads(done.stdout)

    work()
    timed("a process that does all three", work, 1, "runs/s")
    small, large = results[0], results[len(results) - 1]
    for name, (count, seconds, memory) in large.items():
        print(f"\n{name}: {count:,.0f} in {seconds:.3f} s, peak memory {memory:,.0f} MiB", end="")
    assert large["epoch"][0] > 0.98 * SIZES[1]
    index = large["index"][0] * 100 / 2**20  # the index is the one thing that grows: some columns a checkpoint
    assert large["epoch"][2] < small["epoch"][2] + 64 + index
