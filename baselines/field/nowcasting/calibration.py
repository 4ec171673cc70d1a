"""The spacing and the scale that suit released weights best on the validation trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....registry.trial import Trial
from ....rl import PolicyLayout
from ...fitting.windows import TrainingWindows
from ...predictor import Weights

Float64 = npt.NDArray[np.float64]

WINDOWS = 256
WEIGHTS, BATCH = 1 << 21, 1 << 15
"""Weights of all windows together, wide policies are judged by fewer windows, 16 at least; and of a batch of them."""


@dataclass(frozen=True)
class Calibration:
    """Windows of the validation trials, spread evenly."""

    windows: TrainingWindows
    rows: npt.NDArray[np.int64]
    layout: PolicyLayout

    @classmethod
    def of(cls, trials: Sequence[Trial], context: int, horizon: int) -> Calibration:
        """Windows of a context and a horizon."""
        windows = TrainingWindows.of(trials, context, horizon)
        count = min(len(windows), WINDOWS, max(16, WEIGHTS // windows.parameter_count))
        rows = np.linspace(0, len(windows) - 1, count).astype(np.int64)
        return cls(windows, rows, trials[0].layout)

    def best(
        self,
        displacements: Callable[[Weights, PolicyLayout, int, int], Weights],
        strides: Sequence[int],
        scale: float | None,
        progress: Callable[[int, int, str], None],
    ) -> tuple[int, float]:
        """The spacing with the highest mean skill, and its best scale, or the one that is given.

        With forecast f, truth d and its squares D_h, all summed over windows, the skill at h under scale a is
        (2 a <f_h, d_h> - a^2 |f_h|^2) / D_h. Its mean over h is highest at a = sum <f_h, d_h> / D_h over
        sum |f_h|^2 / D_h.
        """
        horizon, context = self.windows.horizon, self.windows.context
        products, squares = np.zeros((2, len(strides), horizon))
        still = np.zeros(horizon)
        size = max(1, BATCH // self.windows.parameter_count)
        for start in range(0, len(self.rows), size):
            weights = np.stack([self.windows.weights(row) for row in self.rows[start : start + size]])
            past = weights[:, :context]
            truth = (weights[:, context:] - past[:, -1:]).astype(np.float64)
            still += np.square(truth).sum(axis=(0, 2))
            for place, stride in enumerate(strides):
                found = displacements(past, self.layout, stride, horizon).astype(np.float64)
                products[place] += (found * truth).sum(axis=(0, 2))
                squares[place] += np.square(found).sum(axis=(0, 2))
            progress(min(start + size, len(self.rows)), len(self.rows), "spacing and scale")
        gains, costs = (
            np.divide(sums, still, where=still > 0, out=sums * 0).mean(axis=1) for sums in (products, squares)
        )
        scales = np.divide(gains, costs, where=costs > 0, out=np.ones_like(gains)) if scale is None else scale
        place = int(np.argmax(2 * scales * gains - scales**2 * costs))
        return strides[place], float(np.broadcast_to(scales, len(strides))[place])


def interpolation(spacing: int, steps: int, horizon: int) -> npt.NDArray[np.float32]:
    """Displacements at 1 .. H from those at `spacing`, 2 `spacing`, .. as a matrix [H, steps]; at 0 there is none."""
    known = np.eye(steps + 1, steps, -1)
    return np.stack(
        [np.interp(np.arange(1, horizon + 1), spacing * np.arange(steps + 1), column) for column in known.T], axis=1
    ).astype(np.float32)
