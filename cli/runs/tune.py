"""`tipl-bench tune`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import complete_predictors
from ..groups import as_options, examples
from ..options import budget_option, build_limits, memory_option, protocol_option, timeout_option
from ..output import Bars, echo, quiet_option
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
    from ...benchmark.request import RunRequest
    from ...benchmark.tuning.search import Configuration

SHOWN = 10
"""Configurations in the table."""


@click.command(
    short_help="Search a predictor's options on validation trials.",
    epilog=examples(
        "tune linear --env Hopper-v4 --search points=2..20",
        "tune mlp --env Hopper-v4 --search learning_rate=1e-4..1e-2:log",
    ),
)
@click.argument("model", metavar="MODEL", shell_complete=complete_predictors)
@dataset_options
@budget_option
@click.option(
    "--search",
    "searches",
    multiple=True,
    metavar="NAME=RANGE",
    help="An option to search: NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=a,b,c; repeatable.",
)
@click.option("--trials", type=int, default=20, show_default=True, metavar="N", help="Configurations to try in all.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the search and of the predictor.",
)
@protocol_option
@device_option
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="An option that stays as it is; repeatable."
)
@fit_on_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder. [default: runs/<dataset>/<model>-tune-...]")
@collect_option
@timeout_option
@memory_option
@quiet_option
def tune(
    model: str,
    environment: str | None,
    dataset_name: str | None,
    budget: str,
    searches: tuple[str, ...],
    trials: int,
    seed: int,
    version: int | None,
    device: str,
    settings: tuple[str, ...],
    fit_on: str | None,
    out: Path | None,
    collect: bool,
    timeout: float | None,
    memory: float | None,
) -> None:
    """Search a predictor's options on the validation trials, and name the best.

    Each configuration is a run as `run --on validation --no-returns` makes it. What optuna suggests follows from the
    skill of those before; a space of no more than --trials configurations is run whole. Repeating the command resumes
    an interrupted search, and goes on with more --trials. The folder keeps a table of all that was tried,
    configurations.csv. Needs optuna: pip install 'tipl-bench[tune]'.
    """
    from ...benchmark.protocol import CURRENT, protocol
    from ...benchmark.request import RunRequest, resolved_model
    from ...benchmark.tuning.search import default_search_folder
    from ...benchmark.tuning.space import parse_space
    from ...benchmark.tuning.study import import_optuna

    import_optuna()  # this and the space are met before a dataset is fetched
    parse_space(searches)
    limits, chosen = build_limits(timeout, memory), protocol(CURRENT if version is None else version)
    dataset = open_dataset(dataset_name, environment, collect, chosen)
    fit_set = load(fit_on, collect, chosen) if fit_on else None
    with resolved_model(model, budget) as (name, _):
        request = RunRequest(
            name,
            dataset,
            budget,
            settings,
            seed,
            device,
            chosen,
            limits,
            split="validation",
            returns=False,
            fit_on=fit_set,
        )
        _search(request, searches, trials, out or default_search_folder(request))


def _search(request: RunRequest, searches: tuple[str, ...], trials: int, folder: Path) -> None:
    """Search, and print a line a configuration, the best, and the command that runs it on the test trials."""
    from ...benchmark.tuning.search import TABLE_NAME, search

    with contextlib.ExitStack() as stack:
        drawn: list[Bars] = []  # those of the run that is being made

        def progress(name: str, done: int, total: int, status: str) -> None:
            if not drawn:
                drawn.append(stack.enter_context(Bars()))
            drawn[0].stage(name, done, total, status)

        def report(one: Configuration, total: int) -> None:
            stack.close()
            drawn.clear()
            outcome = f"failed: {as_options(one.failure)}" if one.record is None else headline(one.record)
            echo(f"[{one.number}/{total}] {' '.join(one.settings)}: {outcome}", err=one.record is None)

        found = search(request, searches, trials, folder, progress, report)
    ranked = sorted((one for one in found if one.record is not None), key=lambda one: -one.skill)
    best = {one.settings: [one.record] for one in ranked if one.record is not None}
    if not best:
        raise click.ClickException(f"Every configuration failed ({len(found)} tried); {folder / TABLE_NAME} says why.")
    print_summary(dict(list(best.items())[:SHOWN]), True, test_command(click.get_current_context()))
    failed = sum(one.record is None for one in found)
    echo(f"\ntried: {len(found)}{f', of which {failed} failed' if failed else ''}; {folder / TABLE_NAME}")
