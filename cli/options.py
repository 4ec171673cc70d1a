"""Options of several groups of commands: the protocol, and limits of the worker processes that they start."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .completion import complete_budgets, complete_optimizers, complete_outer_rules

if TYPE_CHECKING:
    from ..benchmark.tracking.loggers import Logger
    from ..benchmark.worker.usage import Limits

MAX_SEEDS = 1000


class Seeds(click.ParamType[tuple[int, ...]]):
    """Seeds as numbers and ranges, `0-2` or `0,1,2`."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The seeds, each once."""
        if not isinstance(value, str):
            return tuple(value)
        seeds: dict[int, None] = {}
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part, re.ASCII)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
            if not first <= last < first + MAX_SEEDS:
                self.fail(
                    f"{value!r} is not a list of seeds: use whole numbers from 0 and rising ranges of at most "
                    f"{MAX_SEEDS:,}, such as 0-2 or 0,1,2.",
                    param,
                    ctx,
                )
            seeds |= dict.fromkeys(range(first, last + 1))
        return tuple(seeds)


protocol_option = click.option(
    "--protocol",
    "version",
    type=click.IntRange(1),
    metavar="N",
    help="Version of the protocol: 1 or 2. [default: the current one]",
)
budget_option = click.option(
    "--budget",
    default="quick",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_budgets,
    help="Training budget: smoke, quick, standard or paper.",
)
optimizer_option = click.option(
    "--optimizer",
    default="adam",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_optimizers,
    help="What makes the steps; `tipl-bench optimizers` lists them.",
)
outer_option = click.option(
    "--outer",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_outer_rules,
    help="What acts between two PPO iterations: an outer step, an average, a jump; repeatable, in this order.",
)
track_environment_option = click.option(
    "--env", "environment", required=True, metavar="ID", help="Gymnasium environment of the training track."
)
engine_option = click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="NAME",
    help="Where it is done: local, ray (the cluster that Ray finds), HOST:PORT of one, or, from a machine outside it, "
    "ray://HOST:PORT.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
timeout_option = click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="Time limit for fitting and for each batch of forecasts. [default: none]",
)
memory_option = click.option(
    "--memory", type=float, metavar="GIB", help="Memory limit of the predictor. [default: the machine's memory]"
)


def build_limits(timeout: float | None, memory: float | None) -> Limits:
    """Limits from the options; raises `BadParameter` or `OptionError` for invalid ones."""
    from ..benchmark.worker.usage import Limits

    if memory is None:
        return Limits(timeout)
    if not math.isfinite(memory):
        raise click.BadParameter(f"{memory} is not a finite number.", param_hint="--memory")
    return Limits(timeout, int(memory * 2**30))


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--log` and `--log-dir`; see `build_logger`."""
    log = click.option(
        "--log",
        type=click.Choice(["tensorboard", "wandb"]),
        help="Log curves and results there; off by default. wandb logs offline.",
    )
    folder = click.option(
        "--log-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder of logs. [default: the run folder]"
    )
    return log(folder(command))


def build_logger(log: str | None, log_dir: Path | None) -> Logger | None:
    """The logger that was asked for; raises `OptionError` if its package is not installed."""
    if log is None:
        if log_dir is not None:
            raise click.UsageError("--log-dir is where --log writes: give --log tensorboard or --log wandb too.")
        return None
    from ..benchmark.tracking.loggers import open_logger

    return open_logger(log, log_dir)
