"""`tipl-bench leaderboard`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import complete_datasets
from ..groups import Commands, examples
from ..options import build_limits, memory_option, timeout_option
from ..output import Bars, echo, quiet_option
from ..verification import records_option
from .submissions import add_records, check_submission

if TYPE_CHECKING:
    from ...leaderboard.confirm.confirm import ConfirmationResult


@click.group(cls=Commands, short_help="Check submissions; build the board.")
def leaderboard() -> None:
    """Check submissions, and build the board from records.

    docs/reference.md explains every column and term.
    """


@leaderboard.command(
    "export", short_help="Write results for the Hub, or CSV.", epilog=examples("leaderboard export --out exported")
)
@records_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--csv", "as_csv", is_flag=True, help="Write each table as CSV, and the citations as BibTeX.")
def export_results(records: Path | None, out: Path, as_csv: bool) -> None:
    """Write the rows of published boards as .eval_results files, the Hub's format, for the predictors' repositories.

    With --csv, write every table of both tracks instead, a line a row, with leaderboard.bib.
    """
    from ...leaderboard.build import export_tables
    from ...leaderboard.document.build import document
    from ...leaderboard.render.export import export

    written = export_tables(records, out) if as_csv else export(document(records), out)
    for path in written:
        echo(f"wrote {path}")
    if not written:
        echo("Nothing to write: no ranked board has a dataset on the Hub.")


@leaderboard.command(
    "dispute",
    short_help="Mark a row as disputed, or its disputes as resolved.",
    epilog=examples("leaderboard dispute leaderboard/results/NAME.json --reason 'why'"),
)
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--reason", required=True, help="The reason, in one line.")
@click.option("--resolve", is_flag=True, help="Resolve the row's open disputes instead of opening one.")
def dispute_row(record: Path, reason: str, resolve: bool) -> None:
    """Mark a row as disputed, or its disputes as resolved. RECORD is one of the row's files in leaderboard/results/."""
    from ...benchmark.record import read_record
    from ...leaderboard.store.evidence import append, maintainer_note
    from ...leaderboard.store.records import suggest_record

    if not record.is_file():
        raise click.ClickException(suggest_record(record))
    found = read_record(record)
    echo(f"kept in {append(record, found, maintainer_note('resolved' if resolve else 'disputed', found, reason))}")


@leaderboard.command("build", short_help="Build the board's pages and files.", epilog=examples("leaderboard build"))
@records_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default="this folder", help="Folder to write."
)
def build_board(records: Path | None, out: Path) -> None:
    """Build all that shows the records.

    That is leaderboard/README.md, README.md's best rows, docs/board/, docs/reference.md, docs/predictors.md and the
    suite `board`.
    """
    from ...leaderboard.build import build

    for path in build(records, out):
        echo(f"wrote {path}")


@leaderboard.command("serve", short_help="Serve the built site.", epilog=examples("leaderboard serve --port 0"))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs/board"), show_default=True, help="The built site."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 chooses a free one."
)
def serve_board(out: Path, port: int) -> None:
    """Serve the built site on the loopback address until Ctrl-C."""
    from ...leaderboard.render.site.serving import HOST, server

    with server(out, port) as serving, contextlib.suppress(KeyboardInterrupt):
        echo(f"http://{HOST}:{serving.server_port}/ shows {out / 'index.html'}; press Ctrl-C to stop.")
        serving.serve_forever()
    echo("ended")


@leaderboard.command(
    "confirm",
    short_help="Run records' predictors on fresh trials.",
    epilog=examples("leaderboard confirm leaderboard/results/hopper--*.json"),
)
@click.argument("records", metavar="RECORD...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Dataset name, hf:// address or folder. [default: the records']",
)
@click.option("--trials", type=int, help="Fresh trials. [default: those of the open set, or 15]")
@click.option("--threads", type=click.IntRange(1), help="Physics threads. [default: all usable cores]")
@quiet_option
@timeout_option
@memory_option
def confirm_records(
    records: tuple[Path, ...],
    dataset: str | None,
    trials: int | None,
    threads: int | None,
    timeout: float | None,
    memory: float | None,
) -> None:
    """Run records' predictors on fresh trials of secret seeds, and keep whether their claims hold.

    Each predictor is fitted as its RECORD says, and scored on trials that nobody has seen: the same ones for all
    records of a dataset, collected now or used on until they are revealed. It is untrusted code: run this in a
    disposable virtual machine, as `reproduce`.
    """
    from ...leaderboard.confirm.confirm import confirm

    with Bars() as bars:
        confirm(
            records,
            dataset,
            trials=trials,
            threads=threads,
            limits=build_limits(timeout, memory),
            progress=bars.stage,
            done=_report_confirmation,
        )


def _report_confirmation(result: ConfirmationResult) -> None:
    echo(f"{result.found.kind}: {result.path.name}")
    echo(f"  {result.found.spell()}")
    echo(f"  kept in {result.kept}")


@leaderboard.command(
    "reveal", short_help="Publish a set of fresh trials.", epilog=examples("leaderboard reveal hopper/ppo-mini-v1")
)
@click.argument("name", metavar="SET")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write. [default: fresh-trials-SET]")
def reveal_set(name: str, out: Path | None) -> None:
    """Publish the seeds, trials and forecasts of a set of fresh trials; nothing is confirmed on it from then on.

    SET is its id, or the dataset whose set was not revealed yet. The folder's `dataset` opens like any other.
    """
    from ...leaderboard.confirm.reveal import reveal

    echo(f"wrote {reveal(name, out)}; from now on nothing is confirmed on these trials")


@leaderboard.command(
    "audit", short_help="Check a revealed set.", epilog=examples("leaderboard audit fresh-trials-0123456789ab")
)
@click.argument("folder", type=click.Path(path_type=Path))
@records_option
@click.option("--collect", "collect_again", is_flag=True, help="Also train the fresh trials again from their seeds.")
@quiet_option
def audit_set(folder: Path, records: Path | None, collect_again: bool) -> None:
    """Check a revealed set of fresh trials against the evidence beside the leaderboard's records.

    That its salt and seeds are the ones committed to, its trials theirs, and its forecasts score what the evidence
    says. FOLDER is what `leaderboard reveal` wrote. Exits with 1 if something is not as it should be.
    """
    from ...leaderboard.confirm.audit import audit

    with Bars() as bars:
        found = audit(folder, records, collect_again=collect_again, progress=bars.stage)
    for line in found.passed:
        echo(f"ok: {line}")
    for line in found.problems:
        echo(f"PROBLEM: {line}")
    if found.problems:
        sys.exit(1)


for command in (add_records, check_submission):
    leaderboard.add_command(command)
