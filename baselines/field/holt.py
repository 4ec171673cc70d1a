"""Holt's linear exponential smoothing with a damped trend, its three constants fitted on the training trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.optimize import minimize

from ...utils.errors import PredictorError
from ..fitting.gram import Moments, difference_moments
from ..predictor import Array, Contexts, FitTask, Options, Predictor, Weights, check_reach

Float64 = npt.NDArray[np.float64]

STARTS = ((0.9, 0.5, 0.9), (0.5, 0.1, 0.5), (0.9, 0.9, 0.5))
"""Where the search begins: level, trend and damping; the best end is kept."""
LEAST = np.array([1e-3, 0, 0])
"""With a level of 0 nothing would be smoothed: the forecast would be the context's oldest checkpoint."""


class HoltOptions(Options):
    """The constants; none: fitted."""

    level: float | None = Field(None, gt=0, le=1)
    """Weight of the newest checkpoint in the level; none: fitted on the training trials."""
    trend: float | None = Field(None, ge=0, le=1)
    """Weight of the newest step in the trend; none: fitted on the training trials."""
    damping: float | None = Field(None, ge=0, le=1)
    """Factor of the trend from one checkpoint to the next; none: fitted on the training trials."""


class Holt(Predictor[HoltOptions]):
    """Each weight is a level and a damped trend: phi(t + h) = level + (d + d^2 + ... + d^h) trend.

    Holt (1957), damped by Gardner and McKenzie (1985). The recursion begins at the context's oldest checkpoint with
    trend 0. One triple of constants serves all weights and positions, chosen for the mean skill over horizons on the
    training trials. A forecast is linear in the context's differences, so that the fit needs inner products alone.
    """

    name: ClassVar[str] = "holt"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Exponential smoothing with a damped trend, three constants fitted for all weights."
    options_type: ClassVar[type[Any]] = HoltOptions
    transfers: ClassVar[bool] = True

    def __init__(self, options: HoltOptions) -> None:
        super().__init__(options)
        self.constants: Float64 | None = None  # level, trend, damping

    def fit(self, task: FitTask) -> None:
        """Search the constants that are not given."""
        given = np.array([getattr(self.options, name) for name in HoltOptions.model_fields], dtype=np.float64)
        free = np.isnan(given)
        if not free.any():
            self.constants = given
            return
        lags = task.context - 1
        moments = difference_moments(task.train, lags, task.horizon, progress=task.progress)
        if not moments.displacement.sum(axis=0).all():
            raise PredictorError("no weight of the training trials ever moves; there is nothing to learn.")

        def constants(values: Float64) -> Float64:
            chosen = given.copy()
            chosen[free] = np.clip(values, LEAST[free], 1)
            return chosen

        def error(values: Float64) -> float:
            return relative_error(coefficients(constants(values), lags, task.horizon), moments)

        ends = [minimize(error, np.array(start)[free], method="Nelder-Mead") for start in STARTS]
        self.constants = constants(min(ends, key=lambda end: float(end.fun)).x)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.constants is None:
            raise RuntimeError("holt was asked to predict before it was fitted or loaded.")
        check_reach(self, contexts, horizon, context=2)
        lags = contexts.weights.shape[1] - 1
        steps = coefficients(self.constants, lags, horizon).astype(np.float32)
        forecast: Weights = contexts.weights[:, -1:] + steps @ np.diff(contexts.weights, axis=1)
        return forecast

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        return {} if self.constants is None else {"constants": self.constants}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.constants = state["constants"]


def coefficients(constants: Float64, lags: int, horizon: int) -> Float64:
    """The displacement ahead as a combination of the context's differences, oldest first, [H, lags]."""
    alpha, beta, damping = constants
    values = np.tri(lags + 1, lags, -1)  # of the checkpoints, relative to the oldest, in differences
    level, trend = values[0], np.zeros(lags)
    for value in values[1:]:
        before = level
        level = alpha * value + (1 - alpha) * (level + damping * trend)
        trend = beta * (level - before) + (1 - beta) * damping * trend
    ahead = np.cumsum(damping ** np.arange(1, horizon + 1))
    found: Float64 = level - values[-1] + ahead[:, None] * trend
    return found


def relative_error(steps: Float64, moments: Moments) -> float:
    """1 - mean skill over horizons of displacements [H, lags] on the windows of the moments, persistence's being 1."""
    features, targets = moments.features.sum(axis=0), moments.targets.sum(axis=0)
    squares = np.einsum("hk,kl,hl->h", steps, features, steps) - 2 * (steps * targets).sum(axis=1)
    return 1 + float((squares / moments.displacement.sum(axis=0)).mean())
