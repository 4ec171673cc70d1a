"""The leaderboard's rows as the Hub's evaluation results, `.eval_results/*.yaml`, for a model's repository."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump

from ...benchmark.intervals import UNDEFINED
from ...utils.errors import ProtocolError
from ...utils.files import write_text
from ..document.schema import EnvironmentBoard, LeaderboardDocument, Row

FOLDER = ".eval_results"
PHASE = "learning"


def export(document: LeaderboardDocument, out: Path) -> list[Path]:
    """Write one folder a method with one file a board: published, ranked, not superseded; no greyed or disputed rows.

    Parameters
    ----------
    document
        The leaderboard.
    out
        Where to write `<method>-<budget>/.eval_results/<dataset>.yaml`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ProtocolError
        If two methods have one folder on a disk that does not tell upper from lower case.
    """
    boards = {
        board.id: board
        for board in document.boards
        if board.repo and board.commit and board.ranked and not board.superseded
    }
    files: dict[Path, list[EvalResultEntry]] = {}
    owners: dict[str, tuple[str, str]] = {}
    for row in document.rows:
        board = boards.get(row.board)
        if board is None or row.greyed or row.disputed or PHASE not in row.phases:
            continue
        name, owner = re.sub(r"[^A-Za-z0-9._-]", "-", f"{row.method}-{row.budget}"), (row.method, row.budget)
        first = owners.setdefault(name.casefold(), owner)
        if first != owner:
            raise ProtocolError(f"{' '.join(first)} and {' '.join(owner)} have one folder, {name}; rename one of them.")
        path = out / name / FOLDER / f"{re.sub(r'[^a-z0-9-]', '-', board.dataset)}.yaml"
        files.setdefault(path, []).append(_entry(row, board, document.scores[0].name))
    for path, entries in sorted(files.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False))
    return sorted(files)


def _entry(row: Row, board: EnvironmentBoard, metric: str) -> EvalResultEntry:
    """The headline metric of one row, with what it takes to find it again."""
    mean = row.phases[PHASE][metric].mean or UNDEFINED
    notes = f"{row.variant or 'default options'}; budget {row.budget}; {row.state}; seeds {[*row.seeds]}"
    return EvalResultEntry(
        dataset_id=board.repo or "",
        task_id=f"{PHASE}-{metric}-p{board.protocol}",
        value=mean.value,
        dataset_revision=board.commit,
        notes=notes,
    )
