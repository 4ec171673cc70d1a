"""Linear extrapolation: a least-squares line through each weight's last values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .predictor import Contexts, Predictor, Weights


@dataclass(frozen=True)
class LinearOptions:
    """How many checkpoints the line is fitted to, and how much of its step is taken."""

    points: int = 2
    damping: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.points <= 20:
            raise ValueError(f"points is {self.points}; a line needs 2, and a context has 20.")
        if not 0 <= self.damping <= 1:
            raise ValueError(f"damping is {self.damping}; it scales the step, between 0 (none) and 1 (plain).")


class Linear(Predictor[LinearOptions]):
    """phi(t + h) = phi(t) + damping * (line(t + h) - phi(t)); two points make it the last difference."""

    name: ClassVar[str] = "linear"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Least-squares line through each weight's last values, plain or damped."
    options_type: ClassVar[type[Any]] = LinearOptions

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        points = self.options.points
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
