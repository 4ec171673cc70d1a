"""Persistence: the policy stays where it is. The zero of every skill."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .predictor import Contexts, NoOptions, Predictor, Weights


class Persistence(Predictor[NoOptions]):
    """Repeats the weights at the origin."""

    name: ClassVar[str] = "persistence"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "The weights at the origin, unchanged; the zero of skill."

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)
