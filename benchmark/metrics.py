"""The table of metrics: every score that a run reports, what it means, and how it follows from its windows.

A metric is a ratio of sums over trials (or 1 minus it), so that whole trials can be resampled and seeds averaged from
per-trial sums alone. Adding one is adding an entry to `METRICS`: records, tables, figures, comparisons and exports go
by this table. A new metric is not `required`, as older records do not have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import intervals
from .intervals import Estimate
from .protocol import Protocol

Float64 = npt.NDArray[np.float64]

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
    positions
        Whether records keep its sums by position within the PPO iteration too, where origins are stratified by that.
    needs
        The field of the protocol without which it is not measured; empty if it always is.
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
    positions: bool = False
    needs: str = ""

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

    def values(self, sums: Mapping[str, Sequence[float]]) -> tuple[float | None, ...]:
        """The metric of each group that there are sums of; None where undefined, empty where a column is missing."""
        if not sums.keys() >= {*self.columns}:
            return ()
        above, below = self.ratio({name: np.array(sums[name]) for name in self.columns})
        return tuple(float(a / b) if b else None for a, b in zip(above, below, strict=True))


def _combined(terms: Mapping[str, int], sums: Mapping[str, Float64]) -> Float64:
    first, *others = (sums[column] if factor == 1 else factor * sums[column] for column, factor in terms.items())
    for other in others:
        first = first + other
    return first


MEAN = {WINDOWS: 1}

METRICS = (
    Metric(
        "skill", "skill", "share", "higher", 3, {"wpe": 1}, {"wpe_persistence": 1},
        complement=True, by_trial=True, heading="skill", interval=True, averaged=True, positions=True,
    ),
    Metric(
        "oracle_skill", "span ceiling", "share", None, 3, {"wpe_oracle": 1}, {"wpe_persistence": 1},
        complement=True, heading="ceiling", beside="skill", positions=True,
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
        averaged=True, positions=True,
    ),
    Metric(
        "repw_persistence", "REPW of persistence", "return", None, 1, {"repw_persistence": 1}, MEAN, heading="persist.",
        beside="repw", positions=True,
    ),
    Metric(
        "repw_perfect", "REPW of a perfect forecast", "return", None, 1, {"repw_perfect": 1}, MEAN, heading="perfect",
        beside="repw", positions=True, required=False, needs="moving_fraction",
    ),
    Metric("reset_noise", "reset noise", "return", None, 1, {"noise": 1}, MEAN, heading="reset noise", beside="repw"),
    Metric("gain", "gain", "return", "higher", 1, {"gain": 1}, MEAN, heading="gain", signed=True),
    Metric(
        "repw_moving", "REPW where returns move", "return", "lower", 1, {"repw_moving": 1}, {"moving": 1},
        by_trial=True, heading="REPW moving", averaged=True, required=False, needs="moving_fraction",
    ),
    Metric(
        "repw_moving_persistence", "REPW of persistence where returns move", "return", None, 1,
        {"repw_moving_persistence": 1}, {"moving": 1}, heading="persist. moving", beside="repw_moving",
        required=False, needs="moving_fraction",
    ),
)  # fmt: skip
"""All metrics, in the order in which tables show them."""
BY_NAME = {metric.name: metric for metric in METRICS}
OF_RETURNS = frozenset(metric.name for metric in METRICS if metric.of_returns)
FORMER_NAMES = {"noise_floor": "reset_noise"}
"""What metrics were called before. (REPW shares its resets, the reset noise does not: it is no floor of REPW.)"""
TABLES = ("estimates", "by_trial", "by_position")
"""Fields of a result that have a value or a column for each metric."""
HEADLINE = "skill"
"""What rows are ranked by."""


def of_protocol(protocol: Protocol) -> list[Metric]:
    """The metrics that a protocol measures."""
    return [one for one in METRICS if not one.needs or getattr(protocol, one.needs) is not None]


def kept_columns(metrics: Iterable[Metric] = METRICS) -> list[str]:
    """Columns whose per-trial sums a record keeps, the number of windows last."""
    return _columns(metric for metric in metrics if metric.by_trial)


def position_columns(metrics: Iterable[Metric]) -> list[str]:
    """Columns whose sums by position within the PPO iteration a record keeps, the number of windows last."""
    return _columns(metric for metric in metrics if metric.positions)


def _columns(metrics: Iterable[Metric]) -> list[str]:
    columns = dict.fromkeys(column for metric in metrics for column in metric.columns)
    return [*(column for column in columns if column != WINDOWS), WINDOWS]


def check_tables(
    name: str, found: Mapping[str, Sequence[str]], protocol: Protocol, *, with_returns: bool, stratified: bool
) -> None:
    """The columns of each table of a forecast result are those of its protocol; raises `ValueError`, naming it."""
    known = [metric for metric in of_protocol(protocol) if with_returns or not metric.of_returns]
    required = [metric for metric in known if metric.required or metric.needs]
    positions = position_columns(known) if stratified else []
    asked = ([metric.name for metric in required], kept_columns(required), positions)
    allowed = ([metric.name for metric in known], kept_columns(known), positions)
    for field, needed, possible in zip(TABLES, asked, allowed, strict=True):
        for missing in (one for one in needed if one not in found[field]):
            raise ValueError(f"{name}.{field}.{missing} is missing")
        for unknown in (one for one in found[field] if one not in possible):
            raise ValueError(f"{name}.{field}.{unknown} is not known; known are {', '.join(possible) or 'none'}")
