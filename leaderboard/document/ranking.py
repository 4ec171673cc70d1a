"""How a board is ranked: by which metrics, and by which statistics, as its protocol's version says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.metrics import BY_NAME, HEADLINE
from ...benchmark.protocol import Protocol
from ..statistics.board import class_ranks, differences, interval_verdicts
from ..statistics.pairs import comparisons, stratum
from .comparison_schema import BoardRanking, PairedDifference, Place
from .entries import Entry
from .metric_values import bootstrap_settings, headline_frame, ratio_frame
from .numbers import estimate, rounded

RANKED_BY = (HEADLINE, "repw", "repw_moving")
PRACTICAL_TIE = 0.01
"""Of skill. Another kind of CPU moves a skill by up to 0.0015; what is to count as a lead is well above that."""


@dataclass(frozen=True)
class Ranked:
    """What one metric says of a board's entries.

    Parameters
    ----------
    pairs
        By entry and other: `value`, `low`, `high`, `p` and `verdict`, see `statistics.pairs.comparisons`.
    places
        By entry that is ranked.
    """

    pairs: pd.DataFrame
    places: dict[str, Place]

    def place(self, entry: str) -> dict[str, Any]:
        """An entry's `rank` and `tied`; none if it is not ranked."""
        return vars(self.places[entry]) if entry in self.places else {"rank": None, "tied": ()}

    def comparisons(self, entry: str) -> dict[str, PairedDifference]:
        """An entry against every other one, by the other's id."""
        mine = self.pairs.loc[entry]
        numbers = mine[["value", "low", "high", "p"]].to_numpy(dtype=np.float64)
        return {
            str(other): PairedDifference(difference=estimate(each[:3]), p=rounded(each[3]), verdict=verdict)
            for other, each, verdict in zip(mine.index, numbers, mine["verdict"], strict=True)
        }


def rule(protocol: Protocol) -> BoardRanking:
    """How boards of a protocol are ranked: those of version 1 by each pair's own interval of skill, uncorrected."""
    if protocol.version == 1:
        return BoardRanking(metrics=(HEADLINE,), correction="none", practical_tie=0.0)
    return BoardRanking(metrics=RANKED_BY, correction="holm", practical_tie=PRACTICAL_TIE)


def ranked(
    entries: Sequence[Entry], phase: str, classes: Mapping[str, str], ranking: BoardRanking
) -> dict[str, Ranked]:
    """By metric that all entries have, the comparisons and places of the entries.

    Parameters
    ----------
    entries, phase
        A board's, and the phase that decides.
    classes
        By id of every entry that is ranked, its information class.
    ranking
        The board's.
    """
    settings = bootstrap_settings(entries[0].first.key.protocol)
    if ranking.correction == "none":
        pairs = differences(headline_frame(entries, phase), **settings)
        return {HEADLINE: placed(pairs.assign(p=np.nan, verdict=interval_verdicts(pairs)), classes)}
    found = {}
    for name in ranking.metrics:
        metric = BY_NAME[name]
        if all(entry.columns(phase) >= {*metric.columns} for entry in entries):
            pairs = comparisons(
                [stratum(ratio_frame(entries, phase, metric))],
                classes,
                higher_is_better=metric.direction == "higher",
                practical_tie=ranking.practical_tie if name == HEADLINE else 0.0,
                level=settings["level"],
            )
            found[name] = placed(pairs, classes)
    return found


def placed(pairs: pd.DataFrame, classes: Mapping[str, str]) -> Ranked:
    """Comparisons with the places that follow from their verdicts within each class."""
    table = class_ranks(classes, pairs["verdict"])
    places = zip(table.index, table["rank"], table["tied"], strict=True)
    return Ranked(pairs, {str(name): Place(rank=rank, tied=tied) for name, rank, tied in places})
