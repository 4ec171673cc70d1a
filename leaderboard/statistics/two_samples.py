"""A ratio on two independent samples of trials, and how it differs between them."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...utils.bootstrap import bounds, expanded_tail
from .board import ROUNDING, draw_counts, mean_ratio, resampled_ratio

Float64 = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A value with its interval; NaN where it is undefined."""

    value: float
    low: float
    high: float


class Sample(NamedTuple):
    """Per-trial sums [K, H] of a ratio at H horizons."""

    numerator: Float64
    denominator: Float64

    @property
    def trials(self) -> int:
        """K."""
        return len(self.numerator)

    def value(self) -> float:
        """The mean over horizons of the ratio of sums."""
        return float(mean_ratio(self.numerator, self.denominator))

    def drawn(self, counts: Float64) -> Float64:
        """The same of resamples that hold each trial so often, [R, K] to [R]."""
        drawn: Float64 = resampled_ratio(self.numerator[None], self.denominator[None], counts)[0]
        return drawn


def two_samples(
    first: Sample, second: Sample, *, resamples: int, level: float, seed: int
) -> tuple[Interval, Interval, Interval]:
    """The mean over horizons of a ratio of sums on each sample, and the second minus the first.

    Trials are resampled within each sample, independently of the other. Each sample's interval is the expanded
    percentile one; that of the difference has what both samples' variances fall short of, and Satterthwaite's degrees
    of freedom (`utils.bootstrap.expanded_tail`).

    Parameters
    ----------
    first, second
        Of at least two trials each.
    resamples, level, seed
        Of the bootstrap.
    """
    values = first.value(), second.value()
    drawn = (
        first.drawn(draw_counts(first.trials, resamples, seed)),
        second.drawn(draw_counts(second.trials, resamples, [seed, 1])),  # equal draws would pair the samples
    )
    spread = [float(np.nanvar(part)) for part in drawn]
    tails = expanded_tail(level, first.trials), expanded_tail(level, second.trials)
    tail = expanded_tail(level, [first.trials, second.trials], spread)

    def interval(value: float, draws: Float64, at: float) -> Interval:
        low, high = bounds(draws, at)
        return Interval(value, float(low), float(high))

    one, other = (interval(*of) for of in zip(values, drawn, tails, strict=True))
    return one, other, interval(values[1] - values[0], drawn[1] - drawn[0], tail)


def permutation_test(
    first: Sample, second: Sample, *, resamples: int, seed: int, exact: bool = True
) -> tuple[float, float]:
    """How often trials that are dealt out to the two samples at random differ as these do, or more: a permutation test.

    Exact for any numbers of trials and any spread where all trials are of one distribution, as the public and the
    fresh trials are for a predictor that knows neither; the bootstrap's interval is too short for few, skewed trials of
    unequal numbers.

    Parameters
    ----------
    first, second
        As for `two_samples`.
    resamples, seed
        Of the permutations that are drawn at random.
    exact
        Whether each way to deal the trials out is taken once where there are no more than `resamples`.

    Returns
    -------
    float, float
        How often the second sample's value is at least so much below the first's, and so much above it.
    """
    trials, size = first.trials + second.trials, first.trials
    together = Sample(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))
    if exact and math.comb(trials, size) <= resamples:
        chosen = _every_way(trials, size)
    else:
        chosen = _random_ways(trials, size, resamples, seed)

    differences = together.drawn(1.0 - chosen) - together.drawn(chosen)
    slack = ROUNDING * max(1.0, abs(float(differences[0])))
    below, above = differences <= differences[0] + slack, differences >= differences[0] - slack
    return float(below.mean()), float(above.mean())


def _every_way(trials: int, size: int) -> Float64:
    """Which trials make up the first sample, a row for each way to choose them; in the first row the first `size`."""
    ways = np.array(list(itertools.combinations(range(trials), size)))
    chosen = np.zeros((len(ways), trials))
    np.put_along_axis(chosen, ways, 1.0, axis=1)
    return chosen


def _random_ways(trials: int, size: int, resamples: int, seed: int) -> Float64:
    """The same for random choices, after the first row."""
    order = np.random.default_rng([seed, 2]).permuted(np.tile(np.arange(trials), (resamples, 1)), axis=1)
    chosen = np.zeros((resamples + 1, trials))
    chosen[0, :size] = 1.0
    np.put_along_axis(chosen[1:], order[:, :size], 1.0, axis=1)
    return chosen
