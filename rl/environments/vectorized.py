"""Any other Gymnasium environment with continuous or discrete actions, at Gymnasium's own speed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from ...utils.errors import TiplBenchError
from ...utils.text import one_line
from .models import compiler_warnings_logged
from .task import Bool, Float64

Index = npt.NDArray[np.intp]


class VectorizedEnvironment:
    """N episodes of a Gymnasium environment behind the same calls as `BatchedEnvironment`.

    `gymnasium.vector.SyncVectorEnv` with autoreset disabled: the caller sees final observations and resets by mask.
    Its state cannot be saved, so a block collected on it starts over after an interruption.
    """

    def __init__(self, environment_id: str, seeds: Sequence[int]) -> None:
        def make() -> gymnasium.Env[Any, Any]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                return gymnasium.wrappers.FlattenObservation(gymnasium.make(environment_id))

        mode = gymnasium.vector.AutoresetMode.DISABLED
        try:
            with compiler_warnings_logged(environment_id):
                self._vector = gymnasium.vector.SyncVectorEnv([make] * len(seeds), autoreset_mode=mode)
        except Exception as error:  # of an environment's own code, which may raise anything
            raise TiplBenchError(
                f"Environment {environment_id!r} cannot be made here ({type(error).__name__}: {one_line(str(error))}). "
                "Install what it asks for, or choose another."
            ) from error
        space = self._vector.single_action_space
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        if isinstance(space, gymnasium.spaces.Discrete):
            self._first_action, self.action_size = int(space.start), int(space.n)
            self.action_high = np.full(self.action_size, np.inf, dtype=np.float32)
            self.action_low = -self.action_high
        elif isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
            self.action_low = space.low.astype(np.float32)
            self.action_high = space.high.astype(np.float32)
            self.action_size = space.shape[0]
        else:
            raise TiplBenchError(
                f"{environment_id} has action space {space}; only one-dimensional continuous (Box) actions and single "
                "discrete (Discrete) ones work here."
            )
        self._seeds: list[int | None] = [int(s) for s in seeds]
        observations = self._vector.single_observation_space
        if observations.shape is None:
            raise TiplBenchError(
                f"{environment_id} has observation space {observations}, which cannot be made a vector."
            )
        self.observation_size = observations.shape[0]
        if gymnasium.registry[environment_id].max_episode_steps is None:
            raise TiplBenchError(
                f"{environment_id} has no time limit, so that an episode of a deterministic policy may never end. "
                "Register it under an id of your own with max_episode_steps."
            )
        self._all: Index = np.arange(len(seeds))

    def __len__(self) -> int:
        return len(self._seeds)

    def reset(self, ids: Index | None = None) -> Float64:
        """As `BatchedEnvironment.reset`; a stream is seeded at its first reset and runs on after it."""
        ids = self._all if ids is None else ids
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[ids] = True
        seeds = [seed if mask[i] else None for i, seed in enumerate(self._seeds)]
        observation, _ = self._vector.reset(seed=seeds, options={"reset_mask": mask})
        for i in ids:
            self._seeds[i] = None
        return np.asarray(observation, dtype=np.float64)[ids]

    def step(self, action: npt.NDArray[Any], ids: Index | None = None) -> tuple[Float64, Float64, Bool, Bool]:
        """As `BatchedEnvironment.step`; simulations outside `ids` are left as they are."""
        if self.discrete:
            action = action + self._first_action
        if ids is None:
            stepped, reward, terminated, truncated, _ = self._vector.step(action)
            return np.asarray(stepped, dtype=np.float64), reward.copy(), terminated.copy(), truncated.copy()
        observation = np.empty((len(ids), self.observation_size))
        reward = np.empty(len(ids))
        terminated, truncated = np.empty((2, len(ids)), dtype=np.bool_)
        for row, i in enumerate(ids):
            observation[row], reward[row], terminated[row], truncated[row], _ = self._vector.envs[i].step(action[row])
        return observation, reward, terminated, truncated
