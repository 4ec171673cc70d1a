"""Open a dataset, read windows of it, fit, forecast and score; print the peak memory after each step as JSON.

Run as a script: `paper_scale.py DATASET OUT MODEL WINDOWS`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import tipl_bench
from tipl_bench.benchmark.worker.usage import descendants


class Memory:
    """Resident memory of this process and its descendants, sampled: each one's peak, and the peak of their sum."""

    def __init__(self) -> None:
        self.own = self.largest_child = self.together = 0
        self.ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ended.wait(0.02):
            own, *children = (resident(process) for process in (os.getpid(), *descendants(os.getpid())))
            self.own, self.largest_child = max(self.own, own), max(self.largest_child, *children, 0)
            self.together = max(self.together, own + sum(children))


def resident(process: int) -> int:
    """Bytes; 0 of a process that has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(folder: str, out: str, model: str, windows: int) -> None:
    steps: dict[str, dict[str, float]] = {}
    started, memory = time.monotonic(), Memory()

    def step(name: str) -> None:
        nonlocal started
        steps[name] = {"own": memory.own, "child": memory.largest_child, "together": memory.together}
        steps[name]["seconds"] = time.monotonic() - started
        started = time.monotonic()

    dataset = tipl_bench.load_dataset(folder)
    step("open")
    spread = dataset.windows(context=20, horizon=10, stride=97)
    for number in range(0, len(spread), 7):
        assert spread[number]["context"].shape == (20, dataset.layout.parameter_count)
    step("windows")
    run = tipl_bench.run(model, dataset, out=out, device="cpu", limit=windows, returns=False)
    step("fit, forecast, score")
    wpe = run.windows.groupby("horizon")["wpe"].mean()
    cost = run.record.cost.model_dump()
    document = {"bytes": dataset.size.bytes, "windows": len(run.windows) // 10, "steps": steps, "cost": cost}
    print(json.dumps(document | {"wpe": wpe.tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
