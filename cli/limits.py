"""The options `--timeout` and `--memory` of the commands that start a predictor's process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..benchmark.worker.predictor_process import Limits

timeout_option = click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="What the predictor may take to fit, and for each batch of forecasts. [default: any time]",
)
memory_option = click.option(
    "--memory", type=float, metavar="GIB", help="What memory the predictor may use. [default: the machine's]"
)


def build_limits(timeout: float | None, memory: float | None) -> Limits:
    """Limits as they were typed; raises for what is none."""
    from ..benchmark.worker.predictor_process import Limits

    if memory is None:
        return Limits(timeout)
    if not math.isfinite(memory):
        raise click.BadParameter(f"{memory} is not a finite number.", param_hint="--memory")
    return Limits(timeout, int(memory * 2**30))
