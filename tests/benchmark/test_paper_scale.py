"""Runs on datasets of the paper's size: fitted, forecast and scored in less than 2 GiB, both processes together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import paper_scale
from helpers.sparse_datasets import LAYOUT, write_sparse

LIMIT = 2 << 30
"""Bytes."""
WHOLE = (50, 4881)
"""Trials and checkpoints of the paper's HalfCheetah dataset: 70 GB."""
PART = (10, 701)
"""2 GB."""
MOVING = 30

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc"),
]


def measured(folder, out, model, windows):
    """What `helpers.paper_scale` prints, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line = [sys.executable, paper_scale.__file__, str(folder), str(out), model, str(windows)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", ["autoregression", "linear"])
def test_a_dataset_of_gigabytes_takes_the_memory_of_a_few_windows(model, tmp_path):
    dataset = write_sparse(tmp_path / "set", *PART, moving=MOVING)
    assert dataset.size.bytes > 2e9
    found = measured(dataset.folder, tmp_path / "run", model, 60)
    assert max(step["together"] for step in found["steps"].values()) < LIMIT
    assert len(found["wpe"]) == 10
    assert np.isfinite(found["wpe"]).all()
    assert min(found["wpe"]) > 0
    assert dataset.layout.parameter_count == LAYOUT.parameter_count == 71_948


@pytest.mark.skipif("TIPL_BENCH_PAPER_SCALE" not in os.environ, reason="an hour; TIPL_BENCH_PAPER_SCALE=1 runs it")
def test_the_papers_seventy_gigabytes_take_no_more(tmp_path):
    dataset = write_sparse(tmp_path / "set", *WHOLE, moving=MOVING)
    assert dataset.size.bytes > 70e9
    found = measured(dataset.folder, tmp_path / "run", "autoregression", 300)
    assert max(step["together"] for step in found["steps"].values()) < LIMIT
