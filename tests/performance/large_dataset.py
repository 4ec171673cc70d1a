"""Open, index and read one epoch of windows of a sparse dataset; print bytes, seconds and peak memory at each step."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import tipl_bench
from helpers.sparse_datasets import LAYOUT, write_sparse

TRIALS, PER_ITERATION = 5, 5


def main(folder: Path, size: int) -> None:
    """Do each step and tell."""
    iterations = round(size / TRIALS / (4 * LAYOUT.parameter_count) / PER_ITERATION)
    write_sparse(folder, TRIALS, 1 + PER_ITERATION * iterations)
    results: dict[str, list[float]] = {}

    def step(name: str, started: float, count: float) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        results[name] = [count, time.perf_counter() - started, memory]

    started = time.perf_counter()
    dataset = tipl_bench.load_dataset(str(folder))
    windows = dataset.windows(range(TRIALS), context=20, horizon=10, stride=30)
    step("open", started, sum(entry.size for entry in dataset.manifest.files))
    started = time.perf_counter()
    step("index", started, len(dataset.index()))
    windows[0]
    started = time.perf_counter()
    step("first window", started, 1)
    started, count = time.perf_counter(), 0
    for window in windows:
        count += window["context"].nbytes + window["target"].nbytes
    step("epoch", started, count)
    print(json.dumps(results))


main(Path(sys.argv[1]), int(sys.argv[2]))
