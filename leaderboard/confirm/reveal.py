"""Reveal a set of fresh trials: seeds, trials and forecasts, so that anybody can check what was found on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...benchmark.record import RECORD_NAME
from ...registry.dataset import Dataset
from ...registry.manifest import MANIFEST_NAME
from ...registry.store import exclusive
from ...utils.errors import ProtocolError
from ...utils.files import replace_atomically, write_text
from ..verify.folder import SUBMITTED
from .fresh_set import DATASET_FOLDER, RUNS_FOLDER, FreshSet, find_set, lock_name, read_secret

SEEDS_NAME = "seeds.json"


def reveal(name: str, out: Path | None = None) -> Path:
    """Publish a set into a folder; from then on nothing is confirmed on it.

    Parameters
    ----------
    name
        The set's id, or the dataset whose set was not revealed yet.
    out
        The folder; `fresh-trials-ID` by default. What it has of this set already stays.

    Returns
    -------
    Path
        The folder: `seeds.json` (seeds and salt), `dataset/`, and `runs/` with the record and the forecasts of each
        row.

    Raises
    ------
    UnknownNameError, ProtocolError
        If there is no such set, its trials were not collected yet, or the folder holds something else.
    """
    fresh = find_set(name)
    with exclusive(lock_name(fresh.secret.dataset)):
        if not (fresh.dataset_folder / MANIFEST_NAME).is_file():
            raise ProtocolError(
                f"{fresh.folder}: its trials are not collected yet, and nothing was confirmed on them. Confirm a "
                "record on them, or remove that folder."
            )
        out = out or Path(f"fresh-trials-{fresh.id}")
        _check_free(out, fresh)
        revealed = fresh.mark_revealed()  # first: on a set of which anything may be public nothing is confirmed
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / SEEDS_NAME, revealed.secret.model_dump_json(indent=1) + "\n")
        dataset = Dataset.open(fresh.dataset_folder)
        for path in (*(entry.path for entry in dataset.contents()), MANIFEST_NAME):  # the manifest last
            _copy(dataset.folder / path, out / DATASET_FOLDER / path)
        for record in sorted(fresh.runs.glob(f"*/{RECORD_NAME}")):
            for file in SUBMITTED:
                if (record.parent / file).is_file():  # a failed run has no forecasts
                    _copy(record.parent / file, out / RUNS_FOLDER / record.parent.name / file)
    return out


def _check_free(out: Path, fresh: FreshSet) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / SEEDS_NAME).is_file()):
        raise ProtocolError(f"{out} is not an empty folder; choose another (`out=`).")
    if (out / SEEDS_NAME).is_file() and read_secret(out / SEEDS_NAME).commitment != fresh.secret.commitment:
        raise ProtocolError(f"{out} holds another set of fresh trials; choose another folder (`out=`).")


def _copy(source: Path, target: Path) -> None:
    """Copy a private file to where others may read it, unless it is there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(target) as temporary:
            shutil.copyfile(source, temporary)
