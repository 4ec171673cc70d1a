"""The table of metrics: every score that a run reports, what it means, and how it follows from its windows.

A metric is a ratio of sums over trials (or 1 minus it), so that whole trials can be resampled and seeds averaged from
per-trial sums alone. Adding one is adding an entry to `METRICS`: records, tables, figures, comparisons and exports go
by this table. A new metric is not `required`, as older records do not have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import intervals
from .intervals import Estimate
from .protocol import Protocol

Float64 = npt.NDArray[np.float64]
Track = Literal["forecast", "training"]

WINDOWS = "windows"
"""The pseudo-column that holds the number of windows of each trial."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Parameters
    ----------
    name
        Its key in a record's `estimates`.
    label
        What people read.
    unit
        "share", "squared weight" or "return".
    direction
        Whether higher or lower is better; None for a reference that every run measures alike.
    digits
        Decimals that a table shows.
    numerator, denominator
        Columns of `windows.parquet` whose per-trial sums are divided, each with a factor.
    complement
        Whether the metric is 1 minus the ratio.
    by_trial
        Whether records keep the per-trial sums, so that runs can be compared by this metric.
    required
        Whether every record must have it.
    heading
        Its column in the terminal's table; none if empty.
    interval
        Whether that table shows its interval.
    signed
        Whether that table shows a plus sign.
    averaged
        Whether its mean over horizons is reported: some metrics grow with the horizon.
    beside
        Of a reference, the metric that it is shown beside.
    track
        The track whose runs have it.
    """

    name: str
    label: str
    unit: Literal["share", "squared weight", "return"]
    direction: Literal["higher", "lower"] | None
    digits: int
    numerator: Mapping[str, int]
    denominator: Mapping[str, int]
    complement: bool = False
    by_trial: bool = False
    required: bool = True
    heading: str = ""
    interval: bool = False
    signed: bool = False
    averaged: bool = False
    beside: str | None = None
    track: Track = "forecast"

    @property
    def columns(self) -> list[str]:
        """The columns whose sums it needs."""
        return list(dict.fromkeys([*self.numerator, *self.denominator]))

    @property
    def of_returns(self) -> bool:
        """Whether it is a mean of returns, which another machine may change by whole episodes."""
        return self.unit == "return"

    def estimate(self, sums: Mapping[str, Float64], protocol: Protocol) -> Estimate:
        """The metric with its interval, from per-trial sums [K] of its columns."""
        numerator, denominator = _combined(self.numerator, sums), _combined(self.denominator, sums)
        compute = intervals.skill if self.complement else intervals.ratio
        return compute(numerator, denominator, protocol)

    def ratio(self, sums: Mapping[str, Float64]) -> tuple[Float64, Float64]:
        """Two arrays whose sums over trials have the metric as their ratio; exact where errors are equal."""
        numerator, denominator = _combined(self.numerator, sums), _combined(self.denominator, sums)
        return (denominator - numerator if self.complement else numerator), denominator


def _combined(terms: Mapping[str, int], sums: Mapping[str, Float64]) -> Float64:
    first, *others = (sums[column] if factor == 1 else factor * sums[column] for column, factor in terms.items())
    for other in others:
        first = first + other
    return first


MEAN = {WINDOWS: 1}

METRICS = (
    Metric(
        "skill", "skill", "share", "higher", 3, {"wpe": 1}, {"wpe_persistence": 1},
        complement=True, by_trial=True, heading="skill", interval=True, averaged=True,
    ),
    Metric(
        "oracle_skill", "span ceiling", "share", None, 3, {"wpe_oracle": 1}, {"wpe_persistence": 1},
        complement=True, heading="ceiling", beside="skill",
    ),
    Metric(
        "span_share", "share of the span ceiling", "share", "higher", 3,
        {"wpe_persistence": 1, "wpe": -1}, {"wpe_persistence": 1, "wpe_oracle": -1},
        by_trial=True, required=False, averaged=True,
    ),
    Metric("wpe", "WPE", "squared weight", "lower", 8, {"wpe": 1}, MEAN, by_trial=True),
    Metric(
        "wpe_persistence", "WPE of persistence", "squared weight", None, 8, {"wpe_persistence": 1}, MEAN, beside="wpe",
    ),
    Metric(
        "repw", "REPW", "return", "lower", 1, {"repw": 1}, MEAN, by_trial=True, heading="REPW", interval=True,
        averaged=True,
    ),
    Metric(
        "repw_persistence", "REPW of persistence", "return", None, 1, {"repw_persistence": 1}, MEAN, heading="persist.",
        beside="repw",
    ),
    Metric("noise_floor", "noise floor", "return", None, 1, {"noise": 1}, MEAN, heading="floor", beside="repw"),
    Metric("gain", "gain", "return", "higher", 1, {"gain": 1}, MEAN, heading="gain", signed=True),
)  # fmt: skip
"""All metrics, in the order in which tables show them."""
BY_NAME = {metric.name: metric for metric in METRICS}
HEADLINE = "skill"
"""What rows are ranked by."""


def of_track(track: str) -> list[Metric]:
    """The metrics of a track."""
    return [metric for metric in METRICS if metric.track == track]


def kept_columns(metrics: Iterable[Metric] = METRICS) -> list[str]:
    """Columns whose per-trial sums a record keeps, the number of windows last."""
    columns = dict.fromkeys(column for metric in metrics if metric.by_trial for column in metric.columns)
    return [*(column for column in columns if column != WINDOWS), WINDOWS]
