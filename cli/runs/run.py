"""`tipl-bench run`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import complete_predictors
from ..groups import as_options, examples
from ..options import (
    Seeds,
    budget_option,
    build_limits,
    build_logger,
    log_options,
    memory_option,
    protocol_option,
    timeout_option,
)
from ..output import Bars, console, echo, quiet_option
from .options import (
    collect_option,
    dataset_options,
    device_option,
    fit_on_option,
    load,
    open_dataset,
)
from .summary import headline, print_summary, test_command

if TYPE_CHECKING:
    from ...benchmark.forecast.windows import Split
    from ...benchmark.record import Record
    from ...benchmark.request import RunRequest
    from ...benchmark.run import Run
    from ...benchmark.tracking.loggers import Logger


@click.command(
    short_help="Train, forecast and score a predictor.",
    epilog=examples(
        "run --model linear --env InvertedPendulum-v4",
        "run --model tipl --env Hopper-v4 --budget smoke --set heads=2",
        "run --model mlp --env Hopper-v4 --on validation --set width=16,32",
    ),
)
@click.option(
    "--model",
    required=True,
    metavar="NAME",
    shell_complete=complete_predictors,
    help="Predictor; `tipl-bench models` lists them.",
)
@dataset_options
@budget_option
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The predictor's seed. [default: 0]")
@click.option("--seeds", type=Seeds(), metavar="LIST", help="Several seeds, one run each: 0-2 or 0,1,2.")
@click.option(
    "--on",
    "split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Trials to forecast; tune options on validation.",
)
@click.option(
    "--returns/--no-returns",
    default=True,
    help="Evaluate returns (REPW), which takes most of the time; a whole test run needs them.",
)
@protocol_option
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Forecast N windows, spread evenly, instead of all.")
@device_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the predictor, as `tipl-bench models NAME` lists them; repeatable. On validation: NAME=1,2,4.",
)
@fit_on_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/<dataset>/<model>-...]")
@collect_option
@timeout_option
@memory_option
@log_options
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of the table.")
def run(
    model: str,
    environment: str | None,
    dataset_name: str | None,
    budget: str,
    seed: int | None,
    seeds: tuple[int, ...] | None,
    split: Split,
    returns: bool,
    version: int | None,
    limit: int | None,
    device: str,
    settings: tuple[str, ...],
    fit_on: str | None,
    out: Path | None,
    collect: bool,
    timeout: float | None,
    memory: float | None,
    log: str | None,
    log_dir: Path | None,
    as_json: bool,
) -> None:
    """Train, forecast and score a predictor; write the run folder and print a table.

    Repeating the command resumes an interrupted run; a finished run is not repeated.

    Tune with --on validation. There --set takes several values, NAME=1,2,4, and every combination is run: a table
    ranks them by skill and names the command that runs the best on the test trials. A test run records how many
    validation runs came before it.
    """
    from ...benchmark.protocol import CURRENT, protocol
    from ...benchmark.request import RunRequest, resolved_model

    limits, logger = build_limits(timeout, memory), build_logger(log, log_dir)
    chosen = protocol(CURRENT if version is None else version)
    if seed is not None and seeds:
        raise click.UsageError("Give --seed or --seeds, not both.")
    dataset = open_dataset(dataset_name, environment, collect, chosen)
    fit_set = load(fit_on, collect, chosen) if fit_on else None
    with resolved_model(model, budget) as (name, _):
        request = RunRequest(
            name,
            dataset,
            budget,
            settings,
            seed or 0,
            device,
            chosen,
            limits=limits,
            split=split,
            limit=limit,
            returns=returns,
            fit_on=fit_set,
        )
        _run_all(request, seeds or (request.seed,), out, logger, as_json)


def _run_all(
    request: RunRequest, seeds: tuple[int, ...], out: Path | None, logger: Logger | None, as_json: bool
) -> None:
    """Carry out a request with each of its configurations and seeds."""
    from ...benchmark.request import default_folder

    requests = [
        dataclasses.replace(request, settings=configuration, seed=one)
        for configuration in request.configurations()
        for one in seeds
    ]
    if len(requests) == 1:
        _run_one(requests[0], out or default_folder(requests[0]), logger, as_json)
        return
    _run_several(
        requests,
        lambda one: out / default_folder(one).name if out else default_folder(one),
        logger=logger,
        as_json=as_json,
        command=test_command(click.get_current_context()),
    )


def _run_one(request: RunRequest, folder: Path, logger: Logger | None, as_json: bool) -> None:
    """Carry out a request, and print its record or table."""
    from ...benchmark.run import execute

    with Bars() as bars:
        finished = execute(request, folder, bars.stage, logger)
    print_run(finished, as_json)


def print_run(finished: Run, as_json: bool) -> None:
    """Print a run's record, or its table, files and what can be done next."""
    from rich.text import Text

    from ...baselines import IN_TREE
    from ...benchmark import table
    from ...benchmark.protocol import ROW_SEEDS

    if as_json:
        click.echo(finished.record.model_dump_json(indent=1))
        return
    console().print(table.render(finished.record))
    ending = "already finished" if finished.repeated else "written"
    lines = [f"{ending}: {finished.folder}"]
    drawings = (finished.figure, finished.fit_figure)
    lines += [f"{path.stem}: {path}" for path in drawings if path.exists()]
    if not finished.record.scope:  # only whole test runs can be submitted
        key, place = finished.record.key, shlex.quote(str(finished.folder))
        # Rows of predictors of this package are there, or come from the maintainers.
        fit = finished.record.why_not_submittable is None and key.method.name not in IN_TREE and key.seed in ROW_SEEDS
        then = f"submit {place}" if fit else "models new my-forecaster"
        lines += ["next:", f"  tipl-bench verify {place}", f"  tipl-bench {then}"]
    console().print(Text("\n".join(lines), "dim"), soft_wrap=True)  # paths and commands, to be copied whole


def _run_several(
    requests: Sequence[RunRequest],
    folder_of: Callable[[RunRequest], Path],
    *,
    logger: Logger | None,
    as_json: bool,
    command: list[str],
) -> None:
    """Carry out requests that differ in seeds and options one after another, and print a line each and a summary.

    Exits with 1 if one failed, after the others.

    Parameters
    ----------
    requests
        What to run, the seeds of one configuration together.
    folder_of
        The run folder of a request.
    logger
        Where each run is logged.
    as_json
        Print all records as JSON instead.
    command
        The command that runs the best configuration of a sweep on the test trials, without its options.
    """
    from ...benchmark.run import execute
    from ...utils.errors import OptionError, PredictorError, ProtocolError

    groups: dict[tuple[str, ...], list[Record]] = {}
    failures = 0
    for number, request in enumerate(requests, 1):
        label = f"[{number}/{len(requests)}] {' '.join((*request.settings, f'seed {request.seed}'))}"
        try:
            with Bars() as bars:
                finished = execute(request, folder_of(request), bars.stage, logger)
        except (PredictorError, OptionError, ProtocolError) as error:
            failures += 1
            echo(f"{label}: failed: {as_options(str(error))}", err=True)
            continue
        groups.setdefault(request.settings, []).append(finished.record)
        if not as_json:
            echo(f"{label}: {headline(finished.record)}; {finished.folder}")
    if as_json:
        records = [record.model_dump(mode="json") for records in groups.values() for record in records]
        click.echo(json.dumps(records, indent=1))
    else:
        print_summary(groups, len({request.settings for request in requests}) > 1, command)
    if failures:
        sys.exit(1)
