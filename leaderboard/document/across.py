"""Means over environments of methods and of their differences: skill, share of the span ceiling, error ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...benchmark.intervals import Estimate, averaged
from ...benchmark.metrics import BY_NAME, HEADLINE
from ..statistics.across import overall, strata
from ..statistics.board import interval_verdicts
from ..statistics.pairs import comparisons, intervals
from .comparison_schema import BoardRanking, PairedDifference
from .entries import Entry
from .metric_values import SPAN_SHARE, bootstrap_settings, headline_frame, ratio_frame
from .numbers import estimate
from .ranking import Ranked, placed
from .schema import Row

PHASE = "learning"


@dataclass(frozen=True)
class EnvironmentEntries:
    """The entries of one environment that are compared.

    Parameters
    ----------
    environment
        Its name.
    entries
        One a method.
    labels
        By the entry's id, the method's label.
    """

    environment: str
    entries: Sequence[Entry]
    labels: Mapping[str, str]

    def labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame of the entries by their labels."""
        return frame.assign(entry=frame["entry"].map(self.labels))


@dataclass(frozen=True)
class MeanOverEnvironments:
    """One mean of every method, and what it says of every two.

    Parameters
    ----------
    values
        By label.
    pairs
        By label and other label.
    ranked
        The methods' places by it.
    """

    values: Mapping[str, Estimate]
    pairs: Mapping[str, Mapping[str, PairedDifference]]
    ranked: Ranked


def mean_skill(
    parts: Sequence[EnvironmentEntries], classes: Mapping[str, str], ranking: BoardRanking
) -> MeanOverEnvironments:
    """The mean skill, by which methods are ranked as their boards rank rows."""
    settings = bootstrap_settings(parts[0].entries[0].first.key.protocol)
    if ranking.correction == "none":
        frames = [
            part.labelled(headline_frame(part.entries, PHASE)).assign(environment=part.environment) for part in parts
        ]
        across = overall(pd.concat(frames), classes, **settings)
        pairs = across.differences.assign(p=np.nan, verdict=interval_verdicts(across.differences))
        return _mean(across.skills, placed(pairs, classes))
    found = strata([part.labelled(ratio_frame(part.entries, PHASE, BY_NAME[HEADLINE])) for part in parts])
    pairs = comparisons(
        found, classes, higher_is_better=True, practical_tie=ranking.practical_tie, level=settings["level"]
    )
    return _mean(intervals(found, level=settings["level"]), placed(pairs, classes))


def mean_share(parts: Sequence[EnvironmentEntries]) -> MeanOverEnvironments | None:
    """The mean share of the span ceiling; None where some records have no sums of it."""
    metric = BY_NAME[SPAN_SHARE]
    if not all(entry.columns(PHASE) >= {*metric.columns} for part in parts for entry in part.entries):
        return None
    return _unranked(parts, [part.labelled(ratio_frame(part.entries, PHASE, metric)) for part in parts])


def mean_branching_share(rows: Sequence[Row]) -> Estimate | None:
    """The mean of the rows' shares of their branching ceilings; None where one has none.

    The environments' trials are independent of each other.
    """
    shares = [row.branching_share for row in rows if row.branching_share is not None]
    if len(shares) < len(rows):
        return None
    mean = averaged(shares)
    return estimate((mean.value, mean.low, mean.high))


def error_ratio(parts: Sequence[EnvironmentEntries]) -> MeanOverEnvironments:
    """The geometric mean of WPE / WPE of persistence; of two methods, the ratio of theirs."""
    frames = []
    for part in parts:
        frame = part.labelled(ratio_frame(part.entries, PHASE, BY_NAME[HEADLINE]))
        frames.append(frame.assign(numerator=frame["denominator"] - frame["numerator"]))
    return _unranked(parts, frames, geometric=True)


def _unranked(
    parts: Sequence[EnvironmentEntries], frames: Sequence[pd.DataFrame], *, geometric: bool = False
) -> MeanOverEnvironments:
    level = parts[0].entries[0].first.key.protocol.confidence
    found = strata(frames, geometric=geometric)
    values = intervals(found, level=level)
    pairs = comparisons(found, {}, higher_is_better=True, practical_tie=0.0, level=level)
    if geometric:
        columns = ["value", "low", "high"]
        values = values.apply(np.exp)
        pairs[columns] = pairs[columns].apply(np.exp)
    return _mean(values, placed(pairs, {}))


def _mean(values: pd.DataFrame, ranked: Ranked) -> MeanOverEnvironments:
    table = {str(name): estimate(row) for name, row in zip(values.index, values.to_numpy(), strict=True)}
    return MeanOverEnvironments(table, {name: ranked.comparisons(name) for name in table}, ranked)
