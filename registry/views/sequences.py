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
        If the trials are too short for one window.

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
        checkpoints = min((len(trial) for trial in trials), default=context + horizon)
        starts = checkpoints - context - horizon + 1
        if starts < 1:
            raise DatasetError(f"{trials[0].path} has {checkpoints} checkpoints; a window needs {context + horizon}.")
        self.per_trial = -(-starts // stride)

    def __len__(self) -> int:
        return len(self.trials) * self.per_trial

    def __getitem__(self, index: int) -> WindowSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        number, place = divmod(index % len(self), self.per_trial)
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
