"""Run a record's key again and grade the agreement."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...benchmark.metrics import HEADLINE
from ...benchmark.record import MethodIdentity, Record
from ...benchmark.request import RunRequest, check_method
from ...benchmark.run import Run, execute
from ...benchmark.worker.usage import Limits
from ...registry.dataset import Dataset
from ...registry.locations import cache_root
from ...registry.store import optional_write
from ...utils.errors import ProtocolError
from ...utils.files import write_text
from ...utils.progress import Progress, silent
from .comparison import WEIGHT_RTOL
from .folder import open_dataset, open_fit_set, stated_record

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
    run: Run | Record | Path | str,
    dataset: Dataset | str | None = None,
    folder: Path | None = None,
    *,
    device: str | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> ReproductionResult:
    """Run again what a record says, into a folder of its own, and grade how far it comes out the same.

    Parameters
    ----------
    run
        A run, its folder, its record or its record file.
    dataset
        The dataset that it names, or where that is; found by its name by default.
    folder
        The new run's folder, RUN-reproduced by default. It must be new or empty, as what it held would be taken for
        what came out here, or of an interrupted reproduction, which goes on.
    device
        Another device than the record's.
    limits, progress
        As for a run.

    Returns
    -------
    ReproductionResult
        Both records, and how far they agree.

    Raises
    ------
    ProtocolError
        If the record cannot be used, the folder is not empty, the dataset is another, or the predictor that is
        installed here is another version or has other options.
    """
    record = stated_record(run)
    folder = folder or reproduced_folder(run)
    marker = _marker(folder, record)
    if folder.exists() and not _is_ours(folder, marker):
        raise ProtocolError(
            f"{folder} is not empty; a reproduction starts from nothing. Remove it, or choose another folder (`out=`)."
        )
    request = rerun_request(record, open_dataset(record, dataset), device, limits)
    check_installed(request, record.key.method)
    folder.mkdir(parents=True, exist_ok=True)
    with optional_write("a reproduction that is interrupted begins anew"):
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_text(marker, _place(folder))
    again = execute(request, folder, progress).record
    with contextlib.suppress(OSError):
        marker.unlink()
    return grade(record, again)


def rerun_request(
    record: Record, dataset: Dataset, device: str | None = None, limits: Limits | None = None
) -> RunRequest:
    """The run that a record states, on the dataset that is given; on another device than its, if one is.

    Raises `ProtocolError` if the dataset that it was fitted on is not here, or another, or nothing was fitted.
    """
    if record.key.state is not None:
        raise ProtocolError("The run was given a fitted state; only the run that fitted that can be made again.")
    stated = RunRequest.of(record, dataset, limits=limits or Limits(), fit_on=open_fit_set(record))
    return replace(stated, device=device or stated.device)


def check_installed(request: RunRequest, stated: MethodIdentity) -> str:
    """What would isolate the predictor; raises `ProtocolError` unless it is the one that a record states."""
    with request.start() as predictor:
        installed, isolation = request.key(predictor).method, predictor.isolation
    check_method(installed, stated)
    return isolation


def _marker(folder: Path, record: Record) -> Path:
    """The file that says that a reproduction of a record was begun in a folder.

    It is in the store, not in the folder: a folder may come with what a stranger says came out.
    """
    text = f"{folder.absolute()}\n{record.without_cost()}"
    return cache_root() / "reproductions" / hashlib.sha256(text.encode()).hexdigest()


def _is_ours(folder: Path, marker: Path) -> bool:
    """Whether a folder is empty, or the one in which this reproduction was begun and interrupted."""
    if not folder.is_dir():
        return False
    with contextlib.suppress(OSError):
        if marker.read_text(encoding="utf-8") == _place(folder):
            return True
    return not any(folder.iterdir())


def _place(folder: Path) -> str:
    found = folder.stat()
    return f"{found.st_dev} {found.st_ino}"


def reproduced_folder(run: Run | Record | Path | str) -> Path:
    """Where a reproduction goes by default: `RUN-reproduced`."""
    if isinstance(run, Record):
        return Path(f"{run.key.method.name}-seed{run.key.seed}-reproduced")
    path = run.folder if isinstance(run, Run) else Path(run)
    return Path(f"{path.with_suffix('') if path.is_file() else path}-reproduced")


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
