"""Running normalisers of N trials, updated one observation at a time as Gymnasium's wrappers do.

Source: gymnasium 0.29's `RunningMeanStd`, `NormalizeObservation` and `NormalizeReward`, restated over a leading axis
of trials. Moments are float64 and start at mean 0, variance 1, count 1e-4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from .forward import NORMALIZER_EPSILON, _normalize
from .policy import OBSERVATION_CLIP

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

# Compiled anew by each process: a cache would not notice a change of `forward._normalize`, which is inlined here.
INITIAL_COUNT = 1e-4
REWARD_CLIP = 10.0


@njit(nogil=True)
def _update(value, mean, variance, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fold one value into running moments; the order of operations is Gymnasium's for a batch of one."""
    total = count + 1.0
    delta = value - mean
    return mean + delta * 1.0 / total, (variance * count + delta * delta * count * 1.0 / total) / total


@njit(nogil=True)
def _observe(ids, observation, mean, variance, count, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for row in range(len(ids)):
        n = ids[row]
        for o in range(observation.shape[1]):
            mean[n, o], variance[n, o] = _update(observation[row, o], mean[n, o], variance[n, o], count[n])
        count[n] += 1.0
        _normalize(observation[row], mean[n], variance[n], OBSERVATION_CLIP, out[n])


@njit(nogil=True)
def _reward(  # type: ignore[no-untyped-def]  # pragma: no cover
    reward, terminated, gamma, returns, mean, variance, count, out
):
    for n in range(len(reward)):
        returns[n] = returns[n] * gamma * (1.0 - terminated[n]) + reward[n]
        mean[n], variance[n] = _update(returns[n], mean[n], variance[n], count[n])
        count[n] += 1.0
        value = reward[n] / math.sqrt(variance[n] + NORMALIZER_EPSILON)
        out[n] = min(max(value, -REWARD_CLIP), REWARD_CLIP)


class ObservationNormalizer:
    """Running observation moments of N trials: `mean`, `variance` [N, O] and `count` [N]."""

    def __init__(self, trials: int, observation_size: int) -> None:
        self.mean: Float64 = np.zeros((trials, observation_size))
        self.variance: Float64 = np.ones((trials, observation_size))
        self.count: Float64 = np.full(trials, INITIAL_COUNT)

    def __call__(self, ids: npt.NDArray[Any], observation: Float64, out: Float32) -> None:
        """Update trials `ids` [n] with `observation` [n, O]; write their normalised values to rows of out [N, O]."""
        _observe(ids, observation, self.mean, self.variance, self.count, out)


class RewardNormalizer:
    """Scales rewards of N trials by the running deviation of their discounted returns."""

    def __init__(self, trials: int, gamma: float) -> None:
        self.gamma = gamma
        self.returns: Float64 = np.zeros(trials)
        self.mean: Float64 = np.zeros(trials)
        self.variance: Float64 = np.ones(trials)
        self.count: Float64 = np.full(trials, INITIAL_COUNT)

    def __call__(self, reward: Float64, terminated: npt.NDArray[np.bool_], out: Float32) -> None:
        """Write the scaled, clipped rewards [N] to `out`."""
        _reward(reward, terminated, self.gamma, self.returns, self.mean, self.variance, self.count, out)
