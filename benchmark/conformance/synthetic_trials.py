"""Synthetic trials of a small policy: smooth curves with autocorrelated noise, five checkpoints an iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...registry.trial import Trial, trial_name, trial_tensors
from ...rl import PolicyLayout
from ...utils.tensorfile import create_tensors

LAYOUT = PolicyLayout(4, (3, 3), 1)
CHECKPOINTS = 81
PER_ITERATION = 5


def write_trials(folder: Path, count: int) -> list[Trial]:
    """Write trials of 81 checkpoints and 32 parameters, the same at every call."""
    return [_write(folder / trial_name(index), index) for index in range(count)]


def _write(path: Path, index: int) -> Trial:
    steps = np.arange(CHECKPOINTS - 1)
    iteration = np.concatenate([[0], steps // PER_ITERATION + 1])
    values: dict[str, Any] = {
        "weights": _trajectory(np.random.default_rng([2503, 4074, index])),
        "observation_mean": 0.0,
        "observation_variance": 1.0,
        "observation_count": iteration * 2048.0,
        "environment_steps": iteration * 2048,
        "iteration": iteration,
        "epoch": np.concatenate([[0], 2 * (steps % PER_ITERATION) + 2]),
        "learning_rate": np.full(CHECKPOINTS, 3e-4),
        "episodic_return": np.concatenate([[np.nan], np.minimum(1000.0, 10.0 + 40.0 * steps)]),
    }
    tensors = trial_tensors(CHECKPOINTS, LAYOUT.parameter_count, LAYOUT.observation_size)
    for name, rows in create_tensors(path, tensors).items():
        rows[:] = values[name]
        rows.flush()
    return Trial(path, index, LAYOUT, CHECKPOINTS)


def _trajectory(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Weights [T, P] along a curve between two points, plus a random walk with autocorrelated steps."""
    shape = (CHECKPOINTS, LAYOUT.parameter_count)
    start, displacement = rng.normal(size=(2, shape[1])) * 0.5
    steps = rng.normal(size=shape) * 0.01
    for t in range(1, len(steps)):
        steps[t] += 0.6 * steps[t - 1]
    curve = 1 - np.exp(-3 * np.arange(CHECKPOINTS)[:, None] / CHECKPOINTS)
    return np.asarray(start + displacement * curve + steps.cumsum(axis=0))
