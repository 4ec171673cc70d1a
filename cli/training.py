"""`tipl-bench train`: a run of the training track."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from .groups import examples
from .options import (
    build_logger,
    engine_option,
    log_options,
    optimizer_option,
    outer_option,
    track_environment_option,
)
from .output import Bars, console, echo, quiet_option


@click.command(
    short_help="Train with an optimizer inside PPO and score it by return.",
    epilog=examples(
        "train --env InvertedPendulum-v4",
        "train --env InvertedPendulum-v4 --set learning_rate=9e-4",
        "train --env InvertedPendulum-v4 --outer lawa --set lawa.count=5",
        "train --env InvertedDoublePendulum-v4 --engine ray",
    ),
)
@optimizer_option
@outer_option
@track_environment_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the optimizer, or RULE.NAME=VALUE of an outer rule; repeatable.",
)
@click.option(
    "--on",
    "split",
    type=click.Choice(["test", "tuning"]),
    default="test",
    show_default=True,
    help="Trials to train; choose settings on the tuning trials.",
)
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Train the first N trials alone.")
@click.option("--iterations", type=click.IntRange(1), metavar="N", help="Train N PPO iterations alone.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/training/<environment>/...]")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Processes at once. [default: all cores]")
@engine_option
@log_options
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of the table.")
def train(
    optimizer: str,
    outer: tuple[str, ...],
    environment: str,
    settings: tuple[str, ...],
    split: Literal["test", "tuning"],
    trials: int | None,
    iterations: int | None,
    out: Path | None,
    threads: int | None,
    engine: str,
    log: str | None,
    log_dir: Path | None,
    as_json: bool,
) -> None:
    """Train policies with an optimizer inside PPO, score them, write the run folder and print a table.

    PPO, the environments, the trials' random streams and the evaluation are fixed; only what turns gradients into
    weights differs, so that runs are paired by trial: `tipl-bench compare RUN RUN`. Repeating the command resumes an
    interrupted run; a finished run is not repeated.
    """
    from rich.text import Text

    from ..benchmark.training import table
    from ..benchmark.training.run import train as train_with

    logger = build_logger(log, log_dir)
    with Bars() as bars:
        finished = train_with(
            optimizer,
            environment,
            outer=outer,
            options=settings,
            on=split,
            trials=trials,
            iterations=iterations,
            out=out,
            threads=threads,
            engine=engine,
            progress=bars.stage,
            logger=logger,
        )
    if as_json:
        click.echo(finished.record.model_dump_json(indent=1))
        return
    console().print(table.render(finished.record))
    ending = "already finished" if finished.repeated else "written"
    lines = [f"{ending}: {finished.folder}", f"figure: {finished.folder / 'figure.svg'}"]
    console().print(Text("\n".join(lines), "dim"), soft_wrap=True)


def print_training_comparison(first: Path, others: Sequence[Path], figure: Path | None, as_json: bool) -> None:
    """Print what training runs have more than the first, and draw all of them."""
    from ..benchmark.training import figures, table
    from ..benchmark.training.compare import compare_training
    from ..benchmark.training.record import read_training_record
    from ..benchmark.training.run import read_curves

    found = compare_training(others, first)
    key = read_training_record(first).key
    if figure is not None:
        keys = [read_training_record(one).key for one in (first, *others)]
        curves = [read_curves(one, key) for one, key in zip((first, *others), keys, strict=True)]
        figures.draw(list(zip(keys, curves, strict=True)), figure)
    if as_json:
        rows = {label: {name: vars(one) for name, one in estimates.items()} for label, estimates in found.items()}
        click.echo(json.dumps({"against": key.label, "runs": rows}, indent=1))
        return
    console().print(table.render_comparison(found, key.label, key.trials))
    if figure is not None:
        echo(f"figure: {figure}.svg")
