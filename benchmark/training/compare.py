"""Compare training runs over the trials that they share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import ProtocolError
from ...utils.text import one_line
from ..intervals import Estimate
from .metrics import paired
from .protocol import TrainingProtocol
from .record import TrainingRecord, read_training_record
from .run import TrainingRun

SHARED_FIELDS = {
    "protocol": "protocol",
    "split": "split",
    "trials": "number of trials",
    "iterations": "number of iterations",
}
"""Fields of a key that runs must share, in words."""

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
        for field, what in SHARED_FIELDS.items():
            mine, theirs = getattr(record.key, field), getattr(other.key, field)
            if mine != theirs:
                values = f"{mine}, {theirs}" if field != "protocol" else f"{_spell(mine)}, {_spell(theirs)}"
                raise ProtocolError(
                    f"{record.key.label} and {other.key.label} cannot be compared: the {what} differs ({values}). "
                    "Train both on the same."
                )
        label, names = record.key.label, itertools.count(2)
        while label in found:
            label = f"{record.key.label} ({next(names)})"
        found[label] = paired(record.columns, other.columns, other.key.protocol)
    return found


def _spell(protocol: TrainingProtocol) -> str:
    return f"version {protocol.version} of {protocol.environment}"


def _record(run: Comparable) -> TrainingRecord:
    record = run if isinstance(run, TrainingRecord) else None
    if isinstance(run, TrainingRun):
        record = run.record
    if record is None:
        record = read_training_record(Path(str(run)))
    if record.status.state == "failed":
        raise ProtocolError(f"{record.key.label}: the run failed ({one_line(record.status.reason)}). Repeat it.")
    return record
