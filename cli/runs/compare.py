"""`tipl-bench compare`."""

from __future__ import annotations

from pathlib import Path

import click

from ..groups import examples


@click.command(
    short_help="Compare runs on their shared test trials.",
    epilog=examples("compare runs/A runs/B", "compare runs/*/tipl-* --phase all"),
)
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--phase",
    type=click.Choice(["learning", "converged", "all"]),
    default="learning",
    show_default=True,
    help="Phase to print.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every difference as JSON instead of the table.")
def compare(runs: tuple[Path, ...], phase: str, as_json: bool) -> None:
    """Print the paired differences of runs over the trials that they share, with 95% intervals.

    RUN is a run folder or a record file; all must be of one dataset, protocol and choice of windows.
    """
    from ...benchmark import table
    from ...benchmark.compare import compare as compare_runs
    from ..output import console

    if len(runs) < 2:
        raise click.UsageError("Give two or more runs.")
    found = compare_runs(runs)
    if as_json:
        click.echo(found.to_json(orient="records", indent=1))
    else:
        console().print(table.render_comparison(found, phase))
