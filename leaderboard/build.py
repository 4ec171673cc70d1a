"""Records to the board's files: its data, its table and its pages, all from one document."""

from __future__ import annotations

import json
from pathlib import Path

from ..utils.files import write_text
from .document.build import document
from .render import markdown, site, table

MARKDOWN = "leaderboard/README.md"
SITE = "docs/board"


def build(records: Path | None, out: Path) -> list[Path]:
    """Build the leaderboard; returns the files written.

    Parameters
    ----------
    records
        Folder of records; the package's own by default.
    out
        The clone's root, or any folder: `leaderboard/README.md` is written into it, and under `docs/board/` the site,
        `leaderboard.json` and `leaderboard.parquet`.
    """
    board = document(records)
    data = json.dumps(board, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    place = out / SITE
    place.mkdir(parents=True, exist_ok=True)
    (out / MARKDOWN).parent.mkdir(parents=True, exist_ok=True)
    for path, text in {out / MARKDOWN: markdown.render(board), place / "leaderboard.json": data + "\n"}.items():
        write_text(path, text)
    table.write(board, place / "leaderboard.parquet")
    return [out / MARKDOWN, place / "leaderboard.json", place / "leaderboard.parquet", *site.render(board, place)]
