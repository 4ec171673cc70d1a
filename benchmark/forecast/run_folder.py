"""A run's folder: the names of its files, whose it is, and what it still holds of a finished run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...baselines.plugins.sources import MethodCode
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, reason
from ...utils.fields import Document, parse
from ...utils.files import clear_leftovers, replace_atomically, sha256, write_text
from ...utils.text import join_first
from ..protocol import check_known
from ..record import KEY_NAME, RECORD_NAME, Record, RunKey, read_record
from ..record_v1 import upgrade_key

PREDICTOR_NAME = "predictor.safetensors"
FORECASTS_NAME = "forecasts.safetensors"
REMEDY = "Repeat the command that made the run, which makes what is damaged or missing in its folder again."
WINDOWS_NAME = "windows.parquet"


def claim(folder: Path, key: RunKey) -> None:
    """Write the run's key into its folder, or check that the folder is this run's."""

    def other(document: Any) -> str | None:
        found = parse(RunKey, upgrade_key(document))
        return None if found == key else join_first(key.differences(found))

    claim_folder(folder, key, other)


def claim_folder(folder: Path, key: Document, other: Callable[[Any], str | None]) -> None:
    """Write a run's key into its folder, of either track, or check that the folder is this run's.

    Parameters
    ----------
    folder
        The folder, new or of a run.
    key
        The run's key.
    other
        Names another run than this one by what its key file holds; None for this one. May raise `ValueError`.

    Raises
    ------
    ProtocolError
        If the folder is another run's, holds something else, or cannot be written.
    """
    path = folder / KEY_NAME
    clear_leftovers(folder)
    if path.exists():
        try:
            found = other(strict_json(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ProtocolError(f"{path}: not a run's key ({reason(error)}). Choose another folder (`out=`).") from None
        if found is not None:
            raise ProtocolError(f"{folder} holds another run ({found}). Choose another folder (`out=`).")
    elif folder.exists() and any(folder.iterdir()):
        raise ProtocolError(f"{folder} is not empty and holds no run. Choose another folder (`out=`).")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, key.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise ProtocolError(
                f"{folder.absolute()}: the run folder cannot be written ({reason(error)}). Choose another folder "
                "(`out=`), or work in a folder that you can write."
            ) from None


def finished_record(folder: Path, key: RunKey, code: MethodCode | None) -> Record | None:
    """The record of a run that came to its end before; None for one that did not, or failed and is tried again.

    A record that is not JSON is damaged, and follows from the forecasts.

    Raises
    ------
    ProtocolError
        If the record is of another run, or of other source files than the predictor's code has now.
    """
    path = folder / RECORD_NAME
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except ProtocolError:
        with contextlib.suppress(ValueError):
            strict_json(path.read_text(encoding="utf-8"))
            raise
        return None
    if record.key != key:
        raise ProtocolError(f"{path} is of another run than {KEY_NAME} beside it; choose another folder (`out=`).")
    if record.failed:
        return None
    before = record.provenance.code
    if code and before and code.files != before.files:
        changed = sorted({name for name, _ in code.files.items() ^ before.files.items()})
        raise ProtocolError(
            f"{folder} holds a finished run of other code: {join_first(changed)} changed since. Choose "
            "another folder (`out=`), or remove this one to run again."
        )
    return record


@dataclass(frozen=True)
class FittedState:
    """What a finished run learned, to forecast with again.

    Parameters
    ----------
    name
        What it was referred to by.
    record
        The record of the run.
    path
        Its file, as `Predictor.save` wrote it.
    """

    name: str
    record: Record
    path: Path

    def copy_to(self, path: Path) -> None:
        """Copy the file."""
        with replace_atomically(path) as temporary:
            temporary.write_bytes(self.path.read_bytes())


def check_scorable(record: Record) -> None:
    """A finished run of a protocol that is known; raises `ProtocolError` for anything else."""
    if record.failed:
        raise ProtocolError(
            f"the run failed at {record.status.stage} ({record.status.reason}). It has no results; repeat it."
        )
    check_known(record.key.protocol)


def keeps_forecasts(folder: Path, record: Record) -> bool:
    """Whether the forecasts of a finished run are there; others are removed, and the rows that followed from them."""
    if (path := folder / FORECASTS_NAME).exists() and sha256(path) == record.forecasts_sha256:
        return True
    for name in (FORECASTS_NAME, WINDOWS_NAME):
        (folder / name).unlink(missing_ok=True)
    return False
