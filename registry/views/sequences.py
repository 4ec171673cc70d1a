"""Windows of a dataset's trials as a torch `Dataset`: read when asked for, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from ...utils.errors import DatasetError
from ..trial import Trial

COUNTED = ("iteration", "epoch")


class WindowSample(TypedDict):
    """L checkpoints of past and the H after them, of one trial."""

    context: torch.Tensor
    """[L, P] float32."""
    target: torch.Tensor
    """[H, P] float32."""
    iteration: torch.Tensor
    """[L + H] int64."""
    epoch: torch.Tensor
    """[L + H] int64."""
    trial: int
    origin: int
    """The last checkpoint of the context."""


class WindowDataset(TorchDataset[WindowSample]):
    """All windows of some trials, in order of trial and origin.

    Parameters
    ----------
    trials
        Trials of one dataset; each item is one contiguous read of its trial's file.
    context, horizon
        L and H.
    stride
        Checkpoints from one origin to the next.
    numbers
        What windows call their trials; the trials' own numbers by default.

    Raises
    ------
    DatasetError
        If a trial is too short for one window.

    Examples
    --------
    >>> windows = tipl_bench.load_dataset("inverted-pendulum/ppo-head-v1").windows(context=20, horizon=10)
    >>> loader = torch.utils.data.DataLoader(windows, batch_size=64, shuffle=True)
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        *,
        context: int,
        horizon: int,
        stride: int = 1,
        numbers: Sequence[int] | None = None,
    ) -> None:
        if min(context, horizon, stride) < 1:
            raise DatasetError(f"context {context}, horizon {horizon} and stride {stride} must each be at least 1.")
        self.trials = trials
        self.numbers = [trial.index for trial in trials] if numbers is None else numbers
        self.context, self.horizon, self.stride = context, horizon, stride
        for trial in trials:
            if len(trial) < context + horizon:
                raise DatasetError(f"{trial.path} has {len(trial)} checkpoints; a window needs {context + horizon}.")
        self._ends = np.cumsum([-(-(len(trial) - context - horizon + 1) // stride) for trial in trials], dtype=int)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self.trials) else 0

    def __getitem__(self, index: int) -> WindowSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        index %= len(self)
        number = int(self._ends.searchsorted(index, "right"))
        place = index - (int(self._ends[number - 1]) if number else 0)
        trial, start = self.trials[number], place * self.stride
        stop = start + self.context + self.horizon
        weights = torch.from_numpy(trial.weights(start, stop))
        counted = {name: torch.from_numpy(np.array(trial.columns[name][start:stop])) for name in COUNTED}
        return WindowSample(
            context=weights[: self.context],
            target=weights[self.context :],
            iteration=counted["iteration"],
            epoch=counted["epoch"],
            trial=self.numbers[number],
            origin=start + self.context - 1,
        )
