"""The command line: thin commands; everything heavy is imported inside them, so that `--help` is quick."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__

if TYPE_CHECKING:
    from rich.console import Console


class Commands(click.Group):
    """A group that prints this package's own errors without a traceback and suggests the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a subcommand, or name the nearest and all valid ones."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from .registry.errors import UnknownNameError

            raise click.UsageError(str(UnknownNameError("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, turning expected failures into one message and an exit code of 1."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        from .registry.errors import TiplBenchError

        try:
            return super().invoke(ctx)
        except TiplBenchError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}. Finished work is kept.") from error
        except KeyboardInterrupt:
            click.echo("Interrupted. Finished work is kept; the same command goes on from there.", err=True)
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tipl-bench")
@click.option("-v", "--verbose", is_flag=True, help="Show the log.")
def main(verbose: bool = False) -> None:
    """Forecast the weights of deep-RL policies as they train, and be scored for it."""
    import logging

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


@main.command()
@click.option("--model", required=True, help="Predictor; `tipl-bench models` lists them.")
@click.option("--env", "environment", help="Environment id; its default dataset is used.")
@click.option("--dataset", "dataset_name", help="Dataset name or folder, instead of the environment's default.")
@click.option("--budget", default="quick", show_default=True, help="Training budget: quick, standard or paper.")
@click.option("--seed", default=0, show_default=True, help="The predictor's seed.")
@click.option("--device", default="auto", show_default=True, help="Where to train and forecast: auto, cpu or cuda.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="An option of the predictor; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/<dataset>/<model>-...]")
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
    as_json: bool,
) -> None:
    """Train, forecast and score a predictor; write the run folder and print a table.

    An interrupted run goes on when the command is repeated; a finished one is not repeated.
    """
    import pandas as pd
    from rich.console import Console
    from rich.text import Text

    from .benchmark import figure, table
    from .benchmark.run import WINDOWS_NAME, RunRequest, default_folder
    from .benchmark.run import run as run_benchmark
    from .registry.catalog import default_dataset, open_dataset

    if not environment and not dataset_name:
        raise click.UsageError("Give --env ENVIRONMENT or --dataset NAME.")
    dataset = open_dataset(dataset_name or default_dataset(str(environment)))
    if environment and dataset.environment != environment:
        raise click.UsageError(f"Dataset {dataset.name} is of {dataset.environment}, not {environment}.")
    request = RunRequest(model, dataset, budget, settings, seed, device)
    folder = out or default_folder(request)
    with _progress() as progress:
        record, repeated = run_benchmark(request, folder, progress.stage)
    if not (folder / "figure.svg").exists() or not (folder / "figure.png").exists():
        figure.draw(record, pd.read_parquet(folder / WINDOWS_NAME), folder)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    console = Console()
    console.print(table.render(record))
    console.print(Text(f"{'already finished' if repeated else 'written'}: {folder}", "dim"), soft_wrap=True)


@main.group(cls=Commands)
def datasets() -> None:
    """List, show, verify and collect trajectory datasets."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_datasets(as_json: bool) -> None:
    """List the catalog and the local store."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from .registry.catalog import catalog, local_names, open_dataset
    from .registry.errors import DatasetError

    rows = []
    for name in sorted({*catalog(), *local_names()}):
        entry = catalog().get(name)
        try:
            dataset = open_dataset(name)
            where = "bundled" if entry and entry.bundled else "local"
            facts: dict[str, Any] = {
                "environment": dataset.environment,
                "trials": len(dataset),
                "checkpoints": dataset.manifest.checkpoints,
                "parameters": dataset.layout.parameter_count,
                "bytes": sum(file.size for file in dataset.manifest.files),
            }
        except DatasetError as error:
            where = "broken" if name in local_names() else "not here"
            facts = {"environment": entry.environment if entry else "?"}
            if where == "broken":
                click.echo(f"warning: {error}", err=True)
        summary = entry.summary if entry else "collected here"
        rows.append(
            {"name": name, **facts, "default": bool(entry and entry.default), "where": where, "summary": summary}
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False, expand=True)
    table.add_column("dataset", ratio=1)
    for title in ("trials", "T", "P", "MB"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.1f}" if "bytes" in row else "-"
        counts = [f"{row[key]:,}" if key in row else "-" for key in ("trials", "checkpoints", "parameters")]
        default = f" (default of {row['environment']})" if row["default"] else ""
        table.add_row(f"{row['name']}\n[dim]{row['summary']}{default}[/dim]", *counts, size, row["where"])
    _console().print(table)


@datasets.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The manifest and digest as JSON.")
def show_dataset(name: str, as_json: bool) -> None:
    """Show what a dataset says of itself."""
    from rich.text import Text

    from .registry.catalog import open_dataset

    dataset = open_dataset(name)
    manifest = dataset.manifest
    if as_json:
        click.echo(json.dumps({"digest": dataset.digest, "manifest": manifest.model_dump(mode="json")}, indent=1))
        return
    split = manifest.split
    config = manifest.collection
    lines = {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "folder": str(dataset.folder),
        "environment": dataset.environment,
        "licence": manifest.licence,
        "trials": f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test",
        "checkpoints": f"{manifest.checkpoints} a trial, every {config.checkpoint_every_epochs} of "
        f"{config.hyperparameters.epochs} epochs",
        "policy": f"{' x '.join(map(str, dataset.layout.sizes))}, {manifest.activation}, P = "
        f"{dataset.layout.parameter_count:,}",
        "algorithm": f"{config.algorithm}, {config.environment_steps:,} environment steps, seeds "
        f"{manifest.trial_seeds[0]} to {manifest.trial_seeds[-1]}",
        "hyperparameters": ", ".join(f"{k}={v}" for k, v in config.hyperparameters.model_dump().items()),
        "cut from": f"{manifest.cut_from.name} ({manifest.cut_from.digest[:12]})" if manifest.cut_from else "",
        "sidecars": ", ".join(file.path for file in manifest.sidecars),
        "size": f"{sum(file.size for file in manifest.files) / 1e6:.1f} MB in {len(manifest.files)} files",
        "made with": ", ".join(f"{k} {v}" for k, v in manifest.versions.items()) + f" on {manifest.cpu}",
    }
    console = _console()
    for key, value in lines.items():
        if value:
            console.print(Text.assemble((f"{key:>16}", "bold"), f"  {value}"), soft_wrap=True)


@datasets.command("verify")
@click.argument("name")
def verify_dataset(name: str) -> None:
    """Hash every byte of a dataset and compare with its manifest and the catalog."""
    from .registry.catalog import open_dataset

    dataset = open_dataset(name)
    total = sum(file.size for file in dataset.manifest.files)
    done = 0
    with _progress() as progress:

        def report(path: str, size: int) -> None:
            nonlocal done
            done += size
            progress.stage("verify", done, total, path)

        dataset.verify(report)
    click.echo(
        f"{dataset.name}: {len(dataset.manifest.files)} files, {total:,} bytes, all as digest {dataset.digest} says."
    )


@datasets.command("collect")
@click.argument("name")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of a collection of your own.")
@click.option("--threads", type=click.IntRange(1), help="Physics threads. [default: all usable cores]")
def collect_dataset(name: str, config: Path | None, threads: int | None) -> None:
    """Collect a dataset by training its policies, or continue an interrupted collection.

    NAME is that of a shipped collection, or with --config a new name such as my-env/ppo-v1.
    """
    from .benchmark.collection import collect_named

    with _progress() as progress:
        dataset = collect_named(name, config, threads, progress.stage)
    click.echo(f"{dataset.name}: {len(dataset)} trials in {dataset.folder}, digest {dataset.digest}")


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def models(name: str | None, as_json: bool) -> None:
    """List the predictors, or show one with its options and budgets."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from .baselines import predictor_names, predictor_type
    from .baselines.options import describe_options
    from .registry.errors import PredictorError

    kinds = []
    for known in [name] if name else predictor_names():
        try:
            kinds.append(predictor_type(known))
        except PredictorError as error:
            if name:
                raise
            click.echo(f"warning: {error}", err=True)
    if as_json:
        facts = [
            {
                "name": kind.name,
                "version": kind.version,
                "summary": kind.summary,
                "consumes": kind.consumes,
                "options": {k: {"type": t, "default": d} for k, (t, d) in describe_options(kind).items()},
                "budgets": {k: dict(v) for k, v in kind.budgets.items()},
            }
            for kind in kinds
        ]
        click.echo(json.dumps(facts, indent=1))
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False)
    if name is None:
        for title in ("predictor", "version", "consumes", "what it is"):
            table.add_column(title)
        for kind in kinds:
            table.add_row(kind.name, str(kind.version), kind.consumes, kind.summary)
    else:
        kind = kinds[0]
        click.echo(f"{kind.name} v{kind.version} (consumes {kind.consumes}): {kind.summary}\n")
        budgets = {budget: values for budget, values in kind.budgets.items() if values}
        for title in ("option", "type", "default", *budgets):
            table.add_column(title)
        for option, (kind_name, default) in describe_options(kind).items():
            table.add_row(option, kind_name, str(default), *(str(v.get(option, "")) for v in budgets.values()))
    _console().print(table)


@main.group(cls=Commands)
def leaderboard() -> None:
    """Build the leaderboard from records."""


@leaderboard.command("add")
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--records", type=click.Path(path_type=Path), help="Records folder. [default: the package's own]")
def add_record(run_folder: Path, records: Path | None) -> None:
    """Put a finished run's record among the board's records."""
    from .leaderboard.records import add

    click.echo(f"added {add(run_folder, records)}")


@leaderboard.command("build")
@click.option("--records", type=click.Path(path_type=Path), help="Records folder. [default: the package's own]")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), show_default="here", help="Where to write.")
def build_board(records: Path | None, out: Path) -> None:
    """Render LEADERBOARD.md and index.html from the records."""
    from .leaderboard.build import build

    for path in build(records, out):
        click.echo(f"wrote {path}")


def _console() -> Console:
    from rich.console import Console

    return Console()


class _progress:  # noqa: N801  # reads as a context manager
    """A progress bar per stage, on standard error, gone when done; silent where that is no terminal."""

    def __enter__(self) -> _progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:>10}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[word]}", style="dim"),
        )
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self.tasks: dict[str, TaskID] = {}
        self.bars.start()
        return self

    def stage(self, name: str, done: int, total: int, word: str) -> None:
        """Show a stage's progress."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, word=word)
        self.bars.update(self.tasks[name], completed=done, total=total, word=word)

    def __exit__(self, *exception: object) -> None:
        self.bars.stop()
