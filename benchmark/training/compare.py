"""Compare training runs over the trials that they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import ProtocolError
from ...utils.text import one_line
from ..intervals import Estimate
from .metrics import paired
from .record import TrainingRecord, read_training_record
from .run import TrainingRun

Comparable = TrainingRun | TrainingRecord | Path | str


def compare_training(runs: Sequence[Comparable], against: Comparable) -> dict[str, dict[str, Estimate]]:
    """The paired differences of runs to another one of the same trials.

    Parameters
    ----------
    runs
        Runs, records, run folders or record files.
    against
        The run that each is compared with, likewise.

    Returns
    -------
    dict
        By a run's label, and then by metric: the estimate with its interval.

    Raises
    ------
    ProtocolError
        If a run failed, or is of another protocol, or of other trials or iterations.
    """
    other = _record(against)
    found: dict[str, dict[str, Estimate]] = {}
    for run in runs:
        record = _record(run)
        for what in ("protocol", "split", "trials", "iterations"):
            if getattr(record.key, what) != getattr(other.key, what):
                raise ProtocolError(
                    f"{record.key.label} and {other.key.label} are of another "
                    f"{what.removesuffix('s') if what != 'iterations' else 'number of iterations'}: runs are compared "
                    "on the same trials alone."
                )
        label = record.key.label
        found[label if label not in found else f"{label} ({len(found)})"] = paired(
            record.columns, other.columns, other.key.protocol
        )
    return found


def _record(run: Comparable) -> TrainingRecord:
    record = run if isinstance(run, TrainingRecord) else None
    if isinstance(run, TrainingRun):
        record = run.record
    if record is None:
        record = read_training_record(Path(str(run)))
    if record.status.state == "failed":
        raise ProtocolError(f"{record.key.label}: the run failed ({one_line(record.status.reason)}). Repeat it.")
    return record
