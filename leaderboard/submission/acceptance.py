"""Put a checked run among the board's records, with the evidence of the check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...benchmark.record import Record, read_record
from ...utils.errors import ProtocolError
from ..store import evidence
from ..store.records import add, committed_folder, load
from ..verify.folder import open_record
from .check import CheckResult
from .examination import NotExaminedError
from .identity import find_identity_problems, is_in_tree
from .review_flags import find_dataset_flags, with_catalog_digests


def accept(checked: CheckResult, records: Path | None = None, *, reviewed: bool = False) -> tuple[Path, bool]:
    """Add a run as it came out of its check: with the numbers as recomputed, and evidence of all that was done.

    Parameters
    ----------
    checked
        The run, from `check.check`.
    records
        The records folder; `committed_folder` by default.
    reviewed
        Whether a maintainer has looked into what the check asks to review.

    Returns
    -------
    path
        The row's record.
    changed
        False if the row was checked likewise before, and stays as it is.

    Raises
    ------
    ProtocolError
        If the check found a problem or forecasts that copy their targets, something is still to be reviewed, or its
        dataset is no board's.
    NotExaminedError
        If a cluster could not examine it.
    """
    if checked.not_examined and not checked.problems:
        raise NotExaminedError(checked.not_examined)
    if checked.problems or checked.rescored is None:
        raise ProtocolError("Run rejected for the reasons above; the leaderboard is unchanged.")
    if checked.rescored.leakage_flags:
        raise ProtocolError(
            "Forecasts nearly identical to their targets are not attested; the leaderboard is unchanged. If they are "
            "honest, `tipl-bench leaderboard add --claimed` adds the record without evidence."
        )
    _check_dataset(checked.rescored.recomputed)
    if checked.review_flags and not reviewed:
        raise ProtocolError(
            "Run not added; the leaderboard is unchanged. Look into what needs review, then add it with --reviewed."
        )
    path = add(checked.rescored.recomputed, records, rescored=True)
    kept = read_record(path)
    known = {piece.kind for piece in evidence.read(path, kept)}
    found = []
    if "rescored" not in known:
        unknown = is_in_tree(kept) and checked.reproduced is None
        found.append(evidence.rescored(checked.rescored, kept, unknown=unknown))
    if checked.reproduced is not None and "reproduced" not in known:
        found.append(evidence.reproduced(replace(checked.reproduced, record=kept)))
    for piece in found:
        evidence.append(path, kept, piece.model_copy(update=dict(checked.machine)))
    return path, bool(found)


def accept_claim(run_folder: Path, records: Path | None = None) -> Path:
    """Add the record of a run as it is, without evidence; its path.

    Raises
    ------
    ProtocolError
        If it is under the name of a predictor of this package, which needs more than a claim, or cannot be of the row
        that it names, or its dataset is no board's.
    """
    folder = records or committed_folder()
    record = open_record(run_folder)
    problems = [*find_identity_problems(record, load(folder) if any(folder.glob("*.json")) else {})]
    if is_in_tree(record):
        problems.append(
            f"{record.key.method.name} is a predictor of this package; a row of it enters by being run again, as "
            "`leaderboard add` does unless it is to take a claim"
        )
    if problems:
        raise ProtocolError(f"Run rejected; the leaderboard is unchanged: {'; '.join(problems)}.")
    _check_dataset(record)
    # Its dataset was not opened, so that only the catalog vouches for the digests.
    key = record.key.model_copy(update={"dataset": with_catalog_digests(record.key.dataset)})
    return add(record.model_copy(update={"key": key}), folder)


def _check_dataset(record: Record) -> None:
    """Refuse a record of a dataset that no board may have, whatever its numbers are."""
    for flag in find_dataset_flags(record):
        raise ProtocolError(
            f"Run rejected; the leaderboard is unchanged: {flag}. A board's datasets are those of the catalog "
            "(`tipl-bench datasets list`); add it there first, or run on one that is there."
        )
