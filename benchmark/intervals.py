"""Uncertainty: windows of one trial are not independent, so whole trials are resampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from scipy.special import stdtrit

from ..utils.bootstrap import Float64, Index, bounds, draw, expanded_tail


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Estimate:
    """A value with its bootstrap interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, the squared widths of whose intervals add.

    Undefined if one of them is, and without an interval if one has none.
    """
    values = [one.value for one in estimates if one.value is not None]
    if len(values) < len(estimates):
        return UNDEFINED
    mean = sum(values) / len(values)
    widths = [one.high - one.low for one in estimates if one.high is not None and one.low is not None]
    if len(widths) < len(estimates):
        return Estimate(mean, None, None)
    half = math.hypot(*widths) / 2 / len(widths)
    return Estimate(mean, mean - half, mean + half)


class Resampling(Protocol):
    """How intervals are made: a protocol of either track."""

    @property
    def resamples(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def bootstrap_seed(self) -> int: ...


def bootstrap(statistic: Callable[[Index], Any], trials: int, protocol: Resampling) -> Estimate:
    """A statistic of a set of trials with its expanded percentile bootstrap interval over trials.

    Parameters
    ----------
    statistic
        Maps trial numbers [..., K] to values [...]; a trial is drawn with everything that belongs to it, so that
        differences are paired. NaN where it is undefined.
    trials
        K.
    protocol
        Resamples, level and seed.

    Returns
    -------
    Estimate
        Without bounds for a single trial; undefined where the statistic of all trials is.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(np.arange(trials)))
        if not np.isfinite(value):
            return UNDEFINED
        if trials < 2:
            return Estimate(value, None, None)
        drawn = statistic(draw(trials, protocol.resamples, protocol.bootstrap_seed))
    low, high = bounds(drawn, expanded_tail(protocol.confidence, trials))
    return Estimate(value, float(low), float(high))


def ratio(numerator: Float64, denominator: Float64, protocol: Resampling) -> Estimate:
    """The ratio of two sums over trials, from per-trial sums [K], with its paired interval."""
    return bootstrap(lambda i: numerator[i].sum(-1) / denominator[i].sum(-1), len(numerator), protocol)


def skill(error: Float64, baseline: Float64, protocol: Resampling) -> Estimate:
    """1 - sum(error) / sum(baseline) from per-trial sums [K] on the same windows, with its paired interval."""
    return bootstrap(lambda i: 1 - error[i].sum(-1) / baseline[i].sum(-1), len(error), protocol)


def crossed(values: Float64, level: float) -> Estimate:
    """The mean of values [S, N] of S seeds and N trials or agents, crossed, with Student's interval.

    Both are random: the variance of the mean is that of a two-way layout without replication, its degrees of freedom
    Satterthwaite's. Three seeds are too few to be resampled (docs/intervals.md).
    """
    seeds, trials = values.shape
    between = values - values.mean()
    of_trials = seeds * between.mean(0)
    if seeds == 1:
        variance, freedom = float(between.var(ddof=1) / trials), float(trials - 1)
    else:
        rest = between - between.mean(0) - between.mean(1)[:, None]
        squares = np.array(
            [
                trials * between.mean(1).var(ddof=1),
                of_trials.var(ddof=1) / seeds,
                (rest**2).sum() / ((seeds - 1) * (trials - 1)),
            ]
        )
        degrees = np.array([seeds - 1, trials - 1, (seeds - 1) * (trials - 1)])
        total = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
        spread = float((squares**2 / degrees).sum())
        variance, freedom = total / values.size, total**2 / spread if spread else float(degrees[0])
    half = float(stdtrit(max(1.0, freedom), 0.5 + level / 2)) * variance**0.5
    mean = float(values.mean())
    return Estimate(mean, mean - half, mean + half)
