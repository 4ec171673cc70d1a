"""The command line. Commands import heavy modules when they run, so that `--help` is fast."""

from __future__ import annotations

import click

from .._version import __version__
from .datasets import datasets
from .groups import MainCommands, print_unexpected
from .leaderboard import leaderboard
from .models import models
from .optimizers import optimizers
from .policies import policy, watch
from .runs.compare import compare
from .runs.forecast import forecast
from .runs.run import run
from .runs.tune import tune
from .submission import submit
from .suites import suite
from .training import train
from .verification import reproduce, verify


@click.group(cls=MainCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tipl-bench")
@click.option("-v", "--verbose", is_flag=True, help="Show log messages, and the traceback of an unexpected error.")
@click.pass_context
def main(ctx: click.Context, verbose: bool = False) -> None:
    """Benchmark for forecasting the weights of deep-RL policies as they train."""
    import logging
    import sys

    from .defaults import read_defaults

    ctx.default_map = read_defaults(main)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:
        sys.excepthook = print_unexpected


for command in (
    run, forecast, tune, compare, watch, train, datasets, policy, models, optimizers, verify, reproduce, submit,
    suite, leaderboard,
):  # fmt: skip
    main.add_command(command)
