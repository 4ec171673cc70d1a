"""The contract of a task with batched physics: Gymnasium's environment class, as array functions.

Each task restates one Gymnasium MuJoCo environment for a whole batch: how a state is observed, what a step is
worth, when an episode ends, and how a reset is drawn from an episode's random stream. `rl.environments.tasks`
holds the tasks there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

State = Mapping[str, Float64]
"""The state fields that a task reads, each [N, ...], by MuJoCo's names; they may be live, and are never written to."""


class Task(Protocol):
    """One environment of the batched kind; N is the number of simulations handed over."""

    def __hash__(self) -> int:
        """Tasks are constants."""
        ...

    @property
    def environment_id(self) -> str:
        """Gymnasium's id."""
        ...

    @property
    def model_file(self) -> str:
        """The MuJoCo model among Gymnasium's assets."""
        ...

    @property
    def frame_skip(self) -> int:
        """Physics steps an environment step."""
        ...

    @property
    def time_limit(self) -> int:
        """Environment steps after which an episode is truncated."""
        ...

    @property
    def state_fields(self) -> tuple[str, ...]:
        """The fields of MuJoCo's `mjData` that the task reads, derived ones included."""
        ...

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        """Draw one episode's initial ([nq], [nv]) around the model's own, in Gymnasium's order of draws."""
        ...

    def observe(self, state: State) -> Float64:
        """Observations [N, O] of states."""
        ...

    def reward(self, before: Float64, state: State, action: Float32, dt: float) -> Float64:
        """Rewards [N] of a step of `dt` seconds from positions `before` [N, nq] to `state` under `action` [N, A]."""
        ...

    def terminated(self, state: State, observation: Float64) -> Bool:
        """Which of the states, observed as `observation` [N, O], end their episode, [N]."""
        ...


def model_path(task: Task) -> Path:
    """Where Gymnasium keeps the task's MuJoCo model."""
    # Found from the package's folder: importing gymnasium.envs.mujoco would pull in the renderers.
    import gymnasium

    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / task.model_file
