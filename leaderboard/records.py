"""The records the board is built from: one JSON file a run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..benchmark.record import Record, read_record
from ..registry.errors import ProtocolError
from ..registry.files import write_text

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
    configuration = [key.predictor.model_dump(mode="json"), key.dataset.digest, key.protocol.version]
    configuration += [key.device] if key.device != "cpu" else []
    short = hashlib.sha256(json.dumps(configuration).encode()).hexdigest()[:8]
    dataset = key.dataset.name.replace("/", "--")
    return f"{dataset}__{key.predictor.name}-{key.predictor.budget}-{short}__seed{key.seed}.json"


def find(record: Record, folder: Path | None = None) -> tuple[Path, Record]:
    """Where the board keeps a run, and its record as it is kept: of the same forecasts, its numbers maybe recomputed.

    Raises
    ------
    ProtocolError
        If the board has no such run, or other forecasts of it.
    """
    path = (folder or RECORDS) / file_name(record)
    if not path.exists():
        raise ProtocolError(f"{path} is not there; add the run first (`leaderboard add RUN`).")
    kept = read_record(path)
    if (kept.key, kept.forecasts_sha256) != (record.key, record.forecasts_sha256):
        raise ProtocolError(f"{path} is another result; evidence of this one would say nothing of it.")
    return path, kept


def add(record: Record, folder: Path | None = None, *, rescored: bool = False) -> Path:
    """Put a record among the board's.

    Parameters
    ----------
    record
        What to keep.
    folder
        The records folder; the package's own by default.
    rescored
        Whether its numbers were computed here from its forecasts: they then take the place of others of the same
        forecasts.

    Raises
    ------
    ProtocolError
        If another result for the same key is there already.
    """
    folder = folder or RECORDS
    path = folder / file_name(record)
    if path.exists():
        there = read_record(path)
        if there.forecasts_sha256 != record.forecasts_sha256 or (
            not rescored and there.without_cost() != record.without_cost()
        ):
            raise ProtocolError(
                f"{path} holds another result of the same configuration and seed; a row is never changed silently. "
                "Remove that file first if it is to be replaced."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, record.model_dump_json(indent=None) + "\n")
    return path
