"""Schema of ranks and comparisons in the leaderboard's document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...benchmark.intervals import Estimate
from ...utils.fields import Document

Verdict = Literal["better", "worse", "tied"] | None


class BoardRanking(Document):
    """How the rows of a board are ranked."""

    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    """What rows are ranked by; the first decides, the others stand beside it where records have them."""
    correction: Literal["none", "holm"]
    """Of the verdicts on pairs, over all pairs of the board that are ranked; none where each interval stands alone."""
    practical_tie: float
    """Rows whose skills differ by less are tied, whatever their interval."""


class Place(Document):
    """Where a row stands by one metric."""

    rank: int
    """One more than the rows of its information class that are better."""
    tied: tuple[str, ...]
    """The rows of its class that are not told apart from it."""


class PairedDifference(Document):
    """The difference of two rows by one metric."""

    difference: Estimate
    """This row's mean over horizons minus the other's, paired over test trials; the interval is its own."""
    p: float | None
    """The probability of such a difference between equal rows, corrected for all pairs; None where nothing is."""
    verdict: Verdict
    """What this row is: better, worse or tied; None for rows that are not ranked among each other."""


class Comparison(Document):
    """A row against another of its board."""

    row: str
    """The other row."""
    difference: Estimate
    """This row's mean skill minus the other's, paired over test trials; the interval is its own."""
    p: float | None
    """The probability of such a difference between equal rows, corrected for all pairs; None where nothing is."""
    verdict: Verdict
    """What this row is: better, worse or tied; None for rows that are not ranked among each other."""
    others: dict[str, PairedDifference]
    """The same by the other metrics that the board is ranked by."""
    win_rate: Estimate
    """The share of test trials in which this row's skill is higher; ties count half."""


class OverallComparison(Document):
    """A method against another across environments, paired over the test trials of each."""

    label: str
    """The other one's label."""
    difference: Estimate
    """This one's mean skill minus the other's."""
    p: float | None
    """The probability of such a difference between equal ones, corrected for all pairs; None where nothing is."""
    verdict: Verdict
    """What this one is by mean skill; None for methods of two information classes."""
    share: Estimate | None
    """This one's share of the span ceiling minus the other's."""
    error_ratio: Estimate
    """This one's error ratio over the other's: below 1 is better."""
