"""`tipl-bench run`."""

from __future__ import annotations

from pathlib import Path

import click

from .completion import (
    complete_budgets,
    complete_datasets,
    complete_devices,
    complete_environments,
    complete_predictors,
)
from .groups import examples
from .hub import downloading
from .limits import build_limits, memory_option, timeout_option
from .output import Bars, quiet_option


@click.command(
    short_help="Train, forecast and score a predictor.",
    epilog=examples(
        "run --model linear --env InvertedPendulum-v4",
        "run --model tipl --env Hopper-v4 --budget smoke --set heads=2",
    ),
)
@click.option(
    "--model",
    required=True,
    metavar="NAME",
    shell_complete=complete_predictors,
    help="Predictor; `tipl-bench models` lists them.",
)
@click.option(
    "--env",
    "environment",
    metavar="ID",
    shell_complete=complete_environments,
    help="Gymnasium environment, such as Hopper-v4: its default dataset is used.",
)
@click.option(
    "--dataset",
    "dataset_name",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Dataset name, hf:// address or folder, instead of --env; `tipl-bench datasets list` lists names.",
)
@click.option(
    "--budget",
    default="quick",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_budgets,
    help="Training budget: smoke, quick, standard or paper.",
)
@click.option("--seed", default=0, show_default=True, help="The predictor's seed.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_devices,
    help="Where to train and forecast: auto, cpu or cuda.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the predictor, as `tipl-bench models NAME` lists them; repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/<dataset>/<model>-...]")
@timeout_option
@memory_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of the table.")
def run(
    model: str,
    environment: str | None,
    dataset_name: str | None,
    budget: str,
    seed: int,
    device: str,
    settings: tuple[str, ...],
    out: Path | None,
    timeout: float | None,
    memory: float | None,
    as_json: bool,
) -> None:
    """Train, forecast and score a predictor; write the run folder and print a table.

    Repeating the command resumes an interrupted run; a finished run is not repeated.
    """
    from rich.console import Console
    from rich.text import Text

    from ..benchmark import table
    from ..benchmark.run import run as run_benchmark
    from ..registry.catalog import default_dataset
    from ..registry.loading import load_dataset

    limits = build_limits(timeout, memory)
    if not environment and not dataset_name:
        raise click.UsageError("Give --env ENVIRONMENT or --dataset NAME.")
    with Bars() as bars:
        dataset = load_dataset(dataset_name or default_dataset(str(environment)), progress=downloading(bars))
    if environment and dataset.environment != environment:
        raise click.UsageError(f"Dataset {dataset.name} is of {dataset.environment}, not {environment}.")
    with Bars() as progress:
        finished = run_benchmark(
            model,
            dataset,
            budget=budget,
            options=settings,
            seed=seed,
            device=device,
            out=out,
            limits=limits,
            progress=progress.stage,
        )
    if as_json:
        click.echo(finished.record.model_dump_json(indent=1))
        return
    console = Console()
    console.print(table.render(finished.record))
    ending = "already finished" if finished.repeated else "written"
    console.print(Text(f"{ending}: {finished.folder}", "dim"), soft_wrap=True)
