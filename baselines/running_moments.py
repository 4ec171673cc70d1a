"""A forecast of the observation normaliser: its running moments go on as they did over the last iteration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..registry.trial import iteration_positions
from ..utils.errors import PredictorError
from .predictor import Contexts

Float64 = npt.NDArray[np.float64]


def continue_normaliser(contexts: Contexts, horizon: int) -> Float64:
    """Mean and variance of the normaliser, [B, H, 2, O], if iterations to come observe what the last one did.

    A normaliser's moments are those of all observations so far, and change once an iteration. Those of the last
    iteration's observations follow from its moments and counts before and after it; j iterations on, as many
    observations with the same moments have joined them j times. Moments whose counts do not rise stay as they are.

    Raises
    ------
    PredictorError
        If the contexts are shorter than an iteration and one checkpoint.
    """
    positions = iteration_positions(contexts.columns["epoch"])[:, -1]
    checkpoints = len(np.unique(contexts.columns["epoch"][contexts.columns["epoch"] > 0]))
    if contexts.weights.shape[1] <= checkpoints:
        raise PredictorError(
            f"The normaliser is forecast from at least {checkpoints + 1} checkpoints, an iteration and one more."
        )
    past = -1 - checkpoints
    mean, old_mean = contexts.observation_mean[:, -1], contexts.observation_mean[:, past]
    variance, old_variance = contexts.observation_variance[:, -1], contexts.observation_variance[:, past]
    now, seen = contexts.observation_count[:, -1], contexts.observation_count[:, past]
    rising = now > seen  # elsewhere there is no normaliser, or its counts were not recorded
    now, seen = np.where(rising, now, 1.0), np.where(rising, seen, 0.0)
    share = (1 - seen / now)[:, None]  # of the observations so far, the last iteration's
    last_mean = mean + (mean - old_mean) * (1 - share) / share
    old = (1 - share) * (old_variance + (old_mean - mean) ** 2)
    last_variance = np.maximum((variance - old) / share - (last_mean - mean) ** 2, 0)
    iterations = (positions[:, None] + np.arange(1, horizon + 1)) // checkpoints  # [B, H]
    joined = iterations * (now - seen)[:, None]
    new = (joined / (now[:, None] + joined))[..., None]  # [B, H, 1]
    step = (last_mean - mean)[:, None]
    ahead = np.stack(
        [
            mean[:, None] + new * step,
            (1 - new) * variance[:, None] + new * last_variance[:, None] + new * (1 - new) * step**2,
        ],
        axis=2,
    )
    still = np.stack([mean, variance], axis=1)[:, None]
    return np.where(rising[:, None, None, None], ahead, still)
