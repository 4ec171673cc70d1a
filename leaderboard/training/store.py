"""The runs that the training track's table is built from: a record and its curves each, of test and tuning trials."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...benchmark.record import RECORD_NAME
from ...benchmark.training.curves import CURVES_NAME
from ...benchmark.training.record import TrainingRecord, read_training_record
from ...benchmark.training.run import curves_path, read_curves
from ...benchmark.training.verify import recompute
from ...utils.canonical import canonical_json
from ...utils.errors import ProtocolError
from ...utils.files import replace_atomically, sha256

FOLDER = "training"
"""Below the folder of records."""
RESTORE = "Restore both files from git, or remove them and add the run again."


def file_name(record: TrainingRecord) -> str:
    """The record's file: environment, method, trials, and a hash of all settings."""
    key = record.key
    method = "+".join(rule.name for rule in (key.optimizer, *key.outer))
    short = hashlib.sha256(canonical_json(key.model_dump(mode="json")).encode()).hexdigest()[:8]
    return f"{key.protocol.environment}__{method}-{short}__{key.split}.json"


def add(run: Path, records: Path) -> Path:
    """Copy a run's record and curves to the records; returns the record's file.

    Raises
    ------
    ProtocolError
        If it is not a finished, whole run of test or tuning trials, or another result of it is there.
    """
    record = read_training_record(run)
    check_whole(run, record)
    check_kept(record, records)
    target = records / FOLDER / file_name(record)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for name, place in ((CURVES_NAME, curves_path(target)), (RECORD_NAME, target)):  # a record never lacks its curves
        with replace_atomically(place) as temporary:
            temporary.write_bytes((run / name).read_bytes())
    return target


def check_kept(record: TrainingRecord, records: Path) -> None:
    """The records have no other result of a run; raises `ProtocolError`."""
    path = records / FOLDER / file_name(record)
    if path.exists() and read_training_record(path).artifacts != record.artifacts:
        raise ProtocolError(
            f"{path} is another result of the same run. A row is never changed silently: remove that file and its "
            "curves to replace it."
        )


def find(record: TrainingRecord, records: Path) -> Path:
    """Where the records have a run; raises `ProtocolError` if they do not, or have another result of it."""
    path = records / FOLDER / file_name(record)
    if not path.is_file():
        raise ProtocolError(f"{path} is not there; add the run first (`leaderboard add RUN`).")
    if read_training_record(path).artifacts != record.artifacts:
        raise ProtocolError(f"{path} is another result; evidence of this one would say nothing of it.")
    return path


def load(records: Path) -> dict[Path, TrainingRecord]:
    """All committed runs by their files, in order of file names; none where there is no such folder.

    Raises
    ------
    ProtocolError
        If a record is not valid, of a part of a run, under another's name, or not what its curves say.
    """
    found = {}
    for path in sorted((records / FOLDER).glob("*.json")):
        record = found[path] = read_training_record(path)
        if path.name != file_name(record):
            raise ProtocolError(f"{path}: its name should be {file_name(record)}.")
        check_whole(path, record)
        curves = curves_path(path)
        if not curves.is_file() or record.artifacts.get("curves") != sha256(curves):
            raise ProtocolError(f"{curves}: the curves of {path.name} are missing or other bytes. {RESTORE}")
        if differences := recompute(record, read_curves(path, record.key))[0]:
            raise ProtocolError(f"{path}: not what its curves say: {differences[0]}. {RESTORE}")
    return found


def check_whole(path: Path, record: TrainingRecord) -> None:
    """A finished run of all trials and iterations; raises `ProtocolError`."""
    if record.status.state == "failed":
        raise ProtocolError(f"{path}: the run failed; the table holds finished runs. Repeat it.")
    key, whole = record.key, record.key.protocol
    if key.iterations != whole.iterations or key.trials != len(whole.seeds(key.split)):
        raise ProtocolError(
            f"{path}: not a whole run ({key.scope}); the table holds runs of all trials and iterations. Train "
            "all of them."
        )
