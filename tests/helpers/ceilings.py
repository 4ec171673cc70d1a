"""Branching ceilings of synthetic continuations, whose truth is known."""

from __future__ import annotations

import numpy as np
from tipl_bench.benchmark.ceiling.branching import summarise
from tipl_bench.benchmark.ceiling.document import BranchedWindow, CeilingDocument
from tipl_bench.benchmark.forecast.windows import EvaluationWindow

PARAMETERS, COPIES = 50, 8


def synthetic_document(noise, trials=20, horizon=4, **changes):
    """Continuations that drift by 1 a step and vary by `noise` times the root of the horizon."""
    rng, steps = np.random.default_rng(0), np.arange(1, horizon + 1)[:, None]
    windows = []
    for trial in range(trials):
        for origin in range(20, 25):
            start, direction = rng.normal(size=(2, PARAMETERS))
            future = np.cumsum(rng.normal(scale=noise, size=(COPIES + 1, horizon, PARAMETERS)), axis=1)
            moved = start + direction * steps + future
            stored = np.concatenate([start[None], moved[-1]])
            found = summarise(moved[:-1].astype(np.float32), stored.astype(np.float32), 0.0)
            windows.append(BranchedWindow.of(EvaluationWindow(trial, origin, "learning", origin % 5), found))
    facts = {"dataset": "toy/ppo-v1", "digest": "a" * 64, "protocol": 1, "copies": COPIES, "seed": 0}
    return CeilingDocument(**(facts | {"versions": {}, "cpu": "x", "windows": tuple(windows)} | changes))


def truth(noise, horizon=4):
    """The ceiling of those continuations, by horizon."""
    return [1 - h * noise**2 / (h**2 + h * noise**2) for h in range(1, horizon + 1)]
