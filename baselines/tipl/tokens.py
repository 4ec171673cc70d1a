"""Windows of training trials as tokens: in their own context's basis, or in one of whole trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...registry.trial import Trial, iteration_positions
from ..fitting.gram import window_grams
from ..fitting.windows import TrainingWindows
from .basis import Basis
from .coordinates import window_coordinates
from .training import TokenWindows, joined

Float64 = npt.NDArray[np.float64]


def context_tokens(trials: Sequence[Trial], context: int, horizon: int, rank: int) -> TokenWindows:
    """All windows that move, each in its context's temporal SVD, in units of its mean step."""
    windows = TrainingWindows.of(trials, context, horizon)
    parts = []
    for number, trial in enumerate(trials):
        if len(trial) < context + horizon:
            continue
        grams = torch.from_numpy(window_grams(trial, context - 1, horizon))
        own = windows.trial == number
        squared = torch.from_numpy(windows.squared_step[own])
        coordinates = window_coordinates(grams, context, rank)
        future = grams[:, context - 1 :, context - 1 :].cumsum(1).cumsum(2).diagonal(dim1=1, dim2=2)
        displacement = (future / squared[:, None]).float()
        # what lies outside the context's span is beyond reach and stays in the error
        outside = displacement - coordinates.points[:, context:].square().sum(-1)
        parts.append(
            _windows(trial, windows.origin[own], squared, coordinates.points, displacement, outside).take(squared > 0)
        )
    return joined(parts)


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation [d] of the training trials' tokens, as Decision Transformer scales its states."""

    mean: Float64
    deviation: Float64

    @classmethod
    def of(cls, tokens: Sequence[Float64]) -> Scaling:
        """Those of the tokens [T, d] of some trials."""
        together = np.concatenate(tokens)
        deviation = together.std(axis=0)
        return cls(together.mean(axis=0), np.where(deviation > 0, deviation, 1.0))


def basis_tokens(
    trials: Sequence[Trial], bases: Sequence[Basis], context: int, horizon: int, scaling: Scaling | None
) -> TokenWindows:
    """All windows that move, in bases of whole trajectories.

    Parameters
    ----------
    trials, bases
        The trials, each with its basis.
    context, horizon
        L and H.
    scaling
        Makes scaled tokens, whose squared error is of weights; none: tokens relative to the origin in the window's
        mean step.
    """
    windows = TrainingWindows.of(trials, context, horizon)
    parts = []
    for number, (trial, basis) in enumerate(zip(trials, bases, strict=True)):
        if len(trial) < context + horizon:
            continue
        weights, own = trial.weights(), windows.trial == number
        squared, origins = windows.squared_step[own], windows.origin[own]
        ahead = origins[:, None] + np.arange(1, horizon + 1)
        displacement = np.stack([_squared(weights[ahead[:, h]] - weights[origins]) for h in range(horizon)], axis=1)
        tokens = basis.tokens(weights)
        rows = origins[:, None] + np.arange(1 - context, horizon + 1)
        if scaling is None:
            moved = (tokens[rows] - tokens[origins, None]) * basis.values
            moving = np.where(squared > 0, squared, 1.0)[:, None]
            points, displacement = moved / np.sqrt(moving)[..., None], displacement / moving
            outside = displacement - np.square(points[:, context:]).sum(axis=-1)
            metric = None
        else:
            points = ((tokens - scaling.mean) / scaling.deviation)[rows]
            missed = _squared(weights - basis.weights(tokens)) / weights.shape[1]
            outside, displacement = missed[ahead], displacement / weights.shape[1]
            metric = np.square(scaling.deviation * basis.values) / weights.shape[1]
        tensors = (torch.from_numpy(array) for array in (squared, points, displacement, outside))
        parts.append(_windows(trial, origins, *tensors, metric=metric).take(torch.from_numpy(squared > 0)))
    return joined(parts)


def _windows(
    trial: Trial,
    origins: npt.NDArray[np.int64],
    squared: Tensor,
    points: Tensor,
    displacement: Tensor,
    outside: Tensor,
    *,
    metric: Float64 | None = None,
) -> TokenWindows:
    """The windows of one trial, without the columns that every kind of token has alike."""
    count, length, rank = points.shape
    positions = torch.from_numpy(iteration_positions(trial.columns["epoch"]))
    context = length - displacement.shape[1]
    counted = torch.ones(rank) if metric is None else torch.from_numpy(metric).float()
    return TokenWindows(
        points.float(),
        positions.unfold(0, length, 1),
        torch.from_numpy(origins) - context + 1,
        squared.float(),
        displacement.float(),
        outside.float(),
        counted.expand(count, rank),
    )


def _squared(rows: npt.NDArray[np.floating]) -> Float64:
    """Squared lengths [n] of rows, in float64."""
    lengths: Float64 = np.square(rows, dtype=np.float64).sum(axis=1)
    return lengths
