"""`tipl-bench compare`."""

from __future__ import annotations

from pathlib import Path

import click

from ..groups import examples
from ..training import print_training_comparison


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
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Draw them together into PATH.svg and .png.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every difference as JSON instead of the table.")
@click.pass_context
def compare(ctx: click.Context, runs: tuple[Path, ...], phase: str, figure: Path | None, as_json: bool) -> None:
    """Print the paired differences of runs over the trials that they share, with 95% intervals.

    RUN is a run folder or a record file; all must be of one dataset, protocol and choice of windows. Runs of the
    training track (`tipl-bench train`) are compared with the first of them.
    """
    from ...benchmark import table
    from ...benchmark.compare import compare as compare_runs
    from ...benchmark.compare import draw
    from ...benchmark.training.record import is_training_record
    from ..output import console, echo

    if len(runs) < 2:
        raise click.UsageError("Give two or more runs.")
    if figure is not None and figure.suffix.lower() in (".pdf", ".eps", ".jpg", ".jpeg", ".tiff", ".webp"):
        raise click.UsageError(f"--figure draws .svg and .png, not {figure.suffix}.")
    if figure is not None and figure.suffix in (".svg", ".png"):
        figure = figure.with_suffix("")
    if is_training_record(runs[0]):
        if ctx.get_parameter_source("phase") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--phase is not for runs of the training track, which have no phases.")
        print_training_comparison(runs[0], runs[1:], figure, as_json)
        return
    found = compare_runs(runs)
    if figure is not None:
        draw(runs, figure, phase)
    if as_json:
        click.echo(found.to_json(orient="records", indent=1))
    else:
        console().print(table.render_comparison(found, phase))
    if figure is not None:
        echo(f"figure: {figure}.svg", err=as_json)
