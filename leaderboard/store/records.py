"""The records the board is built from: one JSON file a run."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

from ...benchmark.record import Record, read_record
from ...utils.canonical import flatten
from ...utils.errors import ProtocolError
from ...utils.files import write_text
from ...utils.text import join_first
from ..verify.rescore import compare_numbers
from .evidence import read

COMMITTED = Path("leaderboard") / "results"
"""Where a clone of the project keeps its records; a wheel does not hold them."""
EXAMPLE = "DATASET__PREDICTOR-BUDGET-CONFIGURATION__seed0.json"
SHOWN = 4
"""Record files that a message suggests."""
RESOLUTION_HINT = (
    "A row is never changed silently. Somebody else's run of the same is a reproduction (`tipl-bench reproduce RUN "
    "--attest`); for the same run made better raise the predictor's version, and to replace it remove that file first."
)


def find_committed_folder() -> Path | None:
    """The committed records of the clone that this package is imported from, else of that in the working folder.

    An installed package is no clone, whatever it holds: nothing is written into it.
    """
    clones = (Path(__file__).parents[2], Path.cwd())
    return next((clone / COMMITTED for clone in clones if is_clone(clone)), None)


def is_clone(folder: Path) -> bool:
    """Whether a folder is a clone of the project."""
    return (folder / "pyproject.toml").is_file() and (folder / COMMITTED).is_dir()


def committed_folder() -> Path:
    """`find_committed_folder`, for what cannot do without.

    Raises
    ------
    ProtocolError
        If neither is a clone of the project.
    """
    folder = find_committed_folder()
    if folder is None:
        raise ProtocolError(
            f"An installed tipl-bench holds no records, and there is no {COMMITTED.as_posix()} here: run this in a "
            "clone of the project, or name a folder of records (`records=`)."
        )
    return folder


def load(folder: Path | None = None) -> dict[Path, Record]:
    """All records of a folder by their files, in order of file names.

    Raises
    ------
    ProtocolError
        If there is none, or one is not valid or not of a whole test run; the message names it.
    """
    folder = folder or committed_folder()
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ProtocolError(f"{folder} holds no records; add runs with `tipl-bench leaderboard add RUN`.")
    records = {path: read_record(path) for path in paths}
    for path, record in records.items():
        if record.why_not_submittable:
            raise ProtocolError(f"{path} cannot be a leaderboard's: {record.why_not_submittable} Remove that file.")
    return records


def file_name(record: Record) -> str:
    """The record's file name: dataset, predictor, configuration, seed."""
    key = record.key
    configuration = [key.method.stable(), key.dataset.first_digest, key.protocol.version]
    configuration += [key.device] if key.device != "cpu" else []
    short = hashlib.sha256(json.dumps(configuration).encode()).hexdigest()[:8]
    dataset = key.dataset.name.replace("/", "--")
    return f"{dataset}__{key.method.name}-{key.method.budget}-{short}__seed{key.seed}.json"


def find(record: Record, folder: Path | None = None) -> tuple[Path, Record]:
    """Where the board keeps a run, and its record as it is kept: of the same forecasts, its numbers maybe recomputed.

    Raises
    ------
    ProtocolError
        If the run is not a whole test run, or the board has no such run, or other forecasts of it.
    """
    if record.why_not_submittable:
        raise ProtocolError(f"This run cannot be attested: {record.why_not_submittable}")
    path = (folder or committed_folder()) / file_name(record)
    if not path.exists():
        raise ProtocolError(f"{path} is not there; add the run first (`leaderboard add RUN`).")
    kept = read_record(path)
    if (kept.key, kept.artifacts) != (record.key, record.artifacts):
        raise ProtocolError(f"{path} is another result; evidence of this one would say nothing of it.")
    return path, kept


def suggest_record(path: Path) -> str:
    """Where records stand, and those most like a path that is none."""
    folder = path.parent if any(path.parent.glob("*__*.json")) else committed_folder()
    stems = [known.stem for known in sorted(folder.glob("*.json"))]
    asked = path.name.removesuffix(".json")
    near = [stem for stem in stems if asked in stem] or difflib.get_close_matches(asked, stems, n=SHOWN, cutoff=0.3)
    some = f"; the nearest: {', '.join(f'{stem}.json' for stem in near[:SHOWN])}" if near else ""
    return f"There is no record {path}. A row's records are files like {folder / EXAMPLE}{some}."


def differing_fields(there: Record, record: Record) -> list[str]:
    """What two records say differently apart from what re-scoring recomputes: dotted names with both values."""
    left_out: Any = {"results": True, "returns": True, "key": {"dataset"}}  # results and returns are recomputed
    one, other = (
        flatten(
            found.model_dump(mode="json", exclude=left_out)
            | {"dataset": found.key.dataset.facts_beside(beside.key.dataset)}
        )
        for found, beside in ((there, record), (record, there))
    )
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return [f"{_shown(name)} ({_shown(one.get(name))} there, {_shown(other.get(name))} here)" for name in names]


def add(record: Record, folder: Path | None = None, *, rescored: bool = False) -> Path:
    """Put a record among the board's; one that is there stays as it is, if its numbers are the same up to rounding.

    Parameters
    ----------
    record
        What to keep.
    folder
        The records folder; `committed_folder` by default.
    rescored
        Whether its numbers were computed here from its forecasts: they then take the place of others of the same
        forecasts, unless those were recomputed too and differ by no more than two machines do.

    Raises
    ------
    ProtocolError
        If the run failed or is not a whole test run, another result for the same key is there already, or the same with
        another cost, origin or other claim.
    """
    if record.failed:
        raise ProtocolError(f"The run failed at {record.status.stage}; only a finished run can be added. Repeat it.")
    if record.why_not_submittable:
        raise ProtocolError(f"This run cannot be added: {record.why_not_submittable}")
    folder = folder or committed_folder()
    path = folder / file_name(record)
    if path.exists():
        there = read_record(path)
        other = differing_fields(there, record)
        if other:
            raise ProtocolError(
                f"{path} holds another result of the same configuration and seed: {join_first(other)}. "
                f"{RESOLUTION_HINT}"
            )
        # Evidence is of a record's numbers: to replace them for nothing would lose what was attested.
        attested = any(piece.kind == "rescored" for piece in read(path, there))
        if not compare_numbers(there, record, rounding=not attested):
            return path
        if not rescored:
            raise ProtocolError(f"{path} holds other numbers of the same forecasts. {RESOLUTION_HINT}")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, record.model_dump_json(indent=None) + "\n")
    return path


def _shown(value: object) -> str:
    """A value of a record, in ASCII and on one line."""
    return (repr(value) if value is None else str(value)).encode("unicode_escape").decode()[:80]
