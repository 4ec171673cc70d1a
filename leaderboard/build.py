"""Records to the leaderboard's files, all from one document."""

from __future__ import annotations

from pathlib import Path

from ..utils.files import write_text
from .document.build import document
from .document.schema import read_document
from .render import markdown, predictors, reference, site, table
from .render.citations import bibliography

MARKDOWN = "leaderboard/README.md"
REFERENCE, PREDICTORS = "docs/reference.md", "docs/predictors.md"
SITE = "docs/board"
DOWNLOADS = ("json", "csv", "parquet", "bib")


def build(records: Path | None, out: Path) -> list[Path]:
    """Build the leaderboard; returns the files written.

    Parameters
    ----------
    records
        Folder of records; those of `records.committed_folder` by default.
    out
        The clone's root, or any folder. `leaderboard/README.md`, `docs/reference.md` (all columns) and
        `docs/predictors.md` are written into it, and into `docs/board/` the site and `leaderboard.json`, `.csv`,
        `.parquet` and `.bib`.
    """
    board, site_folder = document(records), out / SITE
    site_folder.mkdir(parents=True, exist_ok=True)
    downloads = [site_folder / f"leaderboard.{suffix}" for suffix in DOWNLOADS]
    paths = [out / MARKDOWN, out / REFERENCE, out / PREDICTORS, *downloads]
    markdown_path, reference_path, predictors_path, json_path, csv_path, parquet_path, bibliography_path = paths
    write_text(json_path, board.to_json())
    board = read_document(json_path)  # all else is made from what readers of the file get
    markdown_path.parent.mkdir(parents=True, exist_ok=True)
    write_text(markdown_path, markdown.render(board))
    table.write_csv(board, csv_path)
    table.write_parquet(board, parquet_path)
    write_text(bibliography_path, bibliography(board))
    write_text(reference_path, reference.render())
    write_text(predictors_path, predictors.render(board))
    return [*paths, *site.render(board, site_folder)]
