"""Every number of a record, computed again from its forecasts and the dataset, and what differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...benchmark import intervals
from ...benchmark.provenance import provenance
from ...benchmark.record import Metric, Record
from ...benchmark.reference import reference_returns
from ...benchmark.run import WINDOWS_NAME
from ...benchmark.scoring import forecast_returns, sample_returns, score, window_rows
from .folder import RunFolder
from .parquet import read_numbers

Progress = Callable[[int, int], None]

EXACT = 1e-9
"""Relative difference that adding in another order makes."""
OF_WEIGHTS = 1e-6
"""The same for errors of weights computed on another machine, whose matrix products add in another order."""
COPY = 1e-3
"""A forecast with less than this fraction of the span oracle's error is a copy of its target."""
OF_RETURNS = 0.05
"""The same for returns: an episode may go another way from its last bit on, so only means are comparable. Beside it
stands the noise floor, which says how far the return of one and the same policy goes."""
RETURN_METRICS = ("repw", "repw_persistence", "noise_floor", "gain")


@dataclass(frozen=True)
class Difference:
    """A number that is not what the record says."""

    where: str
    claimed: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.where}: the record says {_spell(self.claimed)}, recomputed {_spell(self.recomputed)}"


@dataclass(frozen=True)
class Rescored:
    """What re-scoring found.

    Parameters
    ----------
    record
        The record that was checked.
    recomputed
        The same with its numbers as they came out here; this is what a board keeps.
    numbers
        How many numbers were compared.
    differences
        Those that differ by more than is allowed.
    suspicions
        Reasons to doubt that the forecasts were made without the targets.
    exact
        Whether this machine has the record's processor and versions, so that nothing may differ.
    """

    record: Record
    recomputed: Record
    numbers: int
    differences: tuple[Difference, ...]
    suspicions: tuple[str, ...]
    exact: bool

    @property
    def agrees(self) -> bool:
        """Whether every number is as the record says."""
        return not self.differences


def rescore(run: RunFolder, progress: Progress = lambda done, total: None) -> Rescored:
    """Evaluate the forecasts again and compare every number of the record, and of `windows.parquet` if it is there.

    Raises
    ------
    ProtocolError
        If the forecasts cannot be scored at all, or `windows.parquet` is not readable.
    """
    protocol, record = run.record.key.protocol, run.record
    returns = forecast_returns(run.dataset, run.windows, run.forecasts, protocol, progress)
    reference = reference_returns(run.dataset, protocol)
    rows = window_rows(run.dataset, run.windows, run.forecasts, returns, reference, protocol)
    metrics = [Metric.model_validate(metric) for metric in score(rows, protocol)]
    exact = _same_machine(record)
    compare = _Comparison(exact)
    compare.metrics(record.metrics, metrics)
    if (run.folder / WINDOWS_NAME).exists():
        compare.rows(read_windows(run, rows), rows)
    sample = sample_returns(rows)
    compare.returns([list(pair) for pair in record.returns], [list(pair) for pair in sample])
    recomputed = record.model_copy(update={"metrics": tuple(metrics), "returns": sample})
    return Rescored(
        record, recomputed, compare.numbers, tuple(compare.differences), tuple(_suspicions(rows, record)), exact
    )


def compare_numbers(claimed: Record, recomputed: Record, *, rounding: bool = False) -> tuple[Difference, ...]:
    """Where two records of the same forecasts differ by more than two machines do, or by more than rounding."""
    compare = _Comparison(exact=rounding)
    compare.metrics(claimed.metrics, list(recomputed.metrics))
    compare.returns([list(pair) for pair in claimed.returns], [list(pair) for pair in recomputed.returns])
    return tuple(compare.differences)


def read_windows(run: RunFolder, like: pd.DataFrame) -> dict[str, list[Any]]:
    """The numbers of `windows.parquet`, if it has the rows and columns of `like`; raises `ProtocolError`."""
    numbers = list(like.select_dtypes("number").columns)
    return read_numbers(run.folder / WINDOWS_NAME, list(like.columns), numbers, len(like))


class _Comparison:
    """Counts what is compared and keeps what differs."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.numbers = 0
        self.differences: list[Difference] = []

    def metrics(self, claimed: tuple[Metric, ...], found: list[Metric]) -> None:
        stated = {(metric.phase, metric.horizon): metric for metric in claimed}
        here = {(metric.phase, metric.horizon): metric for metric in found}
        if len(stated) != len(claimed) or stated.keys() != here.keys():
            self.differences.append(Difference("metrics: phases and horizons", sorted(stated), sorted(here)))
            return
        for key, metric in here.items():
            floor = metric.noise_floor.value or 0.0
            place = f"{key[0]}, h = {key[1]}"
            left = dict(_leaves(stated[key].model_dump()))
            for name, value in _leaves(metric.model_dump()):
                self.number(f"{place}: {name}", left.pop(name, None), value, self._allowed(name, value, floor))
            for name, value in left.items():
                self.differences.append(Difference(f"{place}: {name}", value, None))

    def _allowed(self, name: str, value: Any, floor: float) -> float:
        size = abs(value) if isinstance(value, float) else 0.0
        if self.exact:
            return EXACT * size
        of_returns = name.partition(".")[0] in RETURN_METRICS or name.startswith("by_trial.repw")
        return OF_RETURNS * size + floor if of_returns else OF_WEIGHTS * size + 1e-12

    def rows(self, claimed: dict[str, list[Any]], found: pd.DataFrame) -> None:
        for name, his in claimed.items():
            mine = found[name].tolist()
            loose = not self.exact and name.startswith(("return", "repw", "noise", "gain"))
            for row, (value, claim) in enumerate(zip(mine, his, strict=True)):
                size = abs(value) if isinstance(value, float) else 0.0
                # One window's return may go anywhere on another machine; the means above are what is compared there.
                allowed = math.inf if loose else (EXACT if self.exact else OF_WEIGHTS) * size + 1e-15
                self.number(f"{WINDOWS_NAME}: row {row}, {name}", claim, value, allowed)

    def returns(self, claimed: list[Any], found: list[Any]) -> None:
        if [pair[:2] for pair in claimed] != [pair[:2] for pair in found]:
            self.differences.append(Difference("returns: phases and horizons of the sample", len(claimed), len(found)))
            return
        for row, (his, mine) in enumerate(zip(claimed, found, strict=True)):
            for name, claim, value in zip(("true", "forecast"), his[2:], mine[2:], strict=True):
                allowed = EXACT * abs(value) if self.exact else math.inf
                self.number(f"returns: pair {row}, {name}", claim, value, allowed)

    def number(self, where: str, claimed: Any, found: Any, allowed: float) -> None:
        self.numbers += 1
        both = isinstance(claimed, int | float) and isinstance(found, int | float)
        if both and math.isfinite(claimed) and abs(claimed - found) <= allowed:
            return
        if claimed != found:
            self.differences.append(Difference(where, claimed, found))


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


def _same_machine(record: Record) -> bool:
    """Whether everything that the numbers depend on is here as it was there."""
    ours, theirs = provenance("cpu", record.provenance.isolation), record.provenance
    names = ("tipl_bench", "cpu", "packages")
    return all(getattr(ours, name) == getattr(theirs, name) for name in names)


def _suspicions(rows: pd.DataFrame, record: Record) -> Iterator[str]:
    """Where forecasts are better than anything that their contexts span, as copies of the targets would be."""
    protocol = record.key.protocol
    # A few copies among honest forecasts do not show in the sums below.
    copies = rows[(rows["wpe"] < COPY * rows["wpe_oracle"]) & (rows["wpe_oracle"] > EXACT * rows["wpe_persistence"])]
    if len(copies):
        one = copies.iloc[0]
        yield (
            f"{len(copies)} of {len(rows)} forecasts are all but their targets, the first at trial {one['trial']}, "
            f"origin {one['origin']}, h = {one['horizon']}: WPE {one['wpe']:.3g}, where the best in the context's span "
            f"has {one['wpe_oracle']:.3g}"
        )
    for (phase, horizon), part in rows.groupby(["phase", "horizon"], sort=False):
        sums = part.groupby("trial")[["wpe", "wpe_oracle", "wpe_persistence"]].sum().to_numpy().T
        beyond = intervals.ratio(sums[1] - sums[0], sums[2], protocol)
        edge = beyond.value if beyond.low is None else beyond.low
        if edge is not None and edge > EXACT:
            skill, ceiling = (1 - sums[k].sum() / sums[2].sum() for k in (0, 1))
            yield (
                f"{phase}, h = {horizon}: skill {skill:.4f} is above the span ceiling {ceiling:.4f}; no forecast that "
                "recombines its context can be there, a copy of the target is"
            )


def _spell(value: Any) -> str:
    return repr(value)[:200]
