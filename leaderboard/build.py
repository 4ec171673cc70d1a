"""Records to the board's files: its data, its table and its pages, all from one document."""

from __future__ import annotations

import json
from pathlib import Path

from ..registry.files import write_text
from . import markdown_page, site, table
from .data import document


def build(records: Path | None, out: Path) -> list[Path]:
    """Build the board; returns the files written.

    Parameters
    ----------
    records
        Folder of records; the package's own by default.
    out
        Folder to write `LEADERBOARD.md`, `leaderboard.json`, `leaderboard.parquet`, `index.html` and the `board/` that
        it reads into.
    """
    board = document(records)
    data = json.dumps(board, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in {"LEADERBOARD.md": markdown_page.render(board), "leaderboard.json": data + "\n"}.items():
        write_text(out / name, text)
    table.write(board, out / "leaderboard.parquet")
    return [out / "LEADERBOARD.md", out / "leaderboard.json", out / "leaderboard.parquet", *site.render(board, out)]
