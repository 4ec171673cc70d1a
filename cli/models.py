"""`tipl-bench models`: list, show, new, check."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..utils.text import one_line
from .completion import complete_budgets, complete_predictors
from .groups import ListingCommands, as_options, examples
from .options import build_limits, json_option, memory_option
from .output import Bars, console, echo, print_descriptions, quiet_option

if TYPE_CHECKING:
    from ..baselines.plugins.discovery import Plugin


@click.group(cls=ListingCommands, invoke_without_command=True, short_help="List, show, check, create predictors.")
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List predictors; show, check or create one."""
    if ctx.invoked_subcommand is not None:
        return
    from rich.table import Table

    from .._version import __version__
    from ..baselines import IN_TREE, predictor_type
    from ..baselines.plugins.discovery import plugins
    from ..utils.tables import RULE

    kinds, found = [predictor_type(name) for name in IN_TREE], plugins(IN_TREE)
    for plugin in found:
        if plugin.problem:
            echo(f"warning: {one_line(plugin.name)} of {plugin.distribution}: {plugin.problem}.", err=True)
    usable = [plugin for plugin in found if not plugin.problem]
    if as_json:
        click.echo(json.dumps([*map(_description, kinds), *map(_announcement, usable)], indent=1))
        return
    table = Table(box=RULE, show_edge=False, header_style="bold", pad_edge=False)
    table.add_column("predictor", no_wrap=True)
    for title in ("package", "what it is"):
        table.add_column(title, overflow="fold")
    for kind in kinds:
        table.add_row(kind.name, f"tipl-bench {__version__}", _cell(kind.summary))
    for plugin in usable:
        package = f"{plugin.distribution} {plugin.version}"
        table.add_row(_cell(plugin.name), _cell(package), _cell(plugin.header("Summary") or ""))
    console().print(table)
    echo("\nOptions and budgets: tipl-bench models NAME")


def _announcement(plugin: Plugin) -> dict[str, Any]:
    """What an installed package's metadata say of its predictor, which is not imported."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "distribution_version": plugin.version,
        "summary": plugin.header("Summary"),
    }


def _cell(text: object) -> Any:
    """Untrusted text as a table cell: escaped, without markup."""
    from rich.text import Text

    return Text(one_line(text))


def _description(kind: Any) -> dict[str, Any]:
    from ..baselines.options import describe_options

    return {
        "name": kind.name,
        "version": kind.version,
        "summary": kind.summary,
        "consumes": kind.consumes,
        "options": {
            name: {
                "type": option.type,
                "default": option.default,
                "required": option.required,
                "description": option.description,
            }
            for name, option in describe_options(kind).items()
        },
        "budgets": {k: dict(v) for k, v in kind.budgets.items()},
    }


@models.command("show", epilog=examples("models show tipl"))
@click.argument("name", shell_complete=complete_predictors)
@json_option
def show_model(name: str, as_json: bool) -> None:
    """Show a predictor's options and budgets."""
    from ..baselines import predictor_type
    from ..baselines.options import describe_options, option_text
    from ..utils.tables import ColumnGroup, FoldedTable

    with contextlib.redirect_stdout(sys.stderr):  # an installed package may print when it is imported
        kind = predictor_type(name)
    if as_json:
        click.echo(json.dumps([_description(kind)], indent=1))
        return
    echo(f"{kind.name} v{kind.version} (consumes {kind.consumes}): {one_line(kind.summary)}\n")
    options = describe_options(kind)
    if not options:
        echo("It has no options.")
        return
    groups = [ColumnGroup(("type", "default")), *(ColumnGroup((one_line(name),), "budget") for name in kind.budgets)]
    table = FoldedTable("option", groups, justify="left")
    for option, info in options.items():
        default = "required" if info.required else option_text(info.default)
        chosen = [[_cell(option_text(values[option]) if option in values else "")] for values in kind.budgets.values()]
        table.add_row(_cell(option), [[_cell(info.type), _cell(default)], *chosen])
    console().print(table)
    print_descriptions((one_line(option), one_line(info.description)) for option, info in options.items())
    if kind.budgets:
        echo("\nA budget sets what stands under it, and leaves the rest at the default; --set sets on top.")


@models.command("new", epilog=examples("models new my-forecaster"), short_help="Create a package with a predictor.")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write. [default: NAME]")
@click.option("--url", help="Web address of its code; records and the leaderboard show it.")
@click.option("--paper", help="Web address of its paper.")
@click.option("--consumes", default="weights", show_default=True, metavar="CLASS", help="What its forecasts rest on.")
def new_model(name: str, out: Path | None, url: str | None, paper: str | None, consumes: str) -> None:
    """Create an installable package with a predictor and its tests."""
    from ..baselines.plugins.scaffold import write_package

    folder = out or Path(name)
    if sys.stdin.isatty():
        asked = "Web address of its {}, shown with its results (empty: none yet)"
        url = url if url is not None else click.prompt(asked.format("code"), "", show_default=False)
        paper = paper if paper is not None else click.prompt(asked.format("paper"), "", show_default=False)
    for path in write_package(name, folder, url=url or None, paper=paper or None, consumes=consumes):
        echo(f"wrote {path}")
    echo(f"\nNext:\n  pip install -e '{folder}[test]'\n  tipl-bench models check {name}")


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
        echo(as_options(str(report)), indent=6)
    if not report.passed:
        sys.exit(1)
