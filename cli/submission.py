"""`tipl-bench submit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .groups import examples
from .leaderboard.submissions import report_checked, report_training
from .output import echo, quiet_option
from .verification import dataset_option, open_checked, records_option, refuse_states, run_argument, state_option

if TYPE_CHECKING:
    from ..benchmark.record import Record
    from ..benchmark.training.record import TrainingRecord


@click.command(
    short_help="Check a run, and open a pull request with it.",
    epilog=examples("submit runs/A --dry-run", "submit runs/A"),
)
@run_argument
@dataset_option
@records_option
@click.option("--repo", metavar="OWNER/NAME", help="The leaderboard's dataset repository. [default: the project's]")
@quiet_option
@click.option("--dry-run", is_flag=True, help="Check, print what would be sent, and send nothing.")
@state_option
def submit(
    run_folder: Path,
    dataset_name: str | None,
    records: Path | None,
    repo: str | None,
    dry_run: bool,
    states: tuple[Path, ...],
) -> None:
    """Check a run as the leaderboard will, and open a pull request that adds it.

    Outside a clone of the project the run is not compared with the rows that are there; the maintainers' check is.
    A run that fails the check is not sent. One that only needs review is: what to review is printed, and the
    maintainers decide. A run of the training track is trained again whole, and one of a predictor of this package is
    run again, which take as long as they did; submit those that a training run was tuned by as well.
    """
    from ..benchmark.training.record import is_training_record, read_training_record
    from ..leaderboard.store.records import find_committed_folder
    from ..leaderboard.submission import pull_request
    from ..leaderboard.verify.folder import SUBMITTED, check_files
    from ..registry.reference import check_repo

    repo, known = repo or pull_request.REPOSITORY, records or find_committed_folder()
    check_repo(repo)
    record: Record | TrainingRecord | None
    if is_training_record(run_folder):
        if dataset_name or records:
            raise click.UsageError("--dataset and --records are not for runs of the training track.")
        record, files = read_training_record(run_folder), pull_request.TRAINING_SUBMITTED
        refused = not report_training([run_folder], None, states)[0].passed  # by itself: others may come before it
    else:
        refuse_states(states)
        check_files(run_folder)
        checked = report_checked([run_folder], known, dataset_name)
        record, refused, files = checked[0].record, bool(checked[0].problems), SUBMITTED
    if refused or record is None:
        raise click.ClickException("This run cannot be submitted, for the reasons above; nothing was sent.")
    for name in files:
        size = (run_folder / name).stat().st_size
        echo(f"+ {pull_request.FOLDER}/{pull_request.submission_name(record)}/{name} ({size:,} bytes)")
    if dry_run:
        echo("Dry run: nothing was sent.")
    elif is_training_record(run_folder):
        echo(f"Opened {pull_request.submit_training(run_folder, repo)}")
    else:
        echo(f"Opened {pull_request.submit(open_checked(run_folder, dataset_name), repo)}")
