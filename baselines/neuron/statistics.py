"""What a window shows besides weights: the schedule, the training return and the observation normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...registry.trial import Trial
from ...rl.forward import NORMALIZER_EPSILON
from ..predictor import Contexts


class Statistics(NamedTuple):
    """Of B windows; where two checkpoints count, the first of the context and the origin."""

    rate: Tensor
    """The learning rate at the origin, [B]."""
    returns: Tensor
    """Mean training returns, [B, 2]; NaN before the first episode has ended."""
    observations: Tensor
    """Mean and variance of each observation, [B, 2, 2, O]."""

    @classmethod
    def of(cls, contexts: Contexts, length: int, device: str) -> Statistics:
        """Of the last `length` checkpoints of some contexts."""
        ends = [-length, -1]
        columns = (
            contexts.columns["learning_rate"][:, -1],
            contexts.columns["episodic_return"][:, ends],
            contexts.normaliser[:, ends],
        )
        return cls(*(torch.from_numpy(column.astype(np.float32)).to(device) for column in columns))

    @classmethod
    def join(cls, parts: Sequence[Statistics]) -> Statistics:
        """Those of several batches, in their order."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))


class StatisticsEmbedding(nn.Module):
    """From statistics to what is added to all neurons, and to each input neuron.

    The learning rate is a share of the training trials' highest. Returns, as the logarithm of 1 + their size with their
    sign, are in standard deviations of the training trials' from their mean. An unknown return, NaN, counts as that
    mean, an unknown rate as 0.
    """

    rate: Tensor
    """The highest learning rate of the training trials."""
    returns: Tensor
    """Mean and standard deviation of the logarithms of their returns, [2]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("rate", torch.ones(()))
        self.register_buffer("returns", torch.tensor([0.0, 1.0]))
        self.everywhere, self.inputs = nn.Linear(3, width), nn.Linear(4, width)

    def standardise(self, trials: Sequence[Trial]) -> None:
        """Set the units of the features from the training trials."""
        rates, returns = (
            np.concatenate([trial.read(name) for trial in trials]) for name in ("learning_rate", "episodic_return")
        )
        rates, levels = rates[np.isfinite(rates) & (rates > 0)], _logarithm(torch.from_numpy(returns)).numpy()
        levels = levels[np.isfinite(levels)]
        if len(rates):
            self.rate.fill_(float(rates.max()))
        if len(levels):
            self.returns.copy_(torch.tensor([levels.mean(), levels.std() or 1.0]))

    def forward(self, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """[B, 1, width] for all neurons, and [B, O, width] for those of the observations."""
        mean, deviation = self.returns
        levels = torch.nan_to_num((_logarithm(statistics.returns) - mean) / deviation)
        share = torch.nan_to_num(statistics.rate / self.rate)
        overall = torch.stack([share, levels[:, 1], levels[:, 1] - levels[:, 0]], -1)
        means, variances = statistics.observations.unbind(2)  # [B, 2, O]
        variances = variances + NORMALIZER_EPSILON
        logarithms, deviations = variances.log(), variances[:, 1].sqrt()
        inputs = [
            logarithms[:, 1] / 2,
            means[:, 1] / deviations,
            logarithms[:, 1] - logarithms[:, 0],
            (means[:, 1] - means[:, 0]) / deviations,
        ]
        return self.everywhere(overall)[:, None], self.inputs(torch.stack(inputs, -1))


def _logarithm(returns: Tensor) -> Tensor:
    return returns.sign() * returns.abs().log1p()
