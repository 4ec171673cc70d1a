"""The records the board is built from: one JSON file a run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..benchmark.record import RECORD_NAME, Record, read_record
from ..registry.errors import ProtocolError

RECORDS = Path(__file__).parent / "records"


def load(folder: Path | None = None) -> dict[Path, Record]:
    """All records of a folder by their files, in order of file names.

    Raises
    ------
    ProtocolError
        If there is none, or one is not valid; the message names it.
    """
    folder = folder or RECORDS
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ProtocolError(f"{folder} holds no records; add runs with `tipl-bench leaderboard add RUN`.")
    return {path: read_record(path) for path in paths}


def file_name(record: Record) -> str:
    """The record's file name: dataset, predictor, configuration, seed."""
    key = record.key
    configuration = json.dumps([key.predictor.model_dump(mode="json"), key.dataset.digest, key.protocol.version])
    short = hashlib.sha256(configuration.encode()).hexdigest()[:8]
    dataset = key.dataset.name.replace("/", "--")
    return f"{dataset}__{key.predictor.name}-{key.predictor.budget}-{short}__seed{key.seed}.json"


def find(record: Record, folder: Path | None = None) -> Path:
    """Where the board keeps this very record; raises `ProtocolError` if it does not."""
    path = (folder or RECORDS) / file_name(record)
    if not path.exists() or read_record(path).without_cost() != record.without_cost():
        raise ProtocolError(f"{path} is not there, or is another result; add the run first (`leaderboard add RUN`).")
    return path


def add(run: Path, folder: Path | None = None) -> Path:
    """Copy a finished run's record into the records folder.

    Raises
    ------
    ProtocolError
        If the run has no valid record, or another result for the same key is there already.
    """
    folder = folder or RECORDS
    record = read_record(run / RECORD_NAME)
    path = folder / file_name(record)
    if path.exists() and read_record(path).without_cost() != record.without_cost():
        raise ProtocolError(
            f"{path} holds another result of the same configuration and seed; a row is never changed silently. Remove "
            "that file first if it is to be replaced."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(record.model_dump_json(indent=None) + "\n", encoding="utf-8")
    return path
