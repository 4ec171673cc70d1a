"""`tipl-bench train` and `tipl-bench optimizers`: the training track."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from .completion import complete_optimizers, complete_outer_rules
from .groups import examples
from .output import Bars, console, echo, quiet_option


@click.command(
    short_help="Train with an optimizer inside PPO and score it by return.",
    epilog=examples(
        "train --env InvertedPendulum-v4",
        "train --env InvertedPendulum-v4 --set learning_rate=9e-4",
        "train --env InvertedPendulum-v4 --outer lawa --set lawa.count=5",
    ),
)
@click.option(
    "--optimizer",
    default="adam",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_optimizers,
    help="What makes the steps; `tipl-bench optimizers` lists them.",
)
@click.option(
    "--outer",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_outer_rules,
    help="What acts between two PPO iterations: an outer step, an average, a jump; repeatable, in this order.",
)
@click.option("--env", "environment", required=True, metavar="ID", help="Gymnasium environment of the training track.")
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
            progress=bars.stage,
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


@click.command(short_help="List optimizers and outer rules; show the settings of one.")
@click.argument("name", required=False, shell_complete=complete_optimizers)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def optimizers(name: str | None, as_json: bool) -> None:
    """List the optimizers and outer rules of the training track, or show the settings of one."""
    from ..baselines.optimizers.lookup import names, rule_type, settings_of
    from ..baselines.options import option_text
    from ..rl import Optimizer
    from ..utils.tables import ColumnGroup, FoldedTable
    from ..utils.text import one_line

    kinds = {one: rule_type(one) for one in ([name] if name else names())}
    stands_for = {one: "optimizer" if issubclass(kind, Optimizer) else "outer rule" for one, kind in kinds.items()}
    if as_json:
        rows = [
            {
                "name": one,
                "version": kind.version,
                "kind": stands_for[one],
                "summary": kind.summary,
                "settings": {n: {"type": i.type, "default": i.default} for n, i in settings_of(one).items()},
            }
            for one, kind in kinds.items()
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    if name is None:
        table = FoldedTable("name", [ColumnGroup(("kind", "what it is"))], justify="left")
        for one, kind in kinds.items():
            table.add_row(one, [[stands_for[one], one_line(kind.summary)]])
        console().print(table)
        echo("\nSettings: tipl-bench optimizers NAME")
        return
    echo(f"{name} v{kinds[name].version} ({stands_for[name]}): {one_line(kinds[name].summary)}\n")
    table = FoldedTable("setting", [ColumnGroup(("type", "default"))], justify="left")
    settings = settings_of(name)
    for setting, info in settings.items():
        table.add_row(setting, [[info.type, "required" if info.required else option_text(info.default)]])
    console().print(table)
    described = [(setting, one_line(info.description)) for setting, info in settings.items() if info.description]
    if described:
        formatter = click.HelpFormatter(width=min(console().width, 120))
        formatter.write_dl(described)
        click.echo("\n" + formatter.getvalue(), nl=False)
