"""`tipl-bench leaderboard`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import complete_datasets
from .groups import Commands, examples
from .options import build_limits, memory_option, timeout_option
from .output import Bars, echo, quiet_option
from .verification import SHOWN, describe_returns, fresh_option, open_dataset_of, records_option, state_option

if TYPE_CHECKING:
    from ..benchmark.worker.usage import Limits
    from ..leaderboard.confirm.confirm import ConfirmationResult
    from ..leaderboard.submission.check import CheckResult
    from ..leaderboard.training.check import TrainingRunCheck
    from ..registry.dataset import Dataset


@click.group(cls=Commands, short_help="Check submissions; build the board.")
def leaderboard() -> None:
    """Check submissions, and build the board from records.

    docs/reference.md explains every column and term.
    """


@leaderboard.command(
    "add", short_help="Re-score runs and add them to the records.", epilog=examples("leaderboard add runs/A runs/B")
)
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@records_option
@quiet_option
@click.option(
    "--claimed", is_flag=True, help="Add the record unchecked, as claimed; not for this package's predictors."
)
@click.option("--reviewed", is_flag=True, help="Add it although `leaderboard check` says that it needs review.")
@click.option(
    "--rerun/--no-rerun",
    default=True,
    show_default=True,
    help="Run a predictor of this package again, or only re-score it: for a maintainer's own runs whose fit takes "
    "hours, or a GPU. Added again with a rerun, the row is reproduced. Of the training track: train all of it again, "
    "or a part.",
)
@click.option(
    "--fresh/--no-fresh",
    default=True,
    help="Evaluate every return now, or (for runs made here) look up those that this machine's store holds.",
    show_default=True,
)
@state_option
@timeout_option
@memory_option
def add_records(
    run_folders: tuple[Path, ...],
    records: Path | None,
    claimed: bool,
    reviewed: bool,
    rerun: bool,
    fresh: bool,
    states: tuple[Path, ...],
    timeout: float | None,
    memory: float | None,
) -> None:
    """Check finished runs, re-score them, and add their records to the leaderboard's.

    Every return is evaluated now, also those that this machine's store holds,
    unless --no-fresh; the evidence says which. A run under the name of a
    predictor of this package is run again as well, unless --no-rerun. What can
    be added is added, in turn, up to the first that cannot.

    A run of the training track is trained again whole, and its row is then
    reproduced (with --no-rerun, some of its trials for ten iterations: it is
    replayed). It is added with its curves if they are the same bit for bit: runs
    of the test trials, and those of the tuning trials that settings were chosen by.
    """
    from ..benchmark.training.record import is_training_record
    from ..leaderboard.store.records import committed_folder
    from ..leaderboard.submission.acceptance import accept, accept_claim
    from ..leaderboard.verify.folder import check_files

    training = [run_folder for run_folder in run_folders if is_training_record(run_folder)]
    if training and claimed:
        raise click.UsageError("--claimed is not for runs of the training track, which are always trained again.")
    if claimed and not rerun:
        raise click.UsageError("Give --claimed or --no-rerun, not both: a claim is not checked at all.")
    for run_folder in run_folders:
        if run_folder not in training:
            check_files(run_folder)
    folder = records or committed_folder()
    for run_folder in run_folders:
        if run_folder in training:
            echo(f"added {_add_training(run_folder, folder, states, rerun)}")
            continue
        if claimed:
            echo(f"added {accept_claim(run_folder, folder)}")
            continue
        checked = report_checked([run_folder], folder, fresh=fresh, rerun=rerun, limits=rerun_limits(timeout, memory))
        path, changed = accept(checked[0], folder, reviewed=reviewed)
        echo(f"added {path}" if changed else f"{path} stays as it is; it was checked already.")


def _add_training(run_folder: Path, records: Path, states: tuple[Path, ...], whole: bool) -> Path:
    """Train a training run again, or a part of it, and add it if that gives the same."""
    from ..leaderboard.training.check import accept

    (checked,) = report_training([run_folder], None, states, whole=whole)
    return accept(checked, records)


@leaderboard.command(
    "check",
    short_help="Check a submission as the maintainers do.",
    epilog=examples("leaderboard check runs/A", "leaderboard check hf://datasets/OWNER/NAME@refs/pr/3"),
)
@click.argument("submission")
@records_option
@click.option(
    "--dataset",
    "dataset_name",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Dataset name, hf:// address or folder. [default: the records']",
)
@fresh_option
@quiet_option
@state_option
@timeout_option
@memory_option
def check_submission(
    submission: str,
    records: Path | None,
    dataset_name: str | None,
    fresh: bool,
    states: tuple[Path, ...],
    timeout: float | None,
    memory: float | None,
) -> None:
    """Check a submission: form, sizes, identity, re-scoring, and the rows that are there.

    A run under the name of a predictor of this package is run again; no other code is. Runs of the training track are
    trained again whole, with what is installed.

    SUBMISSION is a run folder, a folder of run folders, or a pull request (hf://datasets/OWNER/NAME@refs/pr/N, or its
    address). Exits with 1 if it is refused or needs review.
    """
    import tempfile

    from ..benchmark.training.record import is_training_record
    from ..leaderboard.store.records import find_committed_folder
    from ..leaderboard.submission.check import run_folders
    from ..leaderboard.submission.pull_request import fetch, parse_pull_request

    limits = rerun_limits(timeout, memory)
    request = parse_pull_request(submission)
    if request:
        request = request.pinned()
        echo(f"{request.location}, pull request {request.number} at commit {request.commit}")
    with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
        folders = fetch(request, Path(scratch)) if request else run_folders(Path(submission))
        known = records or find_committed_folder()
        training = [folder for folder in folders if is_training_record(folder)]
        passed = not any(one.problems for one in report_training(training, known, states)) if training else True
        others = [folder for folder in folders if folder not in training]
        if others or not training:
            checked = report_checked(others, known, dataset_name, fresh=fresh, limits=limits)
            passed = passed and all(one.passed for one in checked)
    if not passed:
        sys.exit(1)


def report_training(
    folders: list[Path], records: Path | None, states: tuple[Path, ...], *, whole: bool = True
) -> list[TrainingRunCheck]:
    """Check runs of the training track, and print what is wrong with each."""
    from ..leaderboard.training.check import check_training

    with Bars() as bars:
        results = check_training(folders, records, states, bars.stage, whole=whole)
    for one in results:
        echo(f"{'REFUSED' if one.problems else 'ok'}: {one.folder.name}")
        for problem in one.problems[:SHOWN]:
            echo(f"  {problem}")
        if one.found and not one.problems:
            again = "all trials trained again" if whole else "some trials trained again, for some iterations"
            echo(f"  {one.found.numbers:,} numbers recomputed from the curves, {again}; all agree")
    return results


def rerun_limits(timeout: float | None, memory: float | None) -> Limits:
    """Limits of a predictor of this package that is run again; half an hour of fitting by default."""
    from ..leaderboard.submission.check import RERUN_SECONDS

    return build_limits(RERUN_SECONDS if timeout is None else timeout, memory)


def report_checked(
    folders: list[Path],
    records: Path | None,
    dataset_name: str | None = None,
    *,
    fresh: bool = False,
    rerun: bool = True,
    limits: Limits | None = None,
) -> list[CheckResult]:
    """Check runs, beside the records of a leaderboard if there are any, and print what is wrong with each."""
    from ..leaderboard.submission.check import check

    def dataset(name: str) -> Dataset:
        return open_dataset_of(dataset_name or name)

    with Bars() as bars:
        results = check(folders, records, dataset, bars.stage, fresh=fresh, rerun=rerun, limits=limits)
    for one in results:
        echo(f"{'ok' if one.passed else 'REFUSED' if one.problems else 'NEEDS REVIEW'}: {one.folder.name}")
        for problem in one.problems:
            echo(f"  {problem}")
        for flag in one.review_flags:
            echo(f"  needs review: {flag}")
        for achievement in one.rescored.above_span_ceiling if one.rescored else ():
            echo(f"  {achievement}")
        if one.rescored and one.rescored.agrees:
            echo(f"  {one.rescored.numbers:,} numbers recomputed from the forecasts; all agree")
        if one.rescored:
            echo(f"  {describe_returns(one.rescored)}")
        for note in one.rescored.notes if one.rescored else ():
            echo(f"  {note}")
        if one.reproduced and not one.problems:
            echo(f"  run again, as a predictor of this package: {one.reproduced.grade}")
    return results


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
    from ..leaderboard.build import export_tables
    from ..leaderboard.document.build import document
    from ..leaderboard.render.export import export

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
    from ..benchmark.record import read_record
    from ..leaderboard.store.evidence import append, maintainer_note
    from ..leaderboard.store.records import suggest_record

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
    """Build leaderboard/README.md, README.md's best rows, docs/board/ and the suite `board` from the records."""
    from ..leaderboard.build import build

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
    from ..leaderboard.render.site.serving import HOST, server

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
    from ..leaderboard.confirm.confirm import confirm

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
    from ..leaderboard.confirm.reveal import reveal

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
    from ..leaderboard.confirm.audit import audit

    with Bars() as bars:
        found = audit(folder, records, collect_again=collect_again, progress=bars.stage)
    for line in found.passed:
        echo(f"ok: {line}")
    for line in found.problems:
        echo(f"PROBLEM: {line}")
    if found.problems:
        sys.exit(1)
