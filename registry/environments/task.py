"""The tasks with batched physics: what Gymnasium's environment classes say, as array functions.

Each task restates one Gymnasium MuJoCo environment for a whole batch: how a state is observed, what a step is
worth, when an episode ends, and how a reset is drawn from an episode's random stream. Gymnasium's own classes are the
oracle in the tests: same seed, same actions, equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import UnknownNameError

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


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

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        """Draw one episode's initial ([nq], [nv]) around the model's own, in Gymnasium's order of draws."""
        ...

    def observe(self, qpos: Float64, qvel: Float64) -> Float64:
        """Observations [N, O] of states [N, nq] and [N, nv]."""
        ...

    def reward(self, before: Float64, after: Float64, action: Float32, dt: float) -> Float64:
        """Rewards [N] of a step from positions `before` to `after` [N, nq] under `action` [N, A]."""
        ...

    def terminated(self, observation: Float64) -> Bool:
        """Which of the observations [N, O] end their episode, [N]."""
        ...


@dataclass(frozen=True)
class InvertedPendulum:
    """InvertedPendulum-v4: balance a pole on a cart; reward 1 on every step, the failing one included."""

    environment_id: str = "InvertedPendulum-v4"
    model_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    time_limit: int = 1000

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return (
            qpos + stream.uniform(size=qpos.size, low=-0.01, high=0.01),
            qvel + stream.uniform(size=qvel.size, low=-0.01, high=0.01),
        )

    def observe(self, qpos: Float64, qvel: Float64) -> Float64:
        return np.concatenate([qpos, qvel], axis=1)

    def reward(self, before: Float64, after: Float64, action: Float32, dt: float) -> Float64:
        return np.ones(len(after))

    def terminated(self, observation: Float64) -> Bool:
        ended: Bool = ~np.isfinite(observation).all(axis=1) | (np.abs(observation[:, 1]) > 0.2)
        return ended


@dataclass(frozen=True)
class HalfCheetah:
    """HalfCheetah-v4: run forward; reward is forward velocity less a control cost; episodes never end early."""

    environment_id: str = "HalfCheetah-v4"
    model_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    time_limit: int = 1000

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return (
            qpos + stream.uniform(low=-0.1, high=0.1, size=qpos.size),
            qvel + 0.1 * stream.standard_normal(qvel.size),
        )

    def observe(self, qpos: Float64, qvel: Float64) -> Float64:
        return np.concatenate([qpos[:, 1:], qvel], axis=1)

    def reward(self, before: Float64, after: Float64, action: Float32, dt: float) -> Float64:
        # The control cost stays float32, as Gymnasium's does under NumPy 2.
        cost = 0.1 * np.sum(np.square(action), axis=1)
        velocity = (after[:, 0] - before[:, 0]) / dt
        reward: Float64 = velocity - cost
        return reward

    def terminated(self, observation: Float64) -> Bool:
        return np.zeros(len(observation), dtype=np.bool_)


TASKS: dict[str, Task] = {task.environment_id: task for task in (InvertedPendulum(), HalfCheetah())}


def task(environment_id: str) -> Task:
    """The batched task of an environment id; raises `UnknownNameError` if there is none."""
    if environment_id not in TASKS:
        raise UnknownNameError("batched environment", environment_id, TASKS)
    return TASKS[environment_id]


def model_path(task: Task) -> Path:
    """Where Gymnasium keeps the task's MuJoCo model."""
    # Found from the package's folder: importing gymnasium.envs.mujoco would pull in the renderers.
    import gymnasium

    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / task.model_file
