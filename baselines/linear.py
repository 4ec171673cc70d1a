"""Linear extrapolation: a least-squares line through each weight's last values."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ..utils.fields import later
from .predictor import Array, Contexts, Options, Predictor, Weights, check_reach
from .running_moments import continue_normaliser


class LinearOptions(Options):
    """How many checkpoints the line is fitted to, and how much of its step is taken."""

    points: int = Field(2, ge=2)
    """Checkpoints that the line is fitted to, at most the context."""
    damping: float = Field(1.0, ge=0, le=1)
    """Share of the line's step that is taken: 0 repeats the origin, 1 is the plain line."""
    normaliser: bool = later(False)
    """Whether to forecast the observation normaliser too: its moments go on as over the last iteration."""


class Linear(Predictor[LinearOptions]):
    """phi(t + h) = phi(t) + damping * (line(t + h) - phi(t)); two points make it the last difference."""

    name: ClassVar[str] = "linear"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Least-squares line through each weight's last values, plain or damped."
    options_type: ClassVar[type[Any]] = LinearOptions

    @classmethod
    def resolve_options(cls, options: LinearOptions, context: int) -> LinearOptions:
        """See `Predictor.resolve_options`."""
        if options.points > context:
            raise ValueError(f"option points is {options.points}, but a context has {context} checkpoints.")
        return options

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        points = self.options.points
        check_reach(self, contexts, horizon, context=points)
        time = np.arange(1 - points, 1, dtype=np.float64)
        design = np.stack([np.ones(points), time], axis=1)
        ahead = np.stack([np.ones(horizon), np.arange(1, horizon + 1)], axis=1)
        line = ahead @ np.linalg.pinv(design)  # [H, points]: the line's values ahead from the last values
        line[:, -1] -= 1
        origin = contexts.weights[:, -1:]
        # Relative to the origin, so that float32 keeps the small differences.
        past = contexts.weights[:, -points:] - origin
        step = np.einsum("hk,bkp->bhp", (self.options.damping * line).astype(np.float32), past)
        forecast: Weights = origin + step
        return forecast

    @property
    def forecasts_normaliser(self) -> bool:
        """See `Predictor.forecasts_normaliser`."""
        return self.options.normaliser

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        """See `Predictor.predict_normaliser`."""
        return continue_normaliser(contexts, horizon)
