"""A checkpoint: the policies of a block of trials at one moment of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """The policies of N trials at one moment of training, and where in training that is.

    Parameters
    ----------
    row
        Number of the checkpoint within its trial; 0 is the random initialisation.
    weights
        Actors' weights [N, P], log-std included.
    observation_mean, observation_variance, observation_count
        The observation normaliser under which the policies act: [N, O], [N, O] and [N].
    environment_steps, iteration, epoch
        Steps taken by each trial, PPO iteration and epoch within it.
    learning_rate
        The iteration's annealed rate.
    episodic_return
        Mean return [N] of each trial's last finished training episodes, NaN before the first.
    """

    row: int
    weights: npt.NDArray[np.float32]
    observation_mean: npt.NDArray[np.float64]
    observation_variance: npt.NDArray[np.float64]
    observation_count: npt.NDArray[np.float64]
    environment_steps: int
    iteration: int
    epoch: int
    learning_rate: float
    episodic_return: npt.NDArray[np.float32]

    def with_weights(self, parameters: Tensor) -> Checkpoint:
        """The checkpoint with other policies: the actors' part of an agent's weights [N, P + C]."""
        return dataclasses.replace(self, weights=parameters[:, : self.weights.shape[1]].numpy().copy())
