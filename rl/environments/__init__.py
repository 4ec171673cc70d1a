"""Environments: batched on `mujoco.batch` where a task is listed, through `gymnasium.vector` otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from ...utils.errors import UnknownNameError
from .batched import BatchedEnvironment
from .task import Bool, Float32, Float64
from .tasks import TASKS
from .vectorized import VectorizedEnvironment

Index = npt.NDArray[np.intp]
Action = npt.NDArray[Any]
"""Actions [n, A] float32 within the bounds, or discrete ones [n] int64."""


class Environment(Protocol):
    """N episodes of one environment, stepped together and reset by the caller.

    Where actions are `discrete`, `action_size` is their number, `step` takes one of 0 .. action_size - 1 for each
    episode, [n] int64, and the bounds [A] of a policy's outputs are infinite.
    """

    observation_size: int
    action_size: int
    action_low: Float32
    action_high: Float32
    discrete: bool

    def __len__(self) -> int: ...

    def reset(self, ids: Index | None = None) -> Float64: ...

    def step(self, action: Action, ids: Index | None = None) -> tuple[Float64, Float64, Bool, Bool]: ...


def make(environment_id: str, seeds: Sequence[int], *, threads: int = 1) -> Environment:
    """Make len(seeds) episodes of an environment, each with the random stream of its seed.

    Parameters
    ----------
    environment_id
        A Gymnasium id with continuous or discrete actions; those in `TASKS` run on batched physics.
    seeds
        One seed per episode stream.
    threads
        Physics threads for batched tasks.

    Raises
    ------
    UnknownNameError
        If Gymnasium does not know the id.
    TiplBenchError
        If the environment cannot be made here, has actions of another kind, or has no time limit.
    """
    if environment_id in TASKS:
        return BatchedEnvironment(TASKS[environment_id], seeds, threads=threads)
    if environment_id not in gymnasium.registry:
        raise UnknownNameError("environment", environment_id, {*TASKS, *gymnasium.registry})
    return VectorizedEnvironment(environment_id, seeds)


def is_gymnasiums_own(environment_id: str) -> bool:
    """Whether Gymnasium itself defines the environment, so that its version fixes what the id means."""
    spec = gymnasium.registry.get(environment_id)
    return environment_id in TASKS or (spec is not None and str(spec.entry_point).startswith("gymnasium."))


__all__ = ["TASKS", "Action", "BatchedEnvironment", "Environment", "VectorizedEnvironment", "is_gymnasiums_own", "make"]
