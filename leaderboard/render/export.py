"""The board's rows as the Hub's evaluation results: `.eval_results/*.yaml`, to be put into a model's repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ...utils.files import write_text

FOLDER = ".eval_results"


def export(document: Mapping[str, Any], out: Path) -> list[Path]:
    """Write one folder a predictor with one file a board: published, ranked boards, no greyed or disputed rows.

    Parameters
    ----------
    document
        The board's data (`data.document`).
    out
        Where to write `<predictor>-<budget>/.eval_results/<dataset>.yaml`.

    Returns
    -------
    list of Path
        The files written.
    """
    boards = {
        board["id"]: board for board in document["boards"] if board["repo"] and board["commit"] and board["ranked"]
    }
    files: dict[Path, list[EvalResultEntry]] = {}
    for row in document["rows"]:
        board = boards.get(row["board"])
        if board is None or row["greyed"] or row["disputed"] or "learning" not in row["phases"]:
            continue
        folder = out / re.sub(r"[^A-Za-z0-9._-]", "-", f"{row['predictor']}-{row['budget']}") / FOLDER
        path = folder / f"{re.sub(r'[^a-z0-9-]', '-', board['dataset'])}.yaml"
        files.setdefault(path, []).append(_entry(row, board))
    for path, entries in sorted(files.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True))
    return sorted(files)


def _entry(row: Mapping[str, Any], board: Mapping[str, Any]) -> EvalResultEntry:
    """Headline skill of one row, with what it takes to find it again."""
    notes = f"{row['variant'] or 'default options'}; budget {row['budget']}; {row['state']}; seeds {row['seeds']}"
    return EvalResultEntry(
        dataset_id=board["repo"],
        task_id=f"learning-skill-p{board['protocol']}",
        value=row["phases"]["learning"]["skill"]["value"],
        dataset_revision=board["commit"],
        notes=notes,
    )
