"""Averages of past checkpoints: no forecasts of weights, but policies that may return more than the last one."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..predictor import Contexts, Options, Predictor, Weights, check_reach


class EMAOptions(Options):
    """The decay."""

    decay: float = Field(0.98, ge=0, lt=1)
    """Weight of the average so far, at every checkpoint."""


class EMA(Predictor[EMAOptions]):
    """Exponential moving average of the context, begun at its oldest checkpoint; the same at all horizons.

    phi(t + h) = a(t), a(k) = decay a(k - 1) + (1 - decay) phi(k), and a is phi at the context's oldest checkpoint.
    Polyak and Juditsky (1992), with a decay as in Izmailov et al. (2018) and their successors. It lags behind training,
    so its weight error is above persistence's; what it is here for is its gain.
    """

    name: ClassVar[str] = "ema"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Exponential moving average of past weights, for its gain in return."
    options_type: ClassVar[type[Any]] = EMAOptions

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        newest = contexts.weights.shape[1] - 1
        weights = (1 - self.options.decay) * self.options.decay ** np.arange(newest, -1.0, -1.0)
        weights[0] = self.options.decay**newest
        return _average(contexts, weights, horizon)


class LAWAOptions(Options):
    """How many checkpoints are averaged."""

    points: int = Field(10, ge=1)
    """Checkpoints of the average, at most the context."""


class LAWA(Predictor[LAWAOptions]):
    """Mean of the last n = `points` checkpoints; the same at all horizons.

    phi(t + h) = (phi(t - n + 1) + ... + phi(t)) / n.
    Latest weight averaging, Kaddour (2022). One checkpoint makes it persistence.
    """

    name: ClassVar[str] = "lawa"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean of the last weights (latest weight averaging), for its gain in return."
    options_type: ClassVar[type[Any]] = LAWAOptions

    @classmethod
    def resolve_options(cls, options: LAWAOptions, context: int) -> LAWAOptions:
        """See `Predictor.resolve_options`."""
        return options.model_copy(update={"points": min(options.points, context)})

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        points = self.options.points
        check_reach(self, contexts, horizon, context=points)
        weights = np.zeros(contexts.weights.shape[1])
        weights[-points:] = 1 / points
        return _average(contexts, weights, horizon)


def _average(contexts: Contexts, weights: npt.NDArray[np.float64], horizon: int) -> Weights:
    """The context's mean under weights [L], at every horizon."""
    # Relative to the origin, so that float32 keeps the small differences.
    origin = contexts.weights[:, -1:]
    moved = origin + np.einsum("k,bkp->bp", weights.astype(np.float32), contexts.weights - origin)[:, None]
    return np.repeat(moved, horizon, axis=1)
