"""Uncertainty: windows of one trial are not independent, so whole trials are resampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from scipy import stats

from .protocol import Protocol

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Estimate:
    """A value with its bootstrap interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def ratio(numerator: Float64, denominator: Float64, protocol: Protocol) -> Estimate:
    """The ratio of two sums over trials, with its paired bootstrap interval over trials.

    Parameters
    ----------
    numerator, denominator
        Per-trial sums [K]; a trial is drawn with both of its numbers.
    protocol
        Resamples, level and seed.

    Returns
    -------
    Estimate
        Percentile interval; without bounds for a single trial, undefined where the denominator sums to 0.
    """
    if denominator.sum() == 0:
        return UNDEFINED
    value = float(numerator.sum() / denominator.sum())
    if len(numerator) < 2:
        return Estimate(value, None, None)

    def statistic(n: Any, d: Any, axis: int = -1) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):
            return n.sum(axis=axis) / d.sum(axis=axis)

    drawn = stats.bootstrap(
        (numerator, denominator),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=protocol.resamples,
        confidence_level=protocol.confidence,
        method="percentile",
        rng=np.random.default_rng(protocol.bootstrap_seed),
    )
    # A resample may hold only trials whose denominator is 0: it says nothing about the ratio.
    finite = drawn.bootstrap_distribution[np.isfinite(drawn.bootstrap_distribution)]
    tail = (1 - protocol.confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def skill(error: Float64, baseline: Float64, protocol: Protocol) -> Estimate:
    """1 - sum(error) / sum(baseline) from per-trial sums [K] on the same windows, with its interval."""
    estimate = ratio(error, baseline, protocol)
    if estimate.value is None:
        return UNDEFINED
    low, high = estimate.high, estimate.low
    return Estimate(1 - estimate.value, None if low is None else 1 - low, None if high is None else 1 - high)


def mean(values: Float64, counts: Float64, protocol: Protocol) -> Estimate:
    """A mean over windows from per-trial sums and counts [K], with its interval."""
    return ratio(values, counts, protocol)
