"""Every number of a record, computed again from its forecasts and the dataset, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...benchmark import intervals
from ...benchmark.forecast.reference_returns import reference_returns
from ...benchmark.forecast.scoring import forecast_returns, sample_returns, score, window_rows
from ...benchmark.record import Record
from ...benchmark.run import WINDOWS_NAME
from .comparison import ERRORS, EXACT, OF_RETURNS, OF_WEIGHTS, Comparison, Difference, elsewhere
from .folder import RunFolder
from .parquet import read_numbers

Progress = Callable[[int, int], None]

COPY = 1e-3
"""A forecast with less than this fraction of the span oracle's error is a copy of its target."""


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
        How many numbers were compared one by one.
    differences
        Those that differ by more than is allowed.
    suspicions
        Reasons to doubt that the forecasts were made without the targets.
    notes
        What of the record's machine and versions is not as here, and how closely its numbers were compared therefore;
        empty where nothing may differ.
    """

    record: Record
    recomputed: Record
    numbers: int
    differences: tuple[Difference, ...]
    suspicions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether this machine has the record's processor and versions, so that nothing may differ."""
        return not self.notes

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
    results = score(rows, protocol)
    reasons = elsewhere(record)
    compare = Comparison(exact=not reasons)
    compare.results(record.results, results)
    if (run.folder / WINDOWS_NAME).exists():
        compare.rows(read_windows(run, rows), rows)
    sample = sample_returns(rows)
    compare.returns(record.returns, sample)
    recomputed = record.model_copy(update={"results": results, "returns": sample})
    suspicions = tuple(_suspicions(rows, record))
    notes = tuple(_notes(reasons, compare)) if reasons else ()
    return Rescored(record, recomputed, compare.numbers, tuple(compare.differences), suspicions, notes)


def compare_numbers(claimed: Record, recomputed: Record, *, rounding: bool = False) -> tuple[Difference, ...]:
    """Where two records of the same forecasts differ by more than two machines do, or by more than rounding."""
    compare = Comparison(exact=rounding)
    compare.results(claimed.results, recomputed.results)
    compare.returns(claimed.returns, recomputed.returns)
    return tuple(compare.differences)


def read_windows(run: RunFolder, like: pd.DataFrame) -> dict[str, list[Any]]:
    """The numbers of `windows.parquet`, if it has the rows and columns of `like`; raises `ProtocolError`."""
    numbers = list(like.select_dtypes("number").columns)
    return read_numbers(run.folder / WINDOWS_NAME, list(like.columns), numbers, len(like))


def _notes(reasons: list[str], compare: Comparison) -> Iterator[str]:
    """What was compared loosely and how loosely."""
    yield (
        f"recorded on {' and '.join(reasons)}: means of returns (REPW, gain, noise floor) may differ by "
        f"{OF_RETURNS:.0%} and a standard error over test trials (no less than {ERRORS} of windows that part by the "
        f"noise floor), errors of weights by {OF_WEIGHTS:g} of their size"
    )
    yield (
        f"{compare.episodes:,} returns of single windows, any of which may part there, are not counted; half of them "
        f"may differ by {OF_RETURNS:.0%} of the median return, and do by {compare.parted:.2g}"
    )


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
