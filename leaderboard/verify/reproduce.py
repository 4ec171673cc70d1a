"""A run made again from its record, and how far it comes out the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...benchmark.metrics import HEADLINE
from ...benchmark.record import Record
from ...benchmark.run import Progress, RunRequest, run
from ...benchmark.worker.predictor_process import Limits
from ...registry.dataset import Dataset
from ...utils.errors import ProtocolError
from .comparison import WEIGHT_RTOL

Grade = Literal["bitwise", "within tolerance", "drifted"]
TOLERANCE = 0.01
"""Largest difference of any skill that is still the same result; seeds of one predictor differ by about 0.005."""


@dataclass(frozen=True)
class ReproductionResult:
    """What running again gave.

    Parameters
    ----------
    record
        The record that was reproduced.
    again
        The record of the new run.
    grade
        "bitwise" (the same forecasts, bit for bit, and the same skills up to rounding), "within tolerance" (no skill
        differs by more than `TOLERANCE`) or "drifted".
    largest
        The largest difference of a skill.
    where
        Its phase and horizon.
    """

    record: Record
    again: Record
    grade: Grade
    largest: float
    where: str


def reproduce(
    record: Record,
    dataset: Dataset,
    folder: Path,
    *,
    device: str | None = None,
    limits: Limits | None = None,
    progress: Progress = lambda stage, done, total, word: None,
) -> ReproductionResult:
    """Run a record's key again into a folder of its own.

    Parameters
    ----------
    record, dataset
        What to run, and the dataset that it names.
    folder
        The new run's folder. It must be new or empty: what stands there may be a stranger's, and would be taken for
        what came out here.
    device
        Another device than the record's.
    limits, progress
        As for a run.

    Raises
    ------
    ProtocolError
        If the folder is not empty, or the predictor that is installed here is another version or has other options.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProtocolError(f"{folder} is not empty; a reproduction starts from nothing. Remove it or choose --out.")
    key = record.key
    request = RunRequest(
        key.method.name,
        dataset,
        key.method.budget,
        as_settings(key.method.options),
        key.seed,
        device or key.device,
        key.protocol,
        limits or Limits(),
    )
    with request.start() as predictor:
        found = request.key(predictor).method
    if found != key.method:
        raise ProtocolError(
            f"The record is of {key.method.name} v{key.method.version} with options {key.method.options}; "
            f"installed here is v{found.version} with {found.options}. Install the version that the record names."
        )
    again, _ = run(request, folder, progress)
    return grade(record, again)


def grade(record: Record, again: Record) -> ReproductionResult:
    """Compare two records of one key."""
    claimed, found = _skills(record), _skills(again)
    gaps = {name: _gap(claimed.get(name), found.get(name)) for name in {**claimed, **found}}
    where = max(gaps, key=lambda name: gaps[name], default="")
    largest = gaps.get(where, 0.0)
    same = record.artifacts == again.artifacts and largest <= WEIGHT_RTOL
    verdict: Grade = "bitwise" if same else "within tolerance" if largest <= TOLERANCE else "drifted"
    return ReproductionResult(record, again, verdict, largest, where)


def _skills(record: Record) -> dict[str, float | None]:
    return {result.place: result[HEADLINE].value for result in record.results}


def _gap(one: float | None, other: float | None) -> float:
    """The difference of two skills; infinite where only one of them is defined or there."""
    if one is None or other is None:
        return 0.0 if one is other else float("inf")
    return abs(one - other)


def as_settings(options: Mapping[str, object]) -> tuple[str, ...]:
    """Options as `--set` takes them."""
    return tuple(
        f"{name}={str(value).lower() if value is None or isinstance(value, bool) else value}"
        for name, value in options.items()
    )
