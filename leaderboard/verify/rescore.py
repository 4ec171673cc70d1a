"""Recompute every number of a record from its forecasts and the dataset, and report what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...benchmark.forecast.reference_returns import reference_returns
from ...benchmark.forecast.run_folder import REMEDY, WINDOWS_NAME
from ...benchmark.forecast.scoring import forecast_returns, sample_returns, score, window_rows
from ...benchmark.record import Record
from ...benchmark.request import identity
from ...benchmark.run import Run
from ...registry.dataset import Dataset
from ...utils.errors import ProtocolError
from ...utils.progress import Progress, silent
from .comparison import ERRORS, EXACT, RETURN_RTOL, WEIGHT_RTOL, NumberComparison, NumberMismatch, elsewhere
from .folder import RunFolder, open_run
from .parquet import read_numbers

COPY = 1e-3
"""A forecast with less than this fraction of the span oracle's error is nearly a copy of its target."""


@dataclass(frozen=True)
class RescoreResult:
    """What re-scoring found.

    Parameters
    ----------
    record
        The record that was checked.
    recomputed
        The same with its numbers as they came out here and the digests of the opened dataset; this is what a board
        keeps.
    numbers
        How many numbers were compared one by one.
    differences
        Those that differ by more than is allowed.
    leakage_flags
        Signs that forecasts were made with their targets known.
    notes
        What of the record's machine and versions is not as here, and how closely its numbers were compared therefore;
        empty where nothing may differ.
    returns_evaluated, returns_looked_up
        How many returns of the forecasts were evaluated now, and how many the store held from an evaluation before.
    """

    record: Record
    recomputed: Record
    numbers: int
    differences: tuple[NumberMismatch, ...]
    leakage_flags: tuple[str, ...]
    notes: tuple[str, ...]
    returns_evaluated: int
    returns_looked_up: int

    @property
    def exact(self) -> bool:
        """Whether this machine has the record's processor and versions, so that nothing may differ."""
        return not self.notes

    @property
    def above_span_ceiling(self) -> list[str]:
        """Where the forecasts beat everything that their contexts span, which is an achievement."""
        return [
            f"{result.place}: skill {result['skill'].value:.4f} is above the span ceiling "
            f"{result['oracle_skill'].value:.4f}"
            for result in self.recomputed.above_span_ceiling
        ]

    @property
    def agrees(self) -> bool:
        """Whether every number is as the record says."""
        return not self.differences


def verify(
    run: Run | Path | str,
    dataset: Dataset | str | None = None,
    progress: Progress = silent,
    *,
    fresh: bool = False,
) -> RescoreResult:
    """Recompute every number of a run from its forecasts and the dataset; anyone's run, without its predictor.

    Parameters
    ----------
    run
        A run or its folder.
    dataset
        The dataset that its record names, or where that is; found by its name by default.
    progress
        Receives the progress of the evaluation.
    fresh
        Evaluate every return now, also those that the store holds.

    Returns
    -------
    RescoreResult
        Whether every number `agrees`, and those that differ.

    Raises
    ------
    ProtocolError
        If the folder is no finished run, its files are not what its record says, or the dataset is another.
    """
    folder = run.folder if isinstance(run, Run) else Path(run)
    return rescore(open_run(folder, dataset), progress, fresh=fresh)


def rescore(run: RunFolder, progress: Progress = silent, *, fresh: bool = False) -> RescoreResult:
    """Recompute the forecasts' errors and returns; compare the record, and `windows.parquet` if it is there.

    Raises
    ------
    ProtocolError
        If the forecasts cannot be scored at all, or `windows.parquet` is not readable.
    """
    protocol, record = run.record.key.protocol, run.record
    returns = reference = None
    if record.has_returns:
        returns = forecast_returns(
            run.dataset, run.windows, run.forecasts, protocol, progress, normaliser=run.normaliser, fresh=fresh
        )
        reference = reference_returns(run.dataset, protocol, windows=run.windows, fresh=fresh)
    values = returns.values if returns else None
    rows = window_rows(run.dataset, run.windows, run.forecasts, values, reference, protocol)
    results = score(rows, protocol)
    reasons = elsewhere(record)
    compare = NumberComparison(exact=not reasons)
    compare.results(record.results, results)
    if (run.folder / WINDOWS_NAME).exists():
        compare.rows(read_windows(run, rows), rows)
    sample = sample_returns(rows)
    compare.returns(record.returns, sample)
    key = record.key.model_copy(update={"dataset": identity(run.dataset)})
    recomputed = record.model_copy(update={"key": key, "results": results, "returns": sample})
    leakage_flags = (*_leakage_flags(rows), *_copied_normalisers(run))
    notes = tuple(_notes(reasons, compare)) if reasons else ()
    return RescoreResult(
        record,
        recomputed,
        compare.numbers,
        tuple(compare.differences),
        leakage_flags,
        notes,
        returns_evaluated=returns.evaluated if returns else 0,
        returns_looked_up=returns.values.size - returns.evaluated if returns else 0,
    )


def compare_numbers(claimed: Record, recomputed: Record, *, rounding: bool = False) -> tuple[NumberMismatch, ...]:
    """Where two records of the same forecasts differ by more than two machines do, or by more than rounding."""
    compare = NumberComparison(exact=rounding)
    compare.results(claimed.results, recomputed.results)
    compare.returns(claimed.returns, recomputed.returns)
    return tuple(compare.differences)


def read_windows(run: RunFolder, like: pd.DataFrame) -> dict[str, list[Any]]:
    """The numbers of `windows.parquet`, if it has the rows and columns of `like`; raises `ProtocolError`."""
    numbers = list(like.select_dtypes("number").columns)
    try:
        return read_numbers(run.folder / WINDOWS_NAME, list(like.columns), numbers, len(like))
    except ProtocolError as error:
        raise ProtocolError(f"{error} {REMEDY}") from None


def _notes(reasons: list[str], compare: NumberComparison) -> Iterator[str]:
    """What was compared loosely and how loosely."""
    yield (
        f"recorded on {' and '.join(reasons)}: means of returns (REPW, gain, reset noise) may differ by "
        f"{RETURN_RTOL:.0%} and a standard error over test trials (no less than {ERRORS} of windows that diverge by "
        f"the reset noise), errors of weights by {WEIGHT_RTOL:g} of their size"
    )
    yield (
        f"{compare.episodes:,} returns of single windows, any of which may diverge there, are not counted; half of "
        f"them may differ by {RETURN_RTOL:.0%} of the median return, and do by {compare.max_divergence:.2g}"
    )


def _copied_normalisers(run: RunFolder) -> Iterator[str]:
    """Forecasts whose normaliser is nearly that of their target, where that is not the origin's."""
    if run.normaliser is None:
        return
    copies = []
    for window, forecast in zip(run.windows, run.normaliser, strict=True):
        trial, at = run.dataset.trial(window.trial), (window.origin, window.origin + 1 + len(forecast))
        mean, variance = (trial.read(f"observation_{name}", *at) for name in ("mean", "variance"))
        true, scale = np.stack([mean, variance], axis=1), np.stack([np.sqrt(variance[0]), variance[0]])
        error, moved = (np.square((one - true[1:]) / scale).sum(axis=(1, 2)) for one in (forecast, true[:1]))
        copies += [(window, h) for h in 1 + np.flatnonzero(error < COPY**2 * moved)]
    if copies:
        (window, h), total = copies[0], run.normaliser.shape[0] * run.normaliser.shape[1]
        yield (
            f"{len(copies)} of {total} forecast normalisers are nearly identical to their targets' (possible leakage), "
            f"the first at trial {window.trial}, origin {window.origin}, h = {h}"
        )


def _leakage_flags(rows: pd.DataFrame) -> Iterator[str]:
    """Forecasts that are nearly their targets.

    Being above the span ceiling is no flag: a forecast that uses more than its context's span may be there.
    """
    copies = rows[(rows["wpe"] < COPY * rows["wpe_oracle"]) & (rows["wpe_oracle"] > EXACT * rows["wpe_persistence"])]
    if len(copies):
        one = copies.iloc[0]
        yield (
            f"{len(copies)} of {len(rows)} forecasts are nearly identical to their targets (possible leakage), the "
            f"first at trial {one['trial']}, origin {one['origin']}, h = {one['horizon']}: WPE {one['wpe']:.3g}, where "
            f"the best in the context's span has {one['wpe_oracle']:.3g}"
        )
