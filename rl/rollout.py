"""Acting in N environments, one a trial: CleanRL's wrappers and episode book-keeping over a stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .environments import Action, Environment
from .forward import mean_actions
from .normalizer import ObservationNormalizer, RewardNormalizer
from .policy import PolicyLayout

RECENT_EPISODES = 10


class Rollout:
    """N running environments with their normalisers, ready to collect steps under stacked policies.

    The wrappers' order is CleanRL's: the raw action is recorded and the clipped one applied; a terminal observation
    and the reset observation after it both update the observation normaliser; truncation ends an episode.
    """

    def __init__(self, environment: Environment, layout: PolicyLayout, gamma: float) -> None:
        self.environment = environment
        self.layout = layout
        trials = len(environment)
        self.normalizer = ObservationNormalizer(trials, layout.observation_size)
        self.reward_normalizer = RewardNormalizer(trials, gamma)
        self.observation = np.zeros((trials, layout.observation_size), dtype=np.float32)
        self.done = np.zeros(trials, dtype=np.float32)
        self.episode_return = np.zeros(trials)
        self.recent_returns = np.full((trials, RECENT_EPISODES), np.nan)
        self._all = np.arange(trials)

    def start(self) -> None:
        """Reset every environment for the first time."""
        self.normalizer(self._all, self.environment.reset(), self.observation)

    @property
    def episodic_return(self) -> npt.NDArray[np.float32]:
        """Mean undiscounted return [N] of each trial's last ten finished episodes, NaN before the first."""
        known = ~np.isnan(self.recent_returns)
        total = np.where(known, self.recent_returns, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            mean: npt.NDArray[np.float32] = (total / known.sum(axis=1)).astype(np.float32)
        return mean

    def collect(self, policies: Tensor, noise: npt.NDArray[np.float32]) -> dict[str, Tensor]:
        """Take S steps in every environment.

        Parameters
        ----------
        policies
            Stacked weights [N, P].
        noise
            Standard normal action noise [S, N, A], or for discrete actions Gumbel noise: the action with the largest
            sum of logit and noise is a sample of the categorical distribution.

        Returns
        -------
        dict
            `observation` [S + 1, N, O] normalised (the last one follows the last step), `action` [S, N, A] unclipped
            (of discrete ones 1 at the one taken, 0 elsewhere), `reward` [S, N] scaled, `done` [S + 1, N] (1 where an
            observation begins an episode).
        """
        steps, trials, actions = noise.shape
        kernel = self.layout.as_kernel(policies.numpy())
        sizes = np.array(self.layout.sizes, dtype=np.int64)
        observation = np.empty((steps + 1, trials, self.layout.observation_size), dtype=np.float32)
        action = np.empty((steps, trials, actions), dtype=np.float32)
        reward = np.empty((steps, trials), dtype=np.float32)
        done = np.empty((steps + 1, trials), dtype=np.float32)
        scaled_noise = noise if self.layout.categorical else noise * torch.exp(policies[:, -actions:]).numpy()
        low, high = self.environment.action_low, self.environment.action_high
        for step in range(steps):
            observation[step], done[step] = self.observation, self.done
            mean_actions(kernel, sizes, self.observation, action[step])
            action[step] += scaled_noise[step]
            if self.layout.categorical:
                chosen = action[step].argmax(axis=1)
                action[step] = chosen[:, None] == np.arange(actions)
                self._advance(chosen, reward[step])
            else:
                self._advance(np.minimum(np.maximum(action[step], low), high), reward[step])
        observation[steps], done[steps] = self.observation, self.done
        arrays = {"observation": observation, "action": action, "reward": reward, "done": done}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _advance(self, action: Action, reward_out: npt.NDArray[np.float32]) -> None:
        observation, reward, terminated, truncated = self.environment.step(action)
        self.episode_return += reward
        self.reward_normalizer(reward, terminated, reward_out)
        self.normalizer(self._all, observation, self.observation)
        ended = terminated | truncated
        self.done[:] = ended
        if ended.any():
            ids = np.flatnonzero(ended)
            self.recent_returns[ids] = np.roll(self.recent_returns[ids], 1, axis=1)
            self.recent_returns[ids, 0] = self.episode_return[ids]
            self.episode_return[ids] = 0.0
            self.normalizer(ids, self.environment.reset(ids), self.observation)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All mutable arrays by name, live: copying into them restores a saved state."""
        normalizer, rewards = self.normalizer, self.reward_normalizer
        return {
            "observation_mean": normalizer.mean,
            "observation_variance": normalizer.variance,
            "observation_count": normalizer.count,
            "reward_returns": rewards.returns,
            "reward_mean": rewards.mean,
            "reward_variance": rewards.variance,
            "reward_count": rewards.count,
            "observation": self.observation,
            "done": self.done,
            "episode_return": self.episode_return,
            "recent_returns": self.recent_returns,
        }
