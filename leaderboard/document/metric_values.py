"""Metrics of a board's rows and references of the board, phase by phase, as the table of metrics computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.ceiling.estimate import BranchingCeiling
from ...benchmark.intervals import Estimate
from ...benchmark.metrics import HEADLINE, METRICS, WINDOWS, Metric
from ...benchmark.protocol import Protocol
from ...benchmark.record import Record, Result
from ..statistics.board import board_sums, estimates, shares
from ..statistics.pairs import widened
from .entries import Entry, frame
from .numbers import estimate, mean, rounded
from .schema import BoardPhase, MetricInfo, Numbers, PositionSeries, ReferenceSeries, Series

CEILING, SPAN_SHARE, BRANCHING = "oracle_skill", "span_share", "branching_ceiling"
ERROR, PERSISTENCE = "wpe", "wpe_persistence"
"""Columns of the weight errors of rows, and of persistence on the same windows."""
PHASES = ("learning", "converged", "all")
SHOWN = (
    *(MetricInfo(**{name: getattr(metric, name) for name in MetricInfo.model_fields}) for metric in METRICS),
    MetricInfo(
        name=BRANCHING,
        label="branching ceiling",
        unit="share",
        direction=None,
        digits=3,
        averaged=False,
        beside=HEADLINE,
    ),
)
"""Metrics of records, and the ceiling that is measured apart from them."""
SCORES = [metric for metric in METRICS if metric.direction is not None]
REFERENCES = [metric for metric in METRICS if metric.direction is None]


def bootstrap_settings(protocol: Protocol) -> dict[str, Any]:
    """The protocol's bootstrap, as `statistics` takes it."""
    return {"resamples": protocol.resamples, "level": protocol.confidence, "seed": protocol.bootstrap_seed}


def present_phases(entry: Entry) -> list[str]:
    """The phases that an entry's records have results in."""
    present = {result.phase for result in entry.first.results}
    return [phase for phase in PHASES if phase in present]


def headline_phase(record: Record) -> str:
    """The phase that decides ranks and confirmation: learning, or all that there is."""
    return "learning" if record.of_phase("learning") else "all"


def row_values(entries: Sequence[Entry], phase: str, *, seeds_are_a_level: bool) -> dict[str, dict[str, Series]]:
    """By entry and metric, its estimates in one phase, seeds together.

    Intervals are over test trials; where seeds are a level of the sample too, they are the wider for these.

    A metric is computed from per-trial sums where all of an entry's records have these, the seeds averaged first;
    elsewhere its estimates are the means of the seeds' values and of their bounds, which are no narrower than an
    interval of the mean.
    """
    found: dict[str, dict[str, Series]] = {entry.id: {} for entry in entries}
    for metric in SCORES:
        summed = [entry for entry in entries if entry.columns(phase) >= {*metric.columns}]
        series = _pooled(metric, summed, phase, seeds_are_a_level) if summed else {}
        for entry in entries:
            found[entry.id][metric.name] = series.get(entry.id) or _averaged(metric, entry.results(phase))
    return found


def board_phase(entries: Sequence[Entry], phase: str, ceiling: BranchingCeiling | None) -> BoardPhase:
    """What every run of a board measures alike: the median over records, so that no single one decides.

    The branching ceiling, where it is known, stands beside.
    """
    runs = [results for entry in entries for results in entry.results(phase)]
    references = {}
    for metric in REFERENCES:
        values = [[result[metric.name].value for result in at] for at in zip(*runs, strict=True)]
        by_horizon = tuple(rounded(_known(np.median, found)) for found in values)
        references[metric.name] = ReferenceSeries(mean=rounded(mean(by_horizon)), by_horizon=by_horizon)
    at_positions = positions(runs, REFERENCES, np.median)
    if ceiling is not None:
        overall = estimate([ceiling.mean.value, ceiling.mean.low, ceiling.mean.high])
        by_horizon = tuple(rounded(one.value) for one in ceiling.by_horizon)
        references[BRANCHING] = ReferenceSeries(mean=overall.value, by_horizon=by_horizon, interval=overall)
        means, each = ceiling.positions
        at_positions[BRANCHING] = PositionSeries(
            mean=tuple(map(rounded, means)), by_horizon=tuple(tuple(map(rounded, numbers)) for numbers in each)
        )
    return BoardPhase(
        windows=runs[0][0].windows, trials=runs[0][0].trials, references=references, positions=at_positions
    )


def positions(
    runs: Sequence[Sequence[Result]], metrics: Sequence[Metric] = SCORES, combine: Callable[[Any], Any] = np.mean
) -> dict[str, PositionSeries]:
    """Metrics by position within the PPO iteration that all of some runs have; the runs are combined."""
    found = {}
    for metric in (metric for metric in metrics if metric.positions):
        each = [[result.at_positions(metric.name) for result in results] for results in runs]
        if not all(numbers for results in each for numbers in results):
            continue
        by_horizon = [[_known(combine, at) for at in zip(*same, strict=True)] for same in zip(*each, strict=True)]
        found[metric.name] = PositionSeries(
            mean=tuple(rounded(mean(at)) for at in zip(*by_horizon, strict=True)),
            by_horizon=tuple(tuple(map(rounded, numbers)) for numbers in by_horizon),
        )
    return found


def _known(combine: Callable[[Any], Any], values: Sequence[float | None]) -> float | None:
    """The defined values combined, or None if there is none."""
    known = [value for value in values if value is not None]
    return float(combine(known)) if known else None


def layers(runs: Sequence[Sequence[Result]]) -> dict[str, Numbers]:
    """WPE of each layer at each horizon, the seeds' mean; layers that all seeds have."""
    first = runs[0][0].layers
    names = [name for name in first if all(name in result.layers for results in runs for result in results)]
    return {
        name: tuple(rounded(mean([result.layers[name] for result in at])) for at in zip(*runs, strict=True))
        for name in names
    }


def branching_shares(
    entries: Sequence[Entry], phase: str, ceiling: BranchingCeiling | None, *, seeds_are_a_level: bool
) -> dict[str, Estimate]:
    """By entry, its mean skill as a part of the branching ceiling on the same test trials; empty where it has none.

    Intervals are wider for an entry's seeds in proportion as those of its skill are. A row is scored on the stored
    continuation of each window, the ceiling is a mean over many: what differs between them is left to the trials'
    spread.
    """
    sums, protocol = board_sums(headline_frame(entries, phase)), entries[0].first.key.protocol
    if ceiling is None or ceiling.displacement.shape != sums.baseline.shape[1:]:
        return {}
    found = shares(sums, ceiling.gained, ceiling.displacement, **bootstrap_settings(protocol))
    if seeds_are_a_level:
        metric = next(metric for metric in SCORES if metric.name == HEADLINE)
        found = widened(found, ratio_frame(entries, phase, metric), level=protocol.confidence)
    return {str(name): estimate(each) for name, each in zip(found.index, found.to_numpy(), strict=True)}


def is_above_ceiling(values: dict[str, Series], about: BoardPhase) -> bool:
    """Whether the mean skill is significantly above the span ceiling, paired where records allow it."""
    share, skill, ceiling = values[SPAN_SHARE].mean, values[HEADLINE].mean, about.references[CEILING].mean
    if share is not None and share.low is not None:
        return share.low > 1
    return skill is not None and skill.low is not None and ceiling is not None and skill.low > ceiling


def _pooled(metric: Metric, entries: Sequence[Entry], phase: str, seeds_are_a_level: bool) -> dict[str, Series]:
    """Estimates from per-trial sums: the mean over horizons if it is reported, and each horizon."""
    protocol = entries[0].first.key.protocol
    sums = board_sums(frame(entries, phase, metric.columns))
    table = estimates(sums.entries, *metric.ratio(sums.columns), **bootstrap_settings(protocol))
    if seeds_are_a_level:
        table = widened(table, ratio_frame(entries, phase, metric), level=protocol.confidence)
    found: dict[str, list[Estimate]] = {}
    for (name, _), row in zip(table.index, table.to_numpy(), strict=True):
        found.setdefault(name, []).append(estimate(row))
    return {
        name: Series(mean=overall if metric.averaged else None, by_horizon=tuple(each))
        for name, (overall, *each) in found.items()
    }


def _averaged(metric: Metric, runs: Sequence[Sequence[Result]]) -> Series:
    """Means over seeds of values and of bounds, at each horizon."""

    def of_seeds(found: Sequence[Estimate]) -> Estimate:
        columns = zip(*((one.value, one.low, one.high) for one in found), strict=True)
        return estimate([None if None in column else mean(column) for column in columns])

    by_horizon = tuple(of_seeds([result[metric.name] for result in at]) for at in zip(*runs, strict=True))
    return Series(mean=Estimate(None, None, None) if metric.averaged else None, by_horizon=by_horizon)


def trial_errors(entries: Sequence[Entry], phase: str, column: str) -> dict[str, Numbers]:
    """By entry, the mean of a column of errors on each test trial, over its windows, horizons and seeds."""
    sums = frame(entries, phase, (column, WINDOWS)).groupby(["entry", "trial"])[[column, WINDOWS]].sum()
    means = (sums[column] / sums[WINDOWS]).groupby("entry")
    return {str(name): tuple(map(rounded, values)) for name, values in means}


def ratio_frame(entries: Sequence[Entry], phase: str, metric: Metric) -> pd.DataFrame:
    """The board's frame of a metric, a ratio of sums over trials, as the statistics of pairs take it."""
    sums = frame(entries, phase, metric.columns)
    numerator, denominator = metric.ratio({name: sums[name].to_numpy(dtype=np.float64) for name in metric.columns})
    return sums.drop(columns=metric.columns).assign(numerator=numerator, denominator=denominator)


def headline_frame(entries: Sequence[Entry], phase: str) -> pd.DataFrame:
    """The board's frame of the headline metric, as the statistics of ranks take it."""
    metric = next(metric for metric in SCORES if metric.name == HEADLINE)
    (error,), (baseline,) = metric.numerator, metric.denominator
    return frame(entries, phase, metric.columns).rename(columns={error: "error", baseline: "baseline"})
