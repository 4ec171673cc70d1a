"""Batches of training windows as standardised states, and what follows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...fitting.windows import TrainingWindows
from .states import STATES, Layers, standardised, state_places

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """K weights of each of B windows.

    Parameters
    ----------
    states
        Standardised, [B, K, 5].
    ahead
        Displacements from the origin in units of the window's step, [B, K, H].
    unit
        The layer's deviation in the same units, [B, K, 1].
    columns
        Which weights, [B, K]; None: all of P.
    is_whole
        Whether this is no piece of a larger batch.
    """

    states: Tensor
    ahead: Tensor
    unit: Tensor
    columns: Tensor | None
    is_whole: bool = True

    def split(self, windows: int) -> Iterator[Batch]:
        """The batch in pieces of so many windows."""
        if windows >= len(self.states):
            yield self
            return
        for start in range(0, len(self.states), windows):
            part = slice(start, start + windows)
            columns = None if self.columns is None else self.columns[part]
            yield Batch(self.states[part], self.ahead[part], self.unit[part], columns, is_whole=False)


@dataclass(frozen=True)
class WindowBatches:
    """Draws batches of windows.

    The layers' moments of every checkpoint are summed once, so that a batch of a few weights reads no others.
    """

    windows: TrainingWindows
    stride: int
    per_window: int | None
    layers: Layers
    moments: list[Float64]

    @classmethod
    def of(cls, windows: TrainingWindows, stride: int, per_window: int | None) -> WindowBatches:
        """Batches of `per_window` weights of each window, or of all; one pass over the trials."""
        layers = Layers.of(windows.trials[0].layout)
        if per_window is not None and windows.parameter_count <= per_window:
            per_window = None
        return cls(windows, stride, per_window, layers, layers.trial_moments(windows.trials))

    def sample(self, count: int, rng: np.random.Generator, device: str) -> Batch:
        """A batch of `count` windows, drawn in proportion to their squared step."""
        windows, size = self.windows, self.windows.parameter_count
        rows = windows.sample(count, rng)
        if self.per_window is None:
            columns = np.tile(np.arange(size), (count, 1))
        else:
            columns = rng.integers(size, size=(count, self.per_window))
        values = np.stack(
            [
                windows.weights(row, slice(None) if self.per_window is None else own)
                for row, own in zip(rows, columns, strict=True)
            ]
        )
        origin = windows.context - 1
        places = state_places(windows.context, self.stride)
        mean, deviation = self._scales(rows, places)
        layer = self.layers.layer_of(columns)
        mean, deviation = (np.take_along_axis(value, layer, axis=1) for value in (mean, deviation))
        step = windows.step(rows)[:, None, None]
        ahead = (values[:, origin + 1 :] - values[:, origin, None]).swapaxes(1, 2) / step

        def tensor(array: npt.NDArray[np.floating[Any]]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)

        return Batch(
            states=tensor(standardised(values[:, places], mean, deviation)),
            ahead=tensor(ahead),
            unit=tensor(deviation[..., None] / step),
            columns=None if self.per_window is None else torch.from_numpy(columns).to(device),
        )

    def _scales(self, rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> tuple[Float64, Float64]:
        """Mean and deviation of each layer, [B, layers], over the states of windows."""
        moments = np.empty((len(rows), STATES, len(self.layers.starts), 2))
        for slot, row in enumerate(rows):
            first = self.windows.origin[row] - self.windows.context + 1
            moments[slot] = self.moments[self.windows.trial[row]][first + places]
        return self.layers.scales(moments)
