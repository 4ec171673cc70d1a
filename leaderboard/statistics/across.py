"""Statistics across environments: means over them, paired.

The overall skill is the plain mean of the environments' skills. Its sample has two levels: test trials within an
environment, and the environments themselves.

*Trials* are always resampled, within each environment on its own, the same ones for all entries. The *environments*
are few and were chosen, not sampled; with fewer than `MIN_ENVIRONMENTS_TO_RESAMPLE` they are fixed strata, and
intervals, ranks and ties hold for these environments (as in Agarwal et al., "Deep Reinforcement Learning at the Edge of
the Statistical Precipice", NeurIPS 2021). Resampling, say, four of them would say little about others like them, and
its interval would mostly show how different the four are: a method that is better on every trial of each would come out
as tied.

From `MIN_ENVIRONMENTS_TO_RESAMPLE` on they are resampled, as the upper level, and intervals hold for environments like
these. A sampled environment then keeps its trials: the spread of the environments' skills already contains the trials'
noise, which a second resampling below would count twice (Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8).

`overall` is protocol 1's, by bootstrap of the mean skill; `strata` gives what `statistics.pairs` takes for any other
mean, with the predictors' seeds as a level too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...utils.bootstrap import bounds, expanded_tail
from .board import (
    board_sums,
    class_ranks,
    draw_counts,
    interval_verdicts,
    mean_ratio,
    pair_table,
    resampled_ratio,
)
from .pairs import Stratum, of_units, stratum

Float64 = npt.NDArray[np.float64]

MIN_ENVIRONMENTS_TO_RESAMPLE = 10
"""The expanded percentile interval of 10 resampled environments covers what it says (docs/intervals.md)."""


def strata(parts: Sequence[pd.DataFrame], *, geometric: bool = False) -> list[Stratum]:
    """What a mean over environments is made of, from their boards' frames as `statistics.pairs` takes them.

    Parameters
    ----------
    parts
        One an environment, of the same entries.
    geometric
        Whether the mean is of logarithms.

    Returns
    -------
    list of Stratum
        One an environment; or a single one of which the environments are the units, where they are enough.
    """
    found = [stratum(part) for part in parts]
    if any(one.entries != found[0].entries for one in found):
        raise ValueError("entries must be present in every environment")
    if geometric:
        found = [one.mapped(np.log, np.reciprocal) for one in found]
    if len(found) < MIN_ENVIRONMENTS_TO_RESAMPLE:
        return found
    return [of_units(found[0].entries, np.stack([one.value for one in found], axis=-1))]


@dataclass(frozen=True)
class Overall:
    """What entries do across environments.

    Parameters
    ----------
    environments
        Sorted.
    resampled
        "trials", the environments being fixed, or "environments".
    skills
        By entry: `value`, `low`, `high`.
    differences
        By entry and other, as `statistics.differences`.
    ranks
        By entry: `rank` and `tied`, as `statistics.class_ranks`.
    """

    environments: list[str]
    resampled: str
    skills: pd.DataFrame
    differences: pd.DataFrame
    ranks: pd.DataFrame


def overall(
    frame: pd.DataFrame, classes: Mapping[str, str] | None = None, *, resamples: int, level: float, seed: int
) -> Overall:
    """Mean skill over environments of entries that are present in all of them.

    Parameters
    ----------
    frame
        The boards' frames (see `statistics`) below one another, with a column `environment`.
    classes
        Information class of every entry: it is ranked within that. All are of one by default.
    resamples, level, seed
        Of the bootstrap. Every environment has a random stream of its own, so that another one changes nothing in it.

    Raises
    ------
    ValueError
        If an entry is not present in every environment, or a board's entries cannot be paired.
    """
    environments, entries, value, drawn, trials = [], [], [], [], []
    for environment, part in frame.groupby("environment", sort=True):
        sums = board_sums(part.drop(columns="environment"))
        counts = draw_counts(sums.trials, resamples, [seed, *str(environment).encode()])
        environments.append(str(environment))
        entries.append(sums.entries)
        trials.append(sums.trials)
        value.append(mean_ratio(sums.gained, sums.baseline))
        drawn.append(resampled_ratio(sums.gained, sums.baseline, counts))
    if any(names != entries[0] for names in entries):
        raise ValueError("entries must be present in every environment")
    if min(trials) < 2:
        raise ValueError("an environment of one test trial has no interval")
    values = np.stack(value)  # [E, N]
    fixed = len(environments) < MIN_ENVIRONMENTS_TO_RESAMPLE
    mean, tail, pair_tail = (
        _fixed(np.stack(drawn), trials, level) if fixed else _sampled(values, resamples, level, seed)
    )
    low, high = bounds(mean, tail)
    table = pd.DataFrame({"value": values.mean(0), "low": low, "high": high}, index=pd.Index(entries[0], name="entry"))
    pairs = pair_table(
        entries[0],
        values.mean(0),
        lambda first: bounds(mean[first] - mean[first + 1 :], pair_tail[first, first + 1 :]),
    )
    resampled = "trials" if fixed else "environments"
    places = class_ranks(classes or dict.fromkeys(entries[0], ""), interval_verdicts(pairs))
    return Overall(environments, resampled, table, pairs, places)


def _fixed(drawn: Float64, trials: list[int], level: float) -> tuple[Float64, Any, Float64]:
    """Draws of the overall skill [N, R] from each environment's [E, N, R]; tails of entries [N], pairs [N, N]."""
    covariance = np.stack([np.atleast_2d(np.cov(np.where(np.isfinite(part), part, 0.0))) for part in drawn], -1)
    own = np.einsum("iie->ie", covariance)  # [N, E]
    pair = np.maximum(own[:, None] + own[None] - 2 * covariance, 0.0)  # [N, N, E]
    return drawn.mean(0), expanded_tail(level, trials, own), expanded_tail(level, trials, pair)


def _sampled(values: Float64, resamples: int, level: float, seed: int) -> tuple[Float64, Any, Float64]:
    """The same from the environments' skills [E, N] alone, whole environments being drawn."""
    environments, entries = values.shape
    counts = draw_counts(environments, resamples, seed)
    tail = expanded_tail(level, environments)
    return (counts @ values / environments).T, tail, np.full((entries, entries), tail)
