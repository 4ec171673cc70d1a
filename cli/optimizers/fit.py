"""`tipl-bench optimizers fit`: the predictor of a jump."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..completion import complete_datasets, complete_predictors
from ..groups import examples
from ..options import budget_option, json_option, optimizer_option, outer_option, track_environment_option
from ..output import Bars, console, echo, quiet_option

if TYPE_CHECKING:
    from ...benchmark.jump_fitting.run import JumpFit


@click.command(
    "fit",
    short_help="Fit the predictor of a jump.",
    epilog=examples(
        "optimizers fit jump --env InvertedPendulum-v4 --trials 20",
        "optimizers fit jump --env InvertedPendulum-v4 --outer outer-step",
        "optimizers fit jump --env InvertedPendulum-v4 --set jump.period=2",
    ),
)
@click.argument("name")
@track_environment_option
@optimizer_option
@outer_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for `train`, PREDICTOR.NAME=VALUE of the predictor, and values of the jump to choose from, separated by "
    "commas; repeatable. [default: jump.period=1,2,4 and jump.factor=1,2]",
)
@click.option(
    "--predictor",
    default="tipl-neuron",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_predictors,
    help="What is fitted.",
)
@budget_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the predictor.")
@click.option("--trials", type=click.IntRange(3), metavar="N", help="Trials to collect. [default: 100]")
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="N",
    help="PPO iterations of each. [default: the protocol's; 24 of InvertedPendulum-v4]",
)
@click.option("--first-seed", type=click.IntRange(0), metavar="N", help="Seed of the first. [default: 100001]")
@click.option(
    "--dataset",
    metavar="NAME",
    shell_complete=complete_datasets,
    help="A catalogued dataset to fit on instead, or a name for what is collected.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write. [default: runs/jumps/<environment>/...]")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Processes at once. [default: all cores]")
@quiet_option
@json_option
def fit_optimizer(name: str, environment: str, settings: tuple[str, ...], as_json: bool, **rest: Any) -> None:
    """Fit the predictor of a jump on trials of the method that it rides on.

    NAME is `jump`, which acts after the outer rules unless `--outer jump` is among them. Trials are collected under the
    method, the predictor is fitted on their training trials, and the tuning trials are trained with every configuration
    of the jump, at most eight, and without jumps. The one with the highest AUC is kept, and the commands for the test
    trials are printed. Repeating the command resumes an interrupted one.
    """
    from ...benchmark.jump_fitting import table
    from ...benchmark.jump_fitting.record import JUMP
    from ...benchmark.jump_fitting.run import fit_jump
    from ...utils.errors import UnknownNameError

    if name != JUMP:
        raise UnknownNameError("outer rule with a predictor to fit", name, [JUMP])
    with Bars() as bars:
        finished = fit_jump(
            environment,
            options=settings,
            progress=bars.stage,
            announce=lambda text: echo(text, err=True),
            **rest,
        )
    if as_json:
        click.echo(finished.record.model_dump_json(indent=1))
        return
    console().print(table.render(finished.record))
    _print_what_follows(finished)


def _print_what_follows(finished: JumpFit) -> None:
    """The commands for the test trials, and what a row of a leaderboard needs beside."""
    record = finished.record
    words = ["tipl-bench", "train", "--env", record.key.protocol.environment]
    words += ["--optimizer", record.key.optimizer] if record.key.optimizer != "adam" else []
    words += [word for rule in record.key.outer for word in ("--outer", rule)]
    words += [word for setting in finished.options for word in ("--set", setting)]
    for title, more in (
        ("The kept jump on the test trials:", []),
        ("Its control, jumps of that length along the last change:", ["--set", "jump.direction=last-change"]),
    ):
        click.echo(f"\n{title}\n  {shlex.join([*words, *more])}")  # to be copied whole
    if not finished.catalogued:
        echo(
            "\nNo row yet: a leaderboard takes jumps whose predictor was fitted on a catalogued dataset, and "
            f"{record.dataset.name} is none. Fit on one that is (--dataset), or propose this one: "
            "docs/training-track.md."
        )
    console().print(
        f"\n{'already finished' if finished.repeated else 'written'}: {finished.folder}", style="dim", soft_wrap=True
    )
