"""Records to the leaderboard's files, all from one document."""

from __future__ import annotations

from pathlib import Path

from ..utils.files import write_text
from .document.build import document
from .document.schema import read_document
from .render import markdown, reference, site, table
from .render.citations import bibliography

MARKDOWN = "leaderboard/README.md"
REFERENCE = "docs/reference.md"
SITE = "docs/board"
DOWNLOADS = ("json", "csv", "parquet", "bib")


def build(records: Path | None, out: Path) -> list[Path]:
    """Build the leaderboard; returns the files written.

    Parameters
    ----------
    records
        Folder of records; those of `records.committed_folder` by default.
    out
        The clone's root, or any folder: `leaderboard/README.md` is written into it, the reference of all columns into
        `docs/reference.md`, and into `docs/board/` the site and `leaderboard.json`, `.csv`, `.parquet` and `.bib`.
    """
    board, site_folder = document(records), out / SITE
    site_folder.mkdir(parents=True, exist_ok=True)
    downloads = [site_folder / f"leaderboard.{suffix}" for suffix in DOWNLOADS]
    paths = [out / MARKDOWN, out / REFERENCE, *downloads]
    markdown_path, reference_path, json_path, csv_path, parquet_path, bibliography_path = paths
    write_text(json_path, board.to_json())
    board = read_document(json_path)  # all else is made from what readers of the file get
    markdown_path.parent.mkdir(parents=True, exist_ok=True)
    write_text(markdown_path, markdown.render(board))
    table.write_csv(board, csv_path)
    table.write_parquet(board, parquet_path)
    write_text(bibliography_path, bibliography(board))
    write_text(reference_path, reference.render())
    return [*paths, *site.render(board, site_folder)]
