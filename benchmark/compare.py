"""Compare runs: paired differences of every metric over the trials that they share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..baselines.options import as_settings
from ..utils.bootstrap import Index
from ..utils.errors import ProtocolError
from ..utils.text import one_line
from . import figures, intervals
from .metrics import METRICS, Metric
from .protocol import Protocol, check_known
from .record import RECORD_NAME, Record, Result, read_record
from .run import Run

Comparable = Run | Record | Path | str
COLUMNS = ("run", "other", "metric", "phase", "horizon", "difference", "low", "high", "trials")


def compare(runs: Sequence[Comparable]) -> pd.DataFrame:
    """The paired differences of every two runs of one dataset and protocol.

    Whole trials are resampled, the same ones for both runs, so that what is common to them cancels. Runs are of the
    same windows: all of the test trials', or the same part of the test or validation trials'.

    Parameters
    ----------
    runs
        Two or more runs, records, run folders or record files.

    Returns
    -------
    DataFrame
        One row per pair, metric, phase and horizon: `run`, `other`, `metric`, `phase`, `horizon`, the `difference` of
        the run's value minus the other's with its interval (`low`, `high`), and the number of `trials`. A missing
        horizon is the mean over horizons, of metrics that are averaged.

    Raises
    ------
    ProtocolError
        If there are fewer than two runs, one failed, or is of an unknown protocol, or they are of different datasets,
        protocols or windows.
    """
    names, records = _comparable(runs)
    rows = [
        {"run": names[a], "other": names[b], **row}
        for a, b in itertools.combinations(range(len(records)), 2)
        for row in _differences(records[a], records[b])
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"horizon": "Int64"})


def draw(runs: Sequence[Comparable], path: Path, phase: str = "learning") -> None:
    """Write `path`.svg and `path`.png: skill, and REPW if all have it, of runs against the forward step.

    Parameters
    ----------
    runs
        Two or more, as for `compare`.
    path
        Where to, without a suffix.
    phase
        The phase to draw.

    Raises
    ------
    ProtocolError
        As `compare`; or if the runs have no windows of the phase.
    """
    names, records = _comparable(runs)
    if not records[0].of_phase(phase):
        raise ProtocolError(f"{names[0]} has no windows of the {phase} phase; draw another.")
    figures.draw_several(dict(zip(names, records, strict=True)), path, phase)


def _comparable(runs: Sequence[Comparable]) -> tuple[list[str], list[Record]]:
    """The names and records of runs that can be compared; raises as `compare`."""
    if isinstance(runs, Comparable):
        raise ProtocolError("A comparison takes a list of two or more runs; it was given one run, not in a list.")
    records = [_record(one) for one in runs]
    if len(records) < 2:
        given = f"only {_labels(records)[0]}" if records else "none"
        raise ProtocolError(f"A comparison takes two or more runs; it was given {given}.")
    names = _labels(records)
    for name, record in zip(names[1:], records[1:], strict=True):
        _check_comparable(names[0], records[0], name, record)
    return names, records


def _record(source: Comparable) -> Record:
    if isinstance(source, Run):
        return source.record
    if isinstance(source, Record):
        return source
    if not isinstance(source, str | Path):
        raise ProtocolError(
            f"{one_line(repr(source), 80)} cannot be compared; give runs, records, run folders or record files."
        )
    path = Path(source)
    if not path.exists():
        raise ProtocolError(f"{path}: there is no such run folder or record file.")
    return read_record(path / RECORD_NAME if path.is_dir() else path)


def _labels(records: Sequence[Record]) -> list[str]:
    """A name for each record, with the options in which runs of one name differ, numbered where that is not enough."""
    names = [
        f"{r.key.method.name} v{r.key.method.version} {r.key.method.budget} seed {r.key.seed}"
        + (f" fitted on {r.key.method.fitted_on.name}" if r.key.method.fitted_on else "")
        + (f" ({r.scope})" if r.scope else "")
        for r in records
    ]
    options = [one.key.method.options for one in records]
    names = [
        " ".join([name, *as_settings(_differing(own, [o for o, n in zip(options, names, strict=True) if n == name]))])
        for name, own in zip(names, options, strict=True)
    ]
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _differing(options: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The options that have another value elsewhere."""
    return {name: value for name, value in options.items() if any(one.get(name) != value for one in others)}


def _check_comparable(first: str, one: Record, name: str, other: Record) -> None:
    for label, record in ((first, one), (name, other)):
        if record.failed:
            raise ProtocolError(
                f"{label}: the run failed at {record.status.stage}; only finished runs can be compared."
            )
        try:
            check_known(record.key.protocol)
        except ProtocolError as error:
            raise ProtocolError(f"{label}: {error}") from None
    for what, mine, theirs in (
        ("dataset", one.key.dataset, other.key.dataset),
        ("protocol", one.key.protocol, other.key.protocol),
        ("choice of windows", (one.key.split, one.key.limit), (other.key.split, other.key.limit)),
    ):
        if mine != theirs:
            names = (f"{what}.", *(("split:", "limit:") if what == "choice of windows" else ()))
            fields = [found for found in one.key.differences(other.key) if found.startswith(names)]
            raise ProtocolError(
                f"{first} and {name} cannot be compared: the {what} differs "
                f"({'; '.join(fields) or f'{mine} here, {theirs} there'}). Run both on the same."
            )
    trials = [{result.place: result.trials for result in record.results} for record in (one, other)]
    if trials[0] != trials[1]:
        raise ProtocolError(f"{first} and {name} cannot be compared: their phases, horizons or test trials differ.")


def _differences(one: Record, other: Record) -> Iterator[dict[str, Any]]:
    """The rows of one pair."""
    protocol = one.key.protocol
    phases = dict.fromkeys(result.phase for result in one.results)
    for metric in METRICS:
        if not metric.by_trial:
            continue
        for phase in phases:
            pairs = list(zip(one.of_phase(phase), other.of_phase(phase), strict=True))
            if not all(column in result.by_trial for pair in pairs for result in pair for column in metric.columns):
                continue  # a metric that one of them was not scored by
            places: list[tuple[int | None, list[tuple[Result, Result]]]] = [(pair[0].horizon, [pair]) for pair in pairs]
            places += [(None, pairs)] if metric.averaged else []
            for horizon, chosen in places:
                difference = paired_difference(metric, chosen, protocol)
                yield {
                    "metric": metric.name,
                    "phase": phase,
                    "horizon": horizon,
                    "difference": difference.value,
                    "low": difference.low,
                    "high": difference.high,
                    "trials": chosen[0][0].trials,
                }


def paired_difference(metric: Metric, pairs: Sequence[tuple[Result, Result]], protocol: Protocol) -> intervals.Estimate:
    """The difference of a metric, or of its mean over several horizons or seeds, with its interval over trials."""
    ratios = [[metric.ratio({c: np.array(r.by_trial[c]) for c in metric.columns}) for r in pair] for pair in pairs]

    def statistic(index: Index) -> Any:
        values = [[above[index].sum(-1) / below[index].sum(-1) for above, below in pair] for pair in ratios]
        return np.mean([mine - theirs for mine, theirs in values], axis=0)

    return intervals.bootstrap(statistic, pairs[0][0].trials, protocol)
