"""`tipl-bench submit`."""

from __future__ import annotations

from pathlib import Path

import click

from .groups import examples
from .leaderboard import report_checked
from .output import echo, quiet_option
from .verification import dataset_option, open_checked, records_option, run_argument


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
def submit(run_folder: Path, dataset_name: str | None, records: Path | None, repo: str | None, dry_run: bool) -> None:
    """Check a run as the leaderboard will, and open a pull request that adds it.

    Outside a clone of the project the run is not compared with the rows that are there; the maintainers' check is.
    A run that fails the check is not sent. One that only needs review is: what to review is printed, and the
    maintainers decide.
    """
    from ..leaderboard.store.records import find_committed_folder
    from ..leaderboard.submission.pull_request import FOLDER, REPOSITORY, submission_name
    from ..leaderboard.submission.pull_request import submit as open_request
    from ..leaderboard.verify.folder import SUBMITTED, check_files
    from ..registry.reference import check_repo

    repo = repo or REPOSITORY
    check_repo(repo)
    check_files(run_folder)
    checked = report_checked([run_folder], records or find_committed_folder(), dataset_name)
    record = checked[0].record
    if checked[0].problems or record is None:
        raise click.ClickException(
            "This run cannot be submitted, for the reasons above; nothing was sent. Give a folder that "
            "`tipl-bench run` wrote, unchanged; `tipl-bench verify RUN` names every number that differs."
        )
    for name in SUBMITTED:
        size = (run_folder / name).stat().st_size
        echo(f"+ {FOLDER}/{submission_name(record)}/{name} ({size:,} bytes)")
    if dry_run:
        echo("Dry run: nothing was sent.")
        return
    echo(f"Opened {open_request(open_checked(run_folder, dataset_name), repo)}")
