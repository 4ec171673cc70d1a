"""Synthetic trials of a small policy whose future is known: half of the weights bend smoothly, half oscillate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...registry.trial import Trial, trial_name, trial_tensors
from ...rl import PolicyLayout
from ...utils.tensorfile import create_tensors

LAYOUT = PolicyLayout(4, (3, 3), 1)
CHECKPOINTS = 201
CURVED, PERIODIC = slice(0, None, 2), slice(1, None, 2)
"""Weights that only bend, and weights that repeat every third checkpoint besides: there, a forecast that is one
checkpoint early or late is worse than none."""
PER_ITERATION = 5


def write_trials(folder: Path, count: int) -> list[Trial]:
    """Write trials of 201 checkpoints and 32 parameters, the same at every call."""
    return [_write(folder / trial_name(index), index) for index in range(count)]


def _write(path: Path, index: int) -> Trial:
    steps = np.arange(CHECKPOINTS - 1)
    iteration = np.concatenate([[0], steps // PER_ITERATION + 1])
    values: dict[str, Any] = {
        "weights": _trajectory(np.random.default_rng([2503, 4074, index])),
        "observation_mean": np.sqrt(iteration)[:, None] * (0.01 * (index + 1)),
        "observation_variance": 1 / (1 + 0.01 * (index + 1) * iteration)[:, None],
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
    """Weights [T, P] along a curve between two points, half of them oscillating about it, with a little noise."""
    shape = (CHECKPOINTS, LAYOUT.parameter_count)
    start, displacement = rng.normal(size=(2, shape[1])) * 0.5
    time = np.arange(CHECKPOINTS)[:, None]
    weights = start + displacement * (1 - np.exp(-3 * time / CHECKPOINTS)) + rng.normal(size=shape) * 1e-4
    weights[:, PERIODIC] += displacement[PERIODIC] * np.cos(2 * np.pi * time / 3)
    return np.asarray(weights)
