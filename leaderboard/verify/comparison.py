"""A record's numbers beside the same numbers recomputed: what is compared, how closely, and what differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.forecast.run_folder import WINDOWS_NAME
from ...benchmark.forecast.scoring import following_columns, with_returns
from ...benchmark.metrics import BY_NAME, METRICS, WINDOWS, kept_columns
from ...benchmark.provenance import provenance
from ...benchmark.record import Record, Result, ReturnPair

EXACT = 1e-9
"""Relative difference from summing in another order."""
WEIGHT_RTOL = 1e-6
"""The same for weight errors computed on another machine, whose matrix products sum in another order."""
RETURN_RTOL = 0.05
"""The same for means of returns, and for the median difference of single ones as a part of the median return.

On another machine an episode may diverge from its last bit on. With the code compiled for another processor,
HalfCheetah's returns changed in 95% of windows, by 0.7% of the median return in the median and by 0.4 of the reset
noise in the mean; in the median, those of Hopper, Walker2d and InvertedDoublePendulum changed by less than a
millionth."""
ERRORS = 3
"""Standard errors allowed for a mean of returns over windows, each of which may diverge by the reset noise."""
OPTIONAL = {metric.name for metric in METRICS if not metric.required}
"""Metrics that records made before them, or under another protocol, do not have."""
OPTIONAL_SUMS = {*kept_columns()} - {*kept_columns(metric for metric in METRICS if metric.required)}
EPISODES = ("return_forecast", "return_true", "return_origin", "return_perfect", "moving_from", "noise")
"""Columns of `windows.parquet` that hold single returns, and nothing that follows from its other columns."""


@dataclass(frozen=True)
class NumberMismatch:
    """A number that is not what the record says."""

    where: str
    claimed: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.where}: the record says {repr_safe(self.claimed)}, recomputed {repr_safe(self.recomputed)}"


class NumberComparison:
    """Counts what is compared and keeps what differs.

    Parameters
    ----------
    exact
        Whether the numbers come from one machine, so that nothing may differ.

    Attributes
    ----------
    numbers
        How many numbers were compared one by one.
    differences
        Those that differ by more than is allowed.
    episodes
        How many returns of single windows were compared only by their median difference.
    max_divergence
        The largest median difference, as a part of the median return.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.numbers = 0
        self.differences: list[NumberMismatch] = []
        self.episodes = 0
        self.max_divergence = 0.0

    def results(self, claimed: Sequence[Result], found: Sequence[Result]) -> None:
        """Compare every leaf of the results; metrics that not all records have, where both have them."""
        stated = {result.place: result for result in claimed}
        here = {result.place: result for result in found}
        if len(stated) != len(claimed) or stated.keys() != here.keys():
            self.differences.append(NumberMismatch("results: phases and horizons", sorted(stated), sorted(here)))
            return
        for place, result in here.items():
            claim = stated[place]
            left = dict(_leaves(_comparable(claim, result)))
            for name, value in _leaves(_comparable(result, claim)):
                self._number(f"{place}: {name}", left.pop(name, None), value, self._allowed(result, name, value))
            for name, value in left.items():
                self.differences.append(NumberMismatch(f"{place}: {name}", value, None))

    def rows(self, claimed: dict[str, list[Any]], found: pd.DataFrame) -> None:
        """Compare the columns of numbers of `windows.parquet`."""
        follows = {} if self.exact or not with_returns(found) else _following(claimed)
        size = float(found["return_true"].abs().median()) if with_returns(found) else 0.0
        for name, stated in claimed.items():
            here = found[name].tolist()
            if not self.exact and name in EPISODES:
                self._episodes(f"{WINDOWS_NAME}: row {{row}}, {name}", stated, here, size + 1e-9)
                continue
            for row, (value, claim) in enumerate(zip(follows.get(name, here), stated, strict=True)):
                scale = abs(value) if isinstance(value, int | float) else 0.0
                allowed = (EXACT if self.exact or name in follows else WEIGHT_RTOL) * scale + 1e-15
                self._number(f"{WINDOWS_NAME}: row {row}, {name}", claim, value, allowed)

    def returns(self, claimed: Sequence[ReturnPair], found: Sequence[ReturnPair]) -> None:
        """Compare the sample of returns."""
        if [pair[:2] for pair in claimed] != [pair[:2] for pair in found]:
            self.differences.append(
                NumberMismatch("returns: phases and horizons of the sample", len(claimed), len(found))
            )
            return
        for name in ("true", "forecast"):
            stated, here = ([getattr(pair, name) for pair in pairs] for pairs in (claimed, found))
            where = f"returns: pair {{row}}, {name}"
            if self.exact:
                for row, (claim, value) in enumerate(zip(stated, here, strict=True)):
                    self._number(where.format(row=row), claim, value, EXACT * abs(value))
            else:
                self._episodes(where, stated, here, float(np.median(np.abs(here or [0.0]))) + 1e-9)

    def _allowed(self, result: Result, name: str, value: Any) -> float:
        size = abs(value) if isinstance(value, float) else 0.0
        if self.exact:
            return EXACT * size
        field, _, rest = name.partition(".")
        if field in BY_NAME and BY_NAME[field].of_returns:
            # An interval's ends move with its mean and with its width.
            return RETURN_RTOL * size + _error(result, field, result.windows, 1) * (1 if rest == "value" else 2)
        column, _, trial = rest.partition(".")
        if field in ("by_trial", "by_position") and trial.isdigit():
            sums = getattr(result, field)
            windows = float(sums[WINDOWS][int(trial)])
            if column == "moving":  # how many windows do, of which single ones may part
                return math.sqrt(windows)
            if column in BY_NAME and BY_NAME[column].of_returns:
                return RETURN_RTOL * size + _error(result, column, windows, len(sums[WINDOWS])) * windows
        return WEIGHT_RTOL * size + 1e-12

    def _episodes(self, where: str, claimed: Sequence[Any], found: Sequence[float], size: float) -> None:
        """Single returns of another machine, `size` the median one: any may part, most go nearly the same way.

        The few that part do not move the median of differences; invented numbers do.
        """
        gaps = [abs(one - other) if one is not None else math.inf for one, other in zip(claimed, found, strict=True)]
        if not gaps:
            return
        row = sorted(range(len(gaps)), key=gaps.__getitem__)[len(gaps) // 2]
        self.episodes += len(gaps)
        self.max_divergence = max(self.max_divergence, gaps[row] / size if gaps[row] else 0.0)
        if gaps[row] > RETURN_RTOL * size:
            place = f"{where.format(row=row)} (half of all {len(gaps)} are off by this or more)"
            self.differences.append(NumberMismatch(place, claimed[row], found[row]))

    def _number(self, where: str, claimed: Any, found: Any, allowed: float) -> None:
        self.numbers += 1
        both = isinstance(claimed, int | float) and isinstance(found, int | float)
        if both and math.isfinite(claimed) and abs(claimed - found) <= allowed:
            return
        if claimed != found:
            self.differences.append(NumberMismatch(where, claimed, found))


def elsewhere(record: Record) -> list[str]:
    """What the numbers depend on and is not here as it was where the record was made; empty if nothing may differ."""
    ours, theirs = provenance("cpu", record.provenance.isolation), record.provenance
    found = []
    if theirs.cpu != ours.cpu:
        found.append(f"another processor ({repr_safe(theirs.cpu)}; here {repr_safe(ours.cpu)})")
    if theirs.tipl_bench != ours.tipl_bench:
        found.append(
            f"another version of tipl-bench ({repr_safe(theirs.tipl_bench)}; here {repr_safe(ours.tipl_bench)})"
        )
    names = [n for n in {**ours.packages, **theirs.packages} if ours.packages.get(n) != theirs.packages.get(n)]
    if names:
        name, more = names[0], f" and {len(names) - 1} more packages" if len(names) > 1 else ""
        versions = f"{repr_safe(theirs.packages.get(name))}; here {repr_safe(ours.packages.get(name))}"
        found.append(f"another version of {repr_safe(name)} ({versions}){more}")
    return found


def repr_safe(value: Any) -> str:
    """Untrusted value for a message."""
    return ascii(value)[:200]


def _error(result: Result, field: str, windows: float, trials: int) -> float:
    """Standard error of a mean of returns over test trials, or of one of `trials`.

    An interval is about four standard errors wide. Two or three trials may agree by chance, so the result is at least
    what single diverging windows contribute to a mean over that many.
    """
    estimate, noise = result[field], result["reset_noise"].value or 0.0
    interval = (
        0.0 if estimate.low is None or estimate.high is None else (estimate.high - estimate.low) / 4 * math.sqrt(trials)
    )
    return float(max(interval, ERRORS * noise / math.sqrt(windows)))


def _following(claimed: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns of `windows.parquet` that follow from its own returns."""
    returns = {name: np.array(claimed[name], dtype=np.float64) for name in EPISODES if name in claimed}
    return {name: values.tolist() for name, values in following_columns(returns).items()}


def _comparable(result: Result, other: Result) -> dict[str, Any]:
    """A result as nested numbers, without the metrics that `other` need not have and has not."""
    found = result.model_dump(exclude={"estimates", "by_trial"})
    estimates = {n: vars(e) for n, e in result.estimates.items() if n in other.estimates or n not in OPTIONAL}
    sums = {n: v for n, v in result.by_trial.items() if n in other.by_trial or n not in OPTIONAL_SUMS}
    return {**estimates, **found, "by_trial": sums}


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and word within nested objects and lists, by dotted name."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list | tuple):
        yield f"{prefix}.length", len(value)
        for number, item in enumerate(value):
            yield from _leaves(item, f"{prefix}.{number}")
    else:
        yield prefix, value
