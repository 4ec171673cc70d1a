"""Records to the leaderboard's files, all from one document."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import to_json

from ..utils.files import write_text
from .document.build import document
from .document.schema import read_document
from .render import markdown, predictors, reference, site, table
from .render.citations import bibliography
from .store.records import committed_folder
from .training import presentation
from .training.table import tables

MARKDOWN = "leaderboard/README.md"
REFERENCE, PREDICTORS = "docs/reference.md", "docs/predictors.md"
SITE = "docs/board"
TRAINING = "training.json"
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
    paths = [out / MARKDOWN, out / REFERENCE, out / PREDICTORS, *downloads, site_folder / TRAINING]
    markdown_path, reference_path, predictors_path, json_path, csv_path, parquet_path, bibliography_path, *_ = paths
    training_path = paths[-1]
    write_text(json_path, board.to_json())
    board = read_document(json_path)  # all else is made from what readers of the file get
    markdown_path.parent.mkdir(parents=True, exist_ok=True)
    training_tables = tables(records or committed_folder())
    write_text(training_path, to_json(training_tables, indent=1).decode() + "\n")
    write_text(markdown_path, "\n".join(filter(None, (markdown.render(board), presentation.markdown(training_tables)))))
    table.write_csv(board, csv_path)
    table.write_parquet(board, parquet_path)
    write_text(bibliography_path, bibliography(board))
    write_text(reference_path, reference.render())
    write_text(predictors_path, predictors.render(board))
    training = [part.model_dump() for table in training_tables for part in presentation.presented(table)]
    shown = {"introduction": presentation.INTRODUCTION, "tables": training}
    return [*paths, *site.render(board, site_folder, training=shown)]
