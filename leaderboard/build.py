"""Records to the leaderboard's files, all from one document."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic_core import to_json

from ..benchmark.record import RECORD_NAME, read_record
from ..benchmark.training.record import is_training_record
from ..benchmark.training.run import curves_path
from ..utils.errors import ProtocolError
from ..utils.files import write_text
from .document.build import document, document_of
from .document.schema import LeaderboardDocument, read_document
from .excerpt import write_excerpt
from .render import markdown, predictors, reference, site, table
from .render.citations import bibliography
from .store.records import add, committed_folder, is_clone, load
from .suite import render as render_suite
from .training import presentation
from .training import reference as training_reference
from .training.export import page_data
from .training.export import to_csv as training_csv
from .training.store import add as add_training
from .training.store import load as load_training
from .training.table import TrainingTable, by_environment, tables, tables_of
from .training.table import table as training_table

MARKDOWN = "leaderboard/README.md"
REFERENCE, PREDICTORS = "docs/reference.md", "docs/predictors.md"
SITE = "docs/board"
SUITE = "benchmark/suites/board.toml"
TRAINING, TABLES, BIBLIOGRAPHY = "training.json", "tables", "leaderboard.bib"
OWN_TABLE = re.compile(r"(board|overall|training)-[a-z0-9.-]+\.csv")
DOWNLOADS = ("json", "csv", "parquet", "bib")


def build(records: Path | None, out: Path) -> list[Path]:
    """Build the leaderboard; returns the files written.

    Parameters
    ----------
    records
        Folder of records; those of `records.committed_folder` by default.
    out
        The clone's root, or any folder. `leaderboard/README.md`, `docs/reference.md` (all columns) and
        `docs/predictors.md` are written into it, `benchmark/suites/board.toml`, and into `docs/board/` the site and
        `leaderboard.json`, `.csv`, `.parquet` and `.bib`, `training.json`, and in `tables/` a CSV file a table. The
        best rows are written between the marks of its `README.md`, if it has them.
    """
    folder, site_folder = records or committed_folder(), out / SITE
    runs, training_runs = load(folder), load_training(folder)
    board, training = document_of(runs), tables_of(training_runs)  # nothing is written if either cannot be
    site_folder.mkdir(parents=True, exist_ok=True)
    downloads = [site_folder / f"leaderboard.{suffix}" for suffix in DOWNLOADS]
    json_path, csv_path, parquet_path, bibliography_path = downloads
    paths = [out / MARKDOWN, out / REFERENCE, out / PREDICTORS, out / SUITE, *downloads, site_folder / TRAINING]
    markdown_path, reference_path, predictors_path, suite_path = paths[:4]
    training_path = paths[-1]
    write_text(json_path, board.to_json())
    board = read_document(json_path)  # all else is made from what readers of the file get
    for one in (markdown_path, suite_path):
        one.parent.mkdir(parents=True, exist_ok=True)
    keys = [record.key for record in training_runs.values()]
    write_text(suite_path, render_suite([record.key for record in runs.values()], keys))
    write_text(training_path, to_json(training, indent=1).decode() + "\n")
    write_text(markdown_path, "\n".join(filter(None, (markdown.render(board), presentation.markdown(training)))))
    table.write_csv(board, csv_path)
    table.write_parquet(board, parquet_path)
    write_text(bibliography_path, bibliography(board))
    write_text(reference_path, f"{reference.render()}\n{training_reference.render()}")
    write_text(predictors_path, predictors.render(board))
    csv_files = write_tables(board, training, site_folder / TABLES)
    for path in {*(site_folder / TABLES).iterdir()} - {*csv_files.values()}:  # of boards that are gone
        if OWN_TABLE.fullmatch(path.name):
            path.unlink()
    files = {key: path.relative_to(site_folder).as_posix() for key, path in csv_files.items()}
    pages = site.render(board, site_folder, training=page_data(training), files=files)
    return [*paths, *csv_files.values(), *pages, *write_excerpt(out / "README.md", board, training)]


def build_of_runs(runs: Iterable[Path], out: Path) -> tuple[list[Path], list[str]]:
    """The leaderboard of run folders by themselves, as claims that nobody has checked.

    Parameters
    ----------
    runs
        Run folders of either track; those of the training track of an environment are left out together if no table
        can be made of them, as without tuned Adam.
    out
        A folder: new, empty, or with a leaderboard that this wrote before. All that `build` writes is put into it.

    Returns
    -------
    list of Path, list of str
        The files that were written; and the runs that are left out, with the reason.

    Raises
    ------
    ProtocolError
        If the folder is something else, or no run of the forecast track is left.
    """
    if is_clone(out) or (out.exists() and any(out.iterdir()) and not (out / SITE / "leaderboard.json").is_file()):
        raise ProtocolError(f"{out} is no folder of a leaderboard's page, and not empty; choose a new one.")
    left_out = []
    with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
        records = Path(scratch)
        for run in runs:
            try:
                if is_training_record(run):
                    add_training(run, records)
                else:
                    add(read_record(run / RECORD_NAME), records)
            except ProtocolError as error:
                left_out.append(str(error))
        left_out += _leave_out_incomplete(records)
        if not any(records.glob("*.json")):
            reasons = "".join(f"\n- {reason}" for reason in left_out)
            raise ProtocolError(
                f"A leaderboard needs a finished run of the forecast track on all test windows; there is none.{reasons}"
            )
        return build(records, out), left_out


def _leave_out_incomplete(records: Path) -> list[str]:
    """Remove the training runs of environments of which no table can be made; returns why."""
    reasons = []
    for environment, group in by_environment(load_training(records)).items():
        try:
            training_table(environment, {path.stem: record for path, record in group.items()})
        except ProtocolError as error:
            reasons.append(str(error))
            for path in group:
                path.unlink()
                curves_path(path).unlink()
    return reasons


def export_tables(records: Path | None, out: Path) -> list[Path]:
    """Write each table of both tracks as CSV, and `leaderboard.bib`, into a folder; returns the files."""
    board = document(records)
    written = write_tables(board, tables(records or committed_folder()), out)
    write_text(out / BIBLIOGRAPHY, bibliography(board))
    return [*written.values(), out / BIBLIOGRAPHY]


def write_tables(board: LeaderboardDocument, training: Sequence[TrainingTable], folder: Path) -> dict[str, Path]:
    """Write each table as CSV, a line a row; returns the files by what they are of.

    Parameters
    ----------
    board
        The leaderboard.
    training
        The training track's tables.
    folder
        Where to write: `board-*.csv` a board, `overall-*.csv` a comparison across environments and `training-*.csv` an
        environment of the training track.

    Returns
    -------
    dict
        By board id, `overall-pN` of protocol N, and `training/ENVIRONMENT`.
    """
    texts = {f"overall-p{one.protocol}": table.overall_csv(board, one) for one in board.overall}
    names = {key: key for key in texts}
    for one in board.boards:
        texts[one.id], names[one.id] = table.board_csv(board, one), f"board-{one.id}"
    for each in training:
        key = f"training/{each.environment}"
        texts[key], names[key] = training_csv(each), key
    folder.mkdir(parents=True, exist_ok=True)
    paths = {key: folder / f"{re.sub('[^a-z0-9.]+', '-', name.lower()).strip('-.')}.csv" for key, name in names.items()}
    for key, path in paths.items():
        write_text(path, texts[key])
    return paths
