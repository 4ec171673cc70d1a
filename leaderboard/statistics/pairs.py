"""Paired comparisons that hold for a whole board: test trials and seeds as levels, and Holm's correction.

An entry's value is a ratio of sums over trials, its seeds averaged. It varies with the test trials, which all entries
share, and with the entry's own seeds; both are samples. To first order the value is a sum of what each trial
contributes (the infinitesimal jackknife, that is, the limit of resampling), so a difference has the variance

    variance of the trials' paired contributions / K + variance of the one's seeds / S + of the other's seeds / S,

the level of seeds being left out where there is one seed. Its interval is Student's, with Satterthwaite's degrees of
freedom (Biometrics Bulletin 2, 1946), never more than the trials' K - 1; the seeds' part counts S - 1. The interval of
a resampled percentile would end at six trials' own range: 1 in 32 of equal pairs lies beyond that.

Among m pairs of equal entries some are told apart by chance, the more the more pairs there are. Holm's step-down
correction (Scandinavian Journal of Statistics 6, 1979) bounds the probability that any is, whatever their dependence.
`docs/intervals.md` has the measured levels and power, of this and of what was not chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from .board import BETTER, ROUNDING, TIED, WORSE, board_sums, mean_ratio

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Stratum:
    """Entries' values on one board, and what they vary with.

    Parameters
    ----------
    entries
        N names, sorted.
    value
        [N].
    influence
        What each unit, a trial, contributes to the value beyond its mean, [N, K]: the value's variance is theirs / K.
    seed_variance
        Variance of the value over the entry's own seeds, [N]; 0 for one seed.
    seed_freedom
        Its degrees of freedom, [N].
    """

    entries: list[str]
    value: Float64
    influence: Float64
    seed_variance: Float64
    seed_freedom: Float64

    def mapped(self, function: Callable[[Float64], Float64], slope: Callable[[Float64], Float64]) -> Stratum:
        """A function of the values, by its derivative at them."""
        by = slope(self.value)
        return Stratum(
            self.entries,
            function(self.value),
            self.influence * by[:, None],
            self.seed_variance * by**2,
            self.seed_freedom,
        )


def stratum(frame: pd.DataFrame) -> Stratum:
    """The mean over horizons of sum / sum over trials of every entry of a board.

    Parameters
    ----------
    frame
        A board's frame with the columns `numerator` and `denominator`, see `statistics.board`.

    Raises
    ------
    ValueError
        If entries cannot be paired.
    """
    return next(_strata(frame))


def _strata(frame: pd.DataFrame) -> Iterator[Stratum]:
    """The stratum of the mean over horizons, then that of each horizon."""
    sums = board_sums(frame)
    numerator, denominator = sums.columns["numerator"], sums.columns["denominator"]  # [N, K, H]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = numerator.sum(1, keepdims=True) / denominator.sum(1, keepdims=True)
        influence = (numerator - ratio * denominator) / denominator.mean(1, keepdims=True)
    totals = frame.groupby(["entry", "seed", "horizon"])[["numerator", "denominator"]].sum()
    by_seed = (totals["numerator"] / totals["denominator"]).unstack("horizon")  # a row an entry and seed
    owner, ratios = by_seed.index.get_level_values("entry"), by_seed.to_numpy(dtype=np.float64)
    seeds = np.asarray(by_seed.groupby("entry").size(), dtype=np.float64)
    horizons = [*range(numerator.shape[-1])]
    for chosen in (horizons, *([h] for h in horizons)):
        variance = pd.Series(ratios[:, chosen].mean(-1)).groupby(owner).var(ddof=1).fillna(0.0)
        yield Stratum(
            sums.entries,
            mean_ratio(numerator[..., chosen], denominator[..., chosen]),
            influence[..., chosen].mean(-1),
            np.asarray(variance, dtype=np.float64) / seeds,
            seeds - 1.0,
        )


def widened(table: pd.DataFrame, frame: pd.DataFrame, *, level: float) -> pd.DataFrame:
    """Intervals over trials that take the predictors' seeds for a level too.

    Each end moves away from the value by the ratio of Student's interval of both levels and that of trials alone, so
    that an interval of one seed stays, and those of skewed sums stay skewed.

    Parameters
    ----------
    table
        By entry and horizon, see `statistics.board.estimates`; or by entry, of means over horizons.
    frame
        The same values' board, as `stratum` takes it.
    level
        Of the intervals.
    """
    strata = islice(_strata(frame), 1 if table.index.nlevels == 1 else None)
    factor = np.stack([_widening(one, level) for one in strata], axis=-1).ravel()  # [N (1 + H)], or [N]
    ends = table[["low", "high"]].sub(table["value"], axis=0).mul(factor, axis=0)
    return table.assign(low=table["value"] + ends["low"], high=table["value"] + ends["high"])


def _widening(one: Stratum, level: float) -> Float64:
    """Student's interval of trials and seeds in relation to that of trials alone, [N]."""
    units = one.influence.shape[-1]
    if units < 2:  # no interval to widen
        return np.ones(len(one.entries))
    variance, freedom = _own_variance([one])
    alone = one.influence.var(-1, ddof=1) / units
    with np.errstate(invalid="ignore", divide="ignore"):
        quantiles = stats.t.ppf((1 + level) / 2, freedom) / stats.t.ppf((1 + level) / 2, units - 1)
        return np.where(alone > 0, np.sqrt(variance / alone) * quantiles, 1.0)


def of_units(entries: list[str], values: Float64) -> Stratum:
    """The mean of values [N, K] of units that are the sample themselves."""
    mean = values.mean(-1)
    nothing = np.zeros(len(entries))
    return Stratum(entries, mean, values - mean[:, None], nothing, nothing)


def intervals(strata: Sequence[Stratum], *, level: float) -> pd.DataFrame:
    """The mean over strata of each entry's value, with its interval; by entry: `value`, `low`, `high`."""
    entries = strata[0].entries
    value = np.mean([one.value for one in strata], axis=0)
    variance, freedom = _own_variance(strata)
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance)
    columns = {"value": value, "low": value - half, "high": value + half}
    return pd.DataFrame(columns, index=pd.Index(entries, name="entry"))


class Differences(NamedTuple):
    """Differences of pairs, the half widths of their intervals, and the probability of such a one between equals."""

    value: Float64
    half: Float64
    p: Float64


def paired(strata: Sequence[Stratum], first: Index, second: Index, *, level: float) -> Differences:
    """The mean over strata of some entries' values minus those of others, each pair by itself.

    Parameters
    ----------
    strata
        Of the same entries.
    first, second
        Numbers of the entries of each pair.
    level
        Of the intervals.
    """
    values = np.mean([one.value for one in strata], axis=0)
    difference = values[first] - values[second]
    scale = np.maximum(1.0, np.maximum(np.abs(values[first]), np.abs(values[second])))
    variance, freedom = _variance(
        strata,
        lambda one: (one.influence[first] - one.influence[second]).var(-1, ddof=1),
        lambda one: one.seed_variance[first] + one.seed_variance[second],
        lambda one: _pair_freedom(one, first, second),
    )
    error = np.sqrt(variance)
    difference = np.where(np.abs(difference) < ROUNDING * scale, 0.0, difference)
    half = stats.t.ppf((1 + level) / 2, freedom) * np.where(error < ROUNDING * scale, 0.0, error)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(difference == 0, 1.0, 2 * stats.t.sf(np.abs(difference) / error, freedom))
    return Differences(difference, half, p)


def comparisons(
    strata: Sequence[Stratum],
    classes: Mapping[str, str],
    *,
    higher_is_better: bool,
    practical_tie: float,
    level: float,
) -> pd.DataFrame:
    """The paired difference of every two entries: of the mean over strata of their values.

    Parameters
    ----------
    strata
        Of the same entries; one for a board, one an environment across these.
    classes
        By entry that is ranked, the class that it is ranked in. The pairs within classes are the family of which at
        most 1 - `level` of boards tell any equal ones apart; other pairs have an interval and no verdict.
    higher_is_better
        Whether a positive difference is better.
    practical_tie
        Smaller differences are ties, whatever their intervals.
    level
        Of every interval by itself, and of the family.

    Returns
    -------
    DataFrame
        By entry and other: `value`, `low` and `high` of the entry's value minus the other's, `p` adjusted by Holm, and
        the `verdict` on the entry: "better", "worse", "tied", or None for pairs that are not ranked.
    """
    entries = strata[0].entries
    first, second = np.triu_indices(len(entries), 1)
    difference, half, p = paired(strata, first, second, level=level)
    names, unjudged = np.array(entries, dtype=object), np.full(len(p), None)
    family = _family([classes.get(name) for name in entries], first, second)
    adjusted = np.full(len(p), np.nan)
    adjusted[family] = holm(p[family])
    apart = (adjusted < 1 - level) & (np.abs(difference) >= practical_tie)

    def side(one: npt.NDArray[np.object_], other: npt.NDArray[np.object_], sign: int) -> pd.DataFrame:
        value = sign * difference + 0.0  # no negative zero
        verdict = np.where(apart, np.where((value > 0) == higher_is_better, BETTER, WORSE), TIED)
        columns = {"value": value, "low": value - half, "high": value + half, "p": adjusted}
        index = pd.MultiIndex.from_arrays([one, other], names=["entry", "other"])
        # As objects: in a column of strings None would become NaN.
        verdicts = pd.Series(np.where(family, verdict, unjudged), index=index, dtype=object)
        return pd.DataFrame(columns, index=index).assign(verdict=verdicts)

    table = pd.concat([side(names[first], names[second], 1), side(names[second], names[first], -1)])
    return table.sort_index()


def _family(classes: Sequence[str | None], first: Index, second: Index) -> npt.NDArray[np.bool_]:
    """Which pairs are of two entries that are ranked in one class."""
    return np.array(
        [classes[i] is not None and classes[i] == classes[j] for i, j in zip(first, second, strict=True)], bool
    )


def holm(p: Float64) -> Float64:
    """Holm's adjusted p-values of a family; undefined ones count as 1."""
    known = np.where(np.isfinite(p), p, 1.0)
    order = np.argsort(known)
    stepped = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1))
    adjusted = np.empty_like(known)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _pair_freedom(one: Stratum, first: Index, second: Index) -> Float64:
    """Degrees of freedom of the seeds' part of a pair: those of the one with fewer, of those that have any."""
    freedom = np.where(one.seed_freedom > 0, one.seed_freedom, np.inf)
    return np.minimum(freedom[first], freedom[second])


def _own_variance(strata: Sequence[Stratum]) -> tuple[Float64, Float64]:
    """`_variance` of each entry's value."""
    return _variance(
        strata,
        lambda one: one.influence.var(-1, ddof=1),
        lambda one: one.seed_variance,
        lambda one: one.seed_freedom,
    )


def _variance(
    strata: Sequence[Stratum],
    of_trials: Callable[[Stratum], Float64],
    of_seeds: Callable[[Stratum], Float64],
    seed_freedom: Callable[[Stratum], Float64],
) -> tuple[Float64, Float64]:
    """Variance of the mean over strata, and its degrees of freedom; NaN where a stratum has a single unit."""
    parts, squares, most = [], [], 0
    for one in strata:
        units = one.influence.shape[-1]
        most += units - 1
        if units < 2:
            nothing = np.full_like(of_seeds(one), np.nan)
            return nothing, nothing
        trials, seeds = of_trials(one) / units / len(strata) ** 2, of_seeds(one) / len(strata) ** 2
        freedom = seed_freedom(one)
        parts += [trials, seeds]
        squares += [trials**2 / (units - 1), np.where(seeds > 0, seeds**2 / np.maximum(freedom, 1), 0.0)]
    total, square = sum(parts), sum(squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(square > 0, total**2 / square, most)
    return np.asarray(total), np.minimum(freedom, most)
