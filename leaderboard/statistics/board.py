"""Statistics of one board: skill, paired differences, win rates, ranks and ties, from per-trial sums.

Everything here knows data frames and numbers only. A *board's frame* has one row per entry, seed, trial and horizon of
one dataset, protocol and phase, with the columns `entry`, `seed`, `trial`, `horizon`, and sums over the trial's windows
in all others; skills, differences and win rates need `error` and `baseline`. An entry's seeds are averaged first: the
seed is the method's own, the trials are the sample. Test trials are resampled, the same ones for all entries, so that
differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...utils.bootstrap import bounds, draw, expanded_tail, wilson

Float64 = npt.NDArray[np.float64]

KEY = ["entry", "seed", "trial", "horizon"]
MIN_TRIALS = 6
"""With fewer test trials nothing is ranked: K trials all agree by chance with probability 2^(1 - K), above 5% for
K < 6, and a bootstrap over so few cannot know better."""
ROUNDING = 1e-12
"""Differences of skill below this (of skills beyond 1, this part of them) are rounding: equal entries are tied."""
CHUNK = 16
"""Entries worked on at a time; it bounds memory and changes no number."""


@dataclass(frozen=True)
class Sums:
    """A board's frame as arrays, seeds averaged.

    Parameters
    ----------
    entries
        N names, sorted.
    columns
        Sums by name, each [N, K, H]: entries, trials and horizons in ascending order.
    """

    entries: list[str]
    columns: dict[str, Float64]

    @property
    def baseline(self) -> Float64:
        """Persistence's error."""
        return self.columns["baseline"]

    @property
    def gained(self) -> Float64:
        """What is saved of persistence's error; skill is its share, and exactly 0 where the errors are equal."""
        return self.baseline - self.columns["error"]

    @property
    def trials(self) -> int:
        """K."""
        return int(next(iter(self.columns.values())).shape[1])


def board_sums(frame: pd.DataFrame) -> Sums:
    """The seed averages of a board's frame as arrays.

    Raises
    ------
    ValueError
        If a row is there twice, or entries differ in their trials or horizons: those cannot be paired.
    """
    if frame.duplicated(KEY).any():
        raise ValueError("a board's frame has an entry, seed, trial and horizon twice")
    columns = [str(column) for column in frame if column not in KEY]
    mean = frame.groupby(["entry", "trial", "horizon"], sort=True)[columns].mean()
    shape = [mean.index.get_level_values(level).nunique() for level in ("entry", "trial", "horizon")]
    seeds = frame.groupby(["entry", "seed"]).size()
    if len(mean) != np.prod(shape) or (seeds != shape[1] * shape[2]).any():
        raise ValueError("entries of different test trials or horizons cannot be paired")
    names = [str(name) for name in mean.index.unique("entry")]
    return Sums(names, {name: mean[name].to_numpy(dtype=np.float64).reshape(shape) for name in columns})


def mean_ratio(numerator: Float64, denominator: Float64) -> Float64:
    """The mean over horizons of sum / sum over trials, NaN where undefined: [..., K, H] to [...]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (numerator.sum(-2) / denominator.sum(-2)).mean(-1)
    return np.where(np.isfinite(mean), mean, np.nan)


def resampled_ratio(numerator: Float64, denominator: Float64, counts: Float64) -> Float64:
    """`mean_ratio` of every resample: [N, K, H] and how often each holds each trial [R, K], to [N, R]."""
    parts = [
        _resampled(numerator[i : i + CHUNK], denominator[i : i + CHUNK], counts).mean(1) for i in _starts(numerator)
    ]
    drawn: Float64 = np.concatenate(parts)
    return drawn


def _starts(sums: Float64) -> range:
    return range(0, len(sums), CHUNK)


def _resampled(numerator: Float64, denominator: Float64, counts: Float64) -> Float64:
    """Ratios at each horizon, [n, H, R], NaN where undefined."""
    entries, trials, horizons = numerator.shape
    above, below = (  # [n H, R]
        sums.transpose(0, 2, 1).reshape(-1, trials) @ counts.T for sums in (numerator, denominator)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = above / below
    ratio[~np.isfinite(ratio)] = np.nan
    return ratio.reshape(entries, horizons, -1)


def draw_counts(trials: int, resamples: int, seed: Any) -> Float64:
    """How often each resample holds each trial, [R, K]."""
    numbered = np.arange(resamples)[:, None] * trials + draw(trials, resamples, seed)
    counts = np.bincount(numbered.ravel(), minlength=resamples * trials)
    return counts.reshape(resamples, trials).astype(np.float64)


def estimates(
    entries: list[str], numerator: Float64, denominator: Float64, *, resamples: int, level: float, seed: int
) -> pd.DataFrame:
    """A ratio of sums at each horizon and its mean over horizons, with intervals over trials.

    Parameters
    ----------
    entries
        N names.
    numerator, denominator
        Per-trial sums [N, K, H].
    resamples, level, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        By entry and horizon (0 for the mean, then 1 to H): `value`, `low`, `high`; NaN where undefined, bounds NaN for
        a single trial.
    """
    trials, horizons = numerator.shape[1:]
    each = [mean_ratio(numerator[..., [h]], denominator[..., [h]]) for h in range(horizons)]
    value = np.stack([mean_ratio(numerator, denominator), *each], axis=1)  # [N, 1 + H]
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if trials > 1:
        counts, tail = draw_counts(trials, resamples, seed), expanded_tail(level, trials)
        for start in _starts(numerator):
            part = slice(start, start + CHUNK)
            drawn = _resampled(numerator[part], denominator[part], counts)
            low[part], high[part] = bounds(np.concatenate([drawn.mean(1, keepdims=True), drawn], axis=1), tail)
    unknown = ~np.isfinite(value)
    low[unknown], high[unknown] = np.nan, np.nan
    index = pd.MultiIndex.from_product([entries, range(horizons + 1)], names=["entry", "horizon"])
    return pd.DataFrame({"value": value.ravel(), "low": low.ravel(), "high": high.ravel()}, index=index)


def shares(
    sums: Sums, numerator: Float64, denominator: Float64, *, resamples: int, level: float, seed: int
) -> pd.DataFrame:
    """Each entry's mean skill as a part of another mean ratio on the same trials, with paired intervals over these.

    Parameters
    ----------
    sums
        Of the entries.
    numerator, denominator
        Per-trial sums [K, H] of the ratio that all are a part of.
    resamples, level, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        By entry: `value`, `low`, `high`; NaN where undefined, bounds NaN for a single trial.
    """
    whole = mean_ratio(numerator, denominator)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = mean_ratio(sums.gained, sums.baseline) / whole
        low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
        if sums.trials > 1:
            counts = draw_counts(sums.trials, resamples, seed)
            drawn = resampled_ratio(sums.gained, sums.baseline, counts)
            drawn /= resampled_ratio(numerator[None], denominator[None], counts)
            low, high = bounds(drawn, expanded_tail(level, sums.trials))
    table = pd.DataFrame({"value": value, "low": low, "high": high}, index=pd.Index(sums.entries, name="entry"))
    return table.where(np.isfinite(table["value"]))


def skills(frame: pd.DataFrame, horizon: int | None = None, *, resamples: int, level: float, seed: int) -> pd.DataFrame:
    """Each entry's skill, the mean over horizons of 1 - sum error / sum baseline or that at one horizon.

    Returns
    -------
    DataFrame
        By entry: `value`, `low`, `high` (the interval over trials), and `spread`, the standard deviation of the skill
        over seeds, NaN for one seed.
    """
    chosen = frame if horizon is None else frame[frame["horizon"] == horizon]
    sums = board_sums(chosen)
    table = estimates(sums.entries, sums.gained, sums.baseline, resamples=resamples, level=level, seed=seed)
    table = table[table.index.get_level_values("horizon") == 0].droplevel("horizon")
    by_seed = seed_skills(chosen).groupby("entry")
    return table.assign(spread=by_seed.std())


def seed_skills(frame: pd.DataFrame) -> pd.Series[float]:
    """The mean skill over horizons of every entry and seed."""
    totals = frame.groupby(["entry", "seed", "horizon"])[["error", "baseline"]].sum()
    skill = (totals["baseline"] - totals["error"]) / totals["baseline"]
    return skill.groupby(["entry", "seed"]).mean()


def differences(frame: pd.DataFrame, *, resamples: int, level: float, seed: int) -> pd.DataFrame:
    """The paired difference of mean skill of every two entries.

    Returns
    -------
    DataFrame
        By entry and other: `value`, `low` and `high` of the entry's skill minus the other's.
    """
    sums = board_sums(frame)
    value = mean_ratio(sums.gained, sums.baseline)
    if sums.trials < 2:
        return pair_table(sums.entries, value, lambda first: (np.nan, np.nan))
    drawn = resampled_ratio(sums.gained, sums.baseline, draw_counts(sums.trials, resamples, seed))
    tail = expanded_tail(level, sums.trials)
    return pair_table(sums.entries, value, lambda first: bounds(drawn[first] - drawn[first + 1 :], tail))


def pair_table(entries: list[str], value: Float64, interval: Callable[[int], Any]) -> pd.DataFrame:
    """Differences of all pairs, from the interval of entry `first` minus each later one; antisymmetric."""
    count = len(entries)
    low, high = np.full((count, count), np.nan), np.full((count, count), np.nan)
    for first in range(count - 1):
        below, above = interval(first)
        low[first, first + 1 :], high[first, first + 1 :] = below, above
        low[first + 1 :, first], high[first + 1 :, first] = np.negative(above), np.negative(below)
    difference = value[:, None] - value
    pairs = ~np.eye(count, dtype=bool)
    index = pd.MultiIndex.from_product([entries, entries], names=["entry", "other"])[pairs.ravel()]
    table = pd.DataFrame({"value": difference[pairs], "low": low[pairs], "high": high[pairs]}, index=index)
    scale = np.maximum(1.0, np.maximum(np.abs(value)[:, None], np.abs(value)))[pairs]
    table = table.mask(table.abs().lt(ROUNDING * scale, axis=0), 0.0)
    table.loc[table["value"].isna(), ["low", "high"]] = np.nan
    return table


def win_rates(frame: pd.DataFrame, *, level: float) -> pd.DataFrame:
    """The share of test trials in which an entry's mean skill is higher than another's; a tie counts half.

    Trials are independent, so the interval is Wilson's for a share (Brown, Cai and DasGupta, Statistical Science 16,
    2001): a bootstrap of 15 wins in 15 trials would claim certainty. Ties only make it wider than it need be.

    Returns
    -------
    DataFrame
        By entry and other: `value`, `low`, `high`; NaN where no trial has a skill.
    """
    sums = board_sums(frame)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = (sums.gained / sums.baseline).mean(-1)  # [N, K]
    known = np.isfinite(skill)
    skill = np.where(known, skill, 0.0)
    count = len(sums.entries)
    wins, trials = np.zeros((count, count)), np.zeros((count, count))
    for entry in range(count):
        both = known[entry] & known
        margin = skill[entry] - skill
        score = np.where(np.abs(margin) < ROUNDING, 0.5, margin > 0)
        wins[entry], trials[entry] = (score * both).sum(-1), both.sum(-1)
    pairs = ~np.eye(count, dtype=bool)
    index = pd.MultiIndex.from_product([sums.entries, sums.entries], names=["entry", "other"])[pairs.ravel()]
    low, high = wilson(wins[pairs], trials[pairs], level)
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"value": wins[pairs] / trials[pairs], "low": low, "high": high}, index=index)


BETTER, WORSE, TIED = "better", "worse", "tied"


def interval_verdicts(pairs: pd.DataFrame) -> pd.Series[str]:
    """By entry and other, what each pair's own interval says of the entry, a higher value being better."""
    verdict = np.where(pairs["high"] < 0, WORSE, np.where(pairs["low"] > 0, BETTER, TIED))
    return pd.Series(verdict, index=pairs.index, dtype=object)


def class_ranks(classes: Mapping[str, str], verdicts: pd.Series[str]) -> pd.DataFrame:
    """`ranks` within each class of entries, given by entry; pairs of other entries or of two classes are passed over.

    Predictors that read more than the weights compete among themselves: another information class is another table.
    """
    found = []
    for name in sorted(set(classes.values())):
        entries = [entry for entry in classes if classes[entry] == name]
        of_class = verdicts.index.isin(entries, level=0) & verdicts.index.isin(entries, level=1)
        found.append(ranks(entries, verdicts[of_class]))
    return pd.concat(found) if found else ranks([], verdicts[:0])


def ranks(entries: list[str], verdicts: pd.Series[str]) -> pd.DataFrame:
    """Ranks and ties of entries from the verdicts on their pairs, by entry and other.

    An entry's rank is one more than the number of entries that are better. Entries that are not told apart are tied;
    this is no equivalence: A may be tied with B and B with C, and C still be worse than A.

    Returns
    -------
    DataFrame
        By entry: `rank`, and `tied`, the list of entries not told apart from it.
    """
    worse = verdicts == WORSE
    rank = worse.groupby(level="entry").sum().reindex(entries, fill_value=0).astype(int) + 1
    tied: dict[str, list[str]] = {entry: [] for entry in entries}
    for entry, other in verdicts.index[verdicts == TIED]:
        tied[entry].append(other)
    return pd.DataFrame({"rank": rank, "tied": list(tied.values())}, index=pd.Index(entries, name="entry"))
