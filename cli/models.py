"""`tipl-bench models`: list, show, new, check."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import click

from .completion import complete_budgets, complete_predictors
from .groups import Commands, as_options, examples
from .limits import build_limits, memory_option
from .output import Bars, console, quiet_option


class ModelCommands(Commands):
    """`models NAME` is short for `models show NAME`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Treat a single argument that is not a command as a predictor's name."""
        names = [argument for argument in args if not argument.startswith("-")]
        if len(names) == 1 and args[0] == names[0] and self.get_command(ctx, args[0]) is None:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=ModelCommands, invoke_without_command=True)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List predictors; show, check or create one."""
    if ctx.invoked_subcommand is not None:
        return
    from rich.table import Table

    from ..baselines import predictor_names, predictor_type
    from ..utils.errors import PredictorError
    from ..utils.tables import RULE
    from ..utils.text import one_line

    kinds = []
    for known in predictor_names():
        try:
            kinds.append(predictor_type(known))
        except PredictorError as error:
            click.echo(f"warning: {one_line(error)}", err=True)
    if as_json:
        click.echo(json.dumps([_description(kind) for kind in kinds], indent=1))
        return
    table = Table(box=RULE, show_edge=False, header_style="bold", pad_edge=False)
    for title in ("predictor", "version"):
        table.add_column(title, no_wrap=True)
    for title in ("consumes", "what it is"):
        table.add_column(title, overflow="fold")
    for kind in kinds:
        table.add_row(kind.name, str(kind.version), kind.consumes, _cell(kind.summary))
    console().print(table)


def _cell(text: object) -> Any:
    """Untrusted text as a table cell: escaped, without markup."""
    from rich.text import Text

    from ..utils.text import one_line

    return Text(one_line(text))


def _description(kind: Any) -> dict[str, Any]:
    from ..baselines.options import describe_options

    return {
        "name": kind.name,
        "version": kind.version,
        "summary": kind.summary,
        "consumes": kind.consumes,
        "options": {
            name: {"type": option.type, "default": option.default, "description": option.description}
            for name, option in describe_options(kind).items()
        },
        "budgets": {k: dict(v) for k, v in kind.budgets.items()},
    }


@models.command("show")
@click.argument("name", shell_complete=complete_predictors)
@json_option
def show_model(name: str, as_json: bool) -> None:
    """Show a predictor's options and budgets."""
    from ..baselines import predictor_type
    from ..baselines.options import describe_options
    from ..utils.tables import ColumnGroup, FoldedTable
    from ..utils.text import one_line

    kind = predictor_type(name)
    if as_json:
        click.echo(json.dumps([_description(kind)], indent=1))
        return
    click.echo(f"{kind.name} v{kind.version} (consumes {kind.consumes}): {one_line(kind.summary)}\n")
    budgets = {budget: values for budget, values in kind.budgets.items() if values}
    groups = [ColumnGroup(("type", "default")), *(ColumnGroup((one_line(budget),), "budget") for budget in budgets)]
    table = FoldedTable("option", groups, justify="left")
    for option, info in describe_options(kind).items():
        chosen = [[_cell(values.get(option, ""))] for values in budgets.values()]
        table.add_row(_cell(option), [[_cell(info.type), _cell(info.default)], *chosen])
    console().print(table)


@models.command("new")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write. [default: NAME]")
def new_model(name: str, out: Path | None) -> None:
    """Create an installable package with a predictor and its tests."""
    from ..baselines.scaffold import write_package

    folder = out or Path(name)
    for path in write_package(name, folder):
        click.echo(f"wrote {path}")
    click.echo(f"\nNext:\n  pip install -e {folder}\n  tipl-bench models check {name}")


@models.command(
    "check",
    short_help="Check that a predictor keeps its contract.",
    epilog=examples("models check linear", "models check my-forecaster --set points=3"),
)
@click.argument("name", shell_complete=complete_predictors)
@quiet_option
@click.option(
    "--budget",
    default="smoke",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_budgets,
    help="Training budget; smoke takes seconds.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set an option of the predictor; repeatable."
)
@click.option("--timeout", default=30.0, show_default=True, metavar="SECONDS", help="Time limit of the whole check.")
@memory_option
@json_option
def check_model(
    name: str, budget: str, settings: tuple[str, ...], timeout: float, memory: float | None, as_json: bool
) -> None:
    """Check a predictor's contract offline on synthetic trajectories, and print a report.

    Checks shapes, finite numbers, horizons, batches, determinism, saving, isolation, time and memory. Exits with 1 if a
    check fails.
    """
    from ..benchmark.conformance.check import CHECKS, check_predictor

    limits, counter = build_limits(timeout, memory), itertools.count()
    with Bars() as bars:
        report = check_predictor(
            name,
            budget=budget,
            settings=settings,
            limits=limits,
            progress=lambda name: bars.stage("check", next(counter), CHECKS, name),
        )
    if as_json:
        click.echo(json.dumps({"passed": report.passed, **dataclasses.asdict(report)}, indent=1))
    else:
        click.echo(as_options(str(report)))
    if not report.passed:
        sys.exit(1)
