"""`tipl-bench suite`: a whole board from one command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .completion import complete_suites
from .groups import Commands, examples
from .options import engine_option, json_option
from .output import Bars, console, echo, quiet_option

if TYPE_CHECKING:
    from ..benchmark.suites.run import SuiteStatus
    from ..benchmark.suites.tasks import Task


@click.group(cls=Commands, short_help="Run a whole board from one file.")
def suite() -> None:
    """Run what a file names: datasets, methods, budgets and seeds of both tracks."""


def _folder(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if re.match(r"\w{2,}:/", str(value)):  # such as s3://bucket, whose two slashes a path makes one
        raise click.BadParameter("an address, where a folder is needed; `suite run --results` takes addresses.")
    return value


def _of_a_suite(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--only", multiple=True, metavar="PATTERN", help="Tasks whose names fit, such as '*tipl*'; repeatable."
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            callback=_folder,
            help="Folder of its runs. [default: runs/suites/<name>]",
        ),
        click.argument("name", metavar="SUITE", shell_complete=complete_suites),
    ):
        command = option(command)
    return command


@suite.command("list", epilog=examples("suite list"), short_help="List the suites of this package.")
@json_option
def list_suites(as_json: bool) -> None:
    """List the suites of this package."""
    from ..benchmark.suites.suite import read_suite, shipped_suites
    from ..benchmark.suites.tasks import tasks_of

    found = []
    for name in shipped_suites():
        _, suite = read_suite(name)
        found.append({"name": name, "tasks": len(tasks_of(suite)), "summary": suite.summary})
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for one in found:
        echo(f"{one['name']}  ({one['tasks']} tasks)  {one['summary']}", indent=2)


@suite.command(
    "run",
    short_help="Run what is not finished.",
    epilog=examples(
        "suite run smoke",
        "suite run my-board.toml --only '*tipl*'",
        "suite run board --engine ray --results s3://bucket/board",
    ),
)
@_of_a_suite
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Tasks at once, each on its share of the cores.",
)
@engine_option
@click.option(
    "--results",
    metavar="ADDRESS",
    help="Also keep finished runs there (a folder, or an address of fsspec such as s3://bucket/board), and fetch those "
    "that are there instead of running them.",
)
@quiet_option
@json_option
def run_tasks(
    name: str,
    out: Path | None,
    only: tuple[str, ...],
    engine: str,
    jobs: int,
    results: str | None,
    as_json: bool,
) -> None:
    """Run the tasks of a suite that are not finished.

    Repeating the command goes on where it was. A run that fails is recorded and tried again the next time; the others
    go on, and the exit status is 1.
    """
    from ..benchmark.suites.engines import build_engine
    from ..benchmark.suites.run import run_suite

    with Bars() as bars:
        chosen = build_engine(engine, jobs)
        status = run_suite(name, out, only=only, engine=chosen, results=results, progress=bars.stage)
    _print_status(status, as_json, status.pending())
    if status.counts()["finished"] < len(status.tasks):
        sys.exit(1)


@suite.command("status", epilog=examples("suite status smoke"), short_help="Say what is finished and what is not.")
@_of_a_suite
@json_option
def show_status(name: str, out: Path | None, only: tuple[str, ...], as_json: bool) -> None:
    """Say which tasks of a suite are finished, failed, begun or waiting, and how long the rest takes."""
    from ..benchmark.suites.run import suite_status

    status = suite_status(name, out, only)
    _print_status(status, as_json, status.tasks)


def _print_status(status: SuiteStatus, as_json: bool, listed: Sequence[Task]) -> None:
    """Print how far a suite is, with a line for each task that is to be listed."""
    from ..benchmark.suites.run import describe_time_left

    if as_json:
        tasks = [{"name": task.name, "kind": task.kind, **_described(status, task.name)} for task in status.tasks]
        seconds, unknown = status.time_left()
        click.echo(
            json.dumps({"suite": status.name, "seconds_left": seconds, "not_timed": unknown, "tasks": tasks}, indent=1)
        )
        return
    for task in listed:
        found = status.states[task.name]
        echo(f"{found.state:8}  {task.name}{f': {found.reason}' if found.reason else ''}", indent=12)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(status.counts().items()))
    left = f"; {describe_time_left(status)}" if status.pending() else ""
    echo(f"{status.name}: {counts}{left}")


def _described(status: SuiteStatus, name: str) -> dict[str, Any]:
    found = status.states[name]
    return {"state": found.state, "seconds": found.seconds, "reason": found.reason}


@suite.command(
    "report",
    short_help="Show what the finished runs found.",
    epilog=examples("suite report smoke", "suite report smoke --folders", "suite report board --page runs/board"),
)
@_of_a_suite
@click.option("--folders", is_flag=True, help="Print the folders of finished runs, for `leaderboard add`.")
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    callback=_folder,
    metavar="FOLDER",
    help="Write the leaderboard of these runs into a folder: its page and tables.",
)
@json_option
def report(name: str, out: Path | None, only: tuple[str, ...], folders: bool, page: Path | None, as_json: bool) -> None:
    """Show the mean skill or AUC of each method of a suite, as far as its runs are finished."""
    import dataclasses

    from ..benchmark.suites.run import finished_folders, report_rows, suite_status
    from ..utils.tables import ColumnGroup, FoldedTable

    if (page is not None) + folders + as_json > 1:
        raise click.UsageError("Give one of --page, --folders and --json.")
    status = suite_status(name, out, only)
    rows = report_rows(status)
    if page is not None:
        _write_page(finished_folders(status), page)
    elif folders:
        for folder in finished_folders(status):
            click.echo(folder)
    elif as_json:
        click.echo(json.dumps([{**dataclasses.asdict(row), "mean": row.mean} for row in rows], indent=1))
    else:
        for board in dict.fromkeys(row.board for row in rows):
            table = FoldedTable(board, [ColumnGroup(("runs", "measure", "mean"))], justify="right")
            for row in (one for one in rows if one.board == board):
                table.add_row(row.method, [[str(row.seeds), row.measure, f"{row.mean:.3f}"]])
            console().print(table)
            echo()
        if not rows:
            echo(f"{status.name}: no run is finished.")


def _write_page(folders: Iterable[Path], page: Path) -> None:
    from ..leaderboard.build import SITE, build_of_runs

    written, left_out = build_of_runs(folders, page)
    for reason in left_out:
        echo(f"left out: {reason}", indent=2)
    echo(f"wrote {len(written)} files; the page is {page / SITE / 'index.html'}")
