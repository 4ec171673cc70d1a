"""States of the past, standardised layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....registry.trial import Trial
from ....rl import PolicyLayout
from ...predictor import Weights

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

STATES = 5
EPSILON = 1e-6
CHUNK_CHECKPOINTS = 256


def state_places(context: int, stride: int) -> Integers:
    """Which checkpoints of a context are the states, `stride` apart and the origin last.

    What is older than the context stands in for by its oldest checkpoint.
    """
    places: Integers = np.maximum(context - 1 - stride * np.arange(STATES)[::-1], 0)
    return places


@dataclass(frozen=True)
class Layers:
    """Parameters of a layout by matrix or vector: where each begins in P, and its size."""

    starts: Integers
    sizes: Integers

    @classmethod
    def of(cls, layout: PolicyLayout) -> Layers:
        """Those of a layout."""
        slices = layout.slices.values()
        return cls(np.array([part.start for part in slices]), np.array([part.stop - part.start for part in slices]))

    def moments(self, weights: Weights) -> Float64:
        """Mean and mean square of each layer of weights [..., P], as [..., layers, 2]."""
        wide = weights.astype(np.float64)
        sums = [np.add.reduceat(values, self.starts, axis=-1) / self.sizes for values in (wide, np.square(wide))]
        return np.stack(sums, axis=-1)

    def trial_moments(self, trials: Sequence[Trial]) -> list[Float64]:
        """The moments of every checkpoint of trials, [T, layers, 2] each."""
        return [
            np.concatenate(
                [
                    self.moments(trial.weights(start, min(start + CHUNK_CHECKPOINTS, len(trial))))
                    for start in range(0, len(trial), CHUNK_CHECKPOINTS)
                ]
            )
            for trial in trials
        ]

    def scales(self, moments: Float64) -> tuple[Float64, Float64]:
        """Mean and standard deviation of each layer over its weights and some states, from [..., states, layers, 2]."""
        mean, square = np.moveaxis(moments.mean(axis=-3), -1, 0)
        count = moments.shape[-3] * self.sizes
        deviation = np.sqrt(np.maximum(square - np.square(mean), 0) * count / np.maximum(count - 1, 1))
        return mean, deviation

    def layer_of(self, columns: Integers) -> Integers:
        """The layers that parameters belong to."""
        found: Integers = np.searchsorted(self.starts, columns, side="right") - 1
        return found


def standardised(states: Weights, mean: Float64, deviation: Float64) -> Weights:
    """Features of states [..., states, K] given each weight's layer's mean and deviation [..., K]: [..., K, states]."""
    scaled = (states - mean[..., None, :]) / (deviation + EPSILON)[..., None, :]
    return np.ascontiguousarray(np.swapaxes(scaled, -1, -2), dtype=np.float32)
