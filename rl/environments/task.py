"""The contract of a task with batched physics: Gymnasium's environment class, as array functions.

Each task restates one Gymnasium MuJoCo environment, of one version, for a whole batch: how a state is observed, what a
step is worth, when an episode ends, and how a reset is drawn from an episode's random stream. `rl.environments.tasks`
holds the tasks there are.
"""

from __future__ import annotations

from collections.abc import Mapping
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

    @property
    def before_fields(self) -> tuple[str, ...]:
        """The fields of which a reward reads the values before the step too: `qpos`, or some of `state_fields`."""
        ...

    @property
    def contact_forces(self) -> bool:
        """Whether the task reads `cfrc_ext` [N, bodies, 6], which `mj_step` alone does not compute."""
        ...

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        """Draw one episode's initial ([nq], [nv]) around the model's own, in Gymnasium's order of draws."""
        ...

    def observe(self, state: State) -> Float64:
        """Observations [N, O] of states."""
        ...

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        """Rewards [N] of a step of `dt` seconds from `before` to `state` under `action` [N, A]."""
        ...

    def terminated(self, state: State, observation: Float64) -> Bool:
        """Which of the states, observed as `observation` [N, O], end their episode, [N]."""
        ...


class TaskDefaults:
    """What most tasks have in common."""

    before_fields: tuple[str, ...] = ("qpos",)
    contact_forces: bool = False
    time_limit: int = 1000
    state_fields: tuple[str, ...] = ("qpos", "qvel")
