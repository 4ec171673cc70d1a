"""Records to the board's files: its data, its table and its pages, all from one document."""

from __future__ import annotations

import json
from pathlib import Path

from ..registry.files import write_text
from . import table
from .data import document
from .pages import render


def build(records: Path | None, out: Path) -> list[Path]:
    """Build the board; returns the files written.

    Parameters
    ----------
    records
        Folder of records; the package's own by default.
    out
        Folder to write `LEADERBOARD.md`, `index.html`, `leaderboard.json` and `leaderboard.parquet` into.
    """
    board = document(records)
    pages = {"LEADERBOARD.md": render(board, "board.md.j2"), "index.html": render(board, "board.html.j2")}
    data = json.dumps(board, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in {**pages, "leaderboard.json": data + "\n"}.items():
        write_text(out / name, text)
    table.write(board, out / "leaderboard.parquet")
    return [out / name for name in (*pages, "leaderboard.json", "leaderboard.parquet")]
