"""Batches of windows as the network takes them, and their random draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...rl import PolicyLayout
from ..fitting.windows import TrainingWindows
from .graph import flip_signs, sample_units
from .network import NeuronNetwork
from .statistics import Statistics


@dataclass(frozen=True)
class Batch:
    """Windows as the network takes them, and what is to be forecast.

    Parameters
    ----------
    known
        [B, P, lags + 1]: differences in units of the window's step, oldest first, and the weight at the origin.
    position, size
        [B]: the origin's place within its iteration, and the logarithm of the step.
    ahead
        The displacements to forecast, [B, P, H] in units of the step; empty where they are not known.
    sizes
        Units of each layer.
    statistics
        What else the windows show, for a network that takes it.
    """

    known: Tensor
    position: Tensor
    size: Tensor
    ahead: Tensor
    sizes: tuple[int, ...]
    statistics: Statistics | None = None

    @classmethod
    def of(
        cls,
        weights: npt.NDArray[np.float32],
        positions: npt.NDArray[np.int64],
        scale: npt.NDArray[np.float64],
        sizes: tuple[int, ...],
        device: str,
        horizon: int = 0,
        statistics: Statistics | None = None,
    ) -> Batch:
        """Of the checkpoints [B, L + horizon, P] of some windows, and the step of each, [B]."""
        values = torch.from_numpy(np.ascontiguousarray(weights.transpose(0, 2, 1))).to(device)  # [B, P, L + horizon]
        step = torch.from_numpy(scale.astype(np.float32)).to(device)
        context = values.shape[-1] - horizon
        origin = values[..., context - 1, None]
        differences = values[..., :context].diff(dim=-1) / step[:, None, None]
        return cls(
            torch.cat([differences, origin], -1),
            torch.from_numpy(positions).to(device),
            step.log(),
            (values[..., context:] - origin) / step[:, None, None],
            sizes,
            statistics,
        )

    def displacement(self, network: NeuronNetwork) -> Tensor:
        """The ridge line and what the network adds, [B, P, H]."""
        line = self.known[..., :-1].flip(-1) @ network.ridge[self.position].transpose(1, 2)
        found: Tensor = network(self.known, self.position, self.size / 3 + 2, self.sizes, self.statistics)
        return line + found

    def missed(self, network: NeuronNetwork) -> Tensor:
        """The error of the forecast displacements, [B, P, H]."""
        return self.displacement(network) - self.ahead


def draw(
    windows: TrainingWindows,
    layout: PolicyLayout,
    count: int,
    units: int,
    rng: np.random.Generator,
    device: str,
    *,
    flip: bool,
    statistics: bool,
) -> Batch:
    """`count` random windows of the parameters between some of the hidden units, with their signs flipped or not."""
    columns, sizes = sample_units(layout, units, rng)
    rows = windows.sample(count, rng)
    weights = np.stack([windows.weights(row, columns) for row in rows])
    if flip:
        weights *= flip_signs(sizes, count, rng)[:, None, : len(columns)]  # a categorical policy has no log-stds
    shown = None
    if statistics:
        shown = Statistics.join([Statistics.of(windows.contexts(row), windows.context, device) for row in rows])
    return Batch.of(weights, windows.position[rows], windows.step(rows), sizes, device, windows.horizon, shown)
