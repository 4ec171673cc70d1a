"""`tipl-bench optimizers`: what acts in the training track."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import click

from ..completion import complete_optimizers_and_rules
from ..groups import ListingCommands, as_options, examples
from ..options import json_option
from ..output import Bars, console, echo, print_descriptions, quiet_option
from .fit import fit_optimizer
from .meta_training import train_optimizer


@click.group(cls=ListingCommands, invoke_without_command=True, short_help="List, check, create, train, fit optimizers.")
@json_option
@click.pass_context
def optimizers(ctx: click.Context, as_json: bool) -> None:
    """List the optimizers and outer rules of the training track; show, check or create one."""
    if ctx.invoked_subcommand is not None:
        return
    from ...baselines.optimizers import OPTIMIZERS, OUTER_RULES
    from ...baselines.plugins.discovery import OPTIMIZER_ENTRY_POINTS, plugins
    from ...utils.tables import ColumnGroup, FoldedTable
    from ...utils.text import one_line

    own = OPTIMIZERS | OUTER_RULES
    found, announced = list(map(_description, own)), plugins(own, OPTIMIZER_ENTRY_POINTS)
    for plugin in announced:  # listed by what their metadata say: no outside package is imported
        if plugin.problem:
            echo(f"warning: {one_line(plugin.name)} of {plugin.distribution}: {plugin.problem}.", err=True)
            continue
        kind = f"{plugin.distribution} {plugin.version}"
        found.append({"name": plugin.name, "kind": kind, "summary": plugin.header("Summary") or ""})
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    table = FoldedTable("name", [ColumnGroup(("kind", "what it is"))], justify="left")
    for one in found:
        table.add_row(one_line(one["name"]), [[one_line(one["kind"]), one_line(one["summary"])]])
    console().print(table)
    echo("\nSettings: tipl-bench optimizers NAME")


def _description(name: str) -> dict[str, Any]:
    from ...baselines.optimizers.lookup import rule_type, settings_of
    from ...baselines.options import Configurable, describe_options
    from ...rl import Optimizer

    kind = rule_type(name)
    found = {
        "name": name,
        "version": kind.version,
        "kind": "optimizer" if issubclass(kind, Optimizer) else "outer rule",
        "summary": kind.summary,
        "settings": {setting: dataclasses.asdict(info) for setting, info in settings_of(name).items()},
    }
    if meta := getattr(kind, "meta_options", None):
        options = describe_options(Configurable(name, meta, meta.budgets))
        found["meta_training"] = {option: dataclasses.asdict(info) for option, info in options.items()}
    return found


@optimizers.command("show", epilog=examples("optimizers show outer-step"))
@click.argument("name", shell_complete=complete_optimizers_and_rules)
@json_option
def show_optimizer(name: str, as_json: bool) -> None:
    """Show the settings of one."""
    from ...baselines.options import option_text
    from ...utils.tables import ColumnGroup, FoldedTable
    from ...utils.text import one_line

    with contextlib.redirect_stdout(sys.stderr):  # an installed package may print when it is imported
        found = _description(name)
    if as_json:
        click.echo(json.dumps([found], indent=1))
        return
    echo(f"{name} v{found['version']} ({found['kind']}): {one_line(found['summary'])}\n")
    for title, options in (("setting", found["settings"]), ("of meta-training", found.get("meta_training", {}))):
        if not options:
            continue
        if title != "setting":
            echo()
        table = FoldedTable(title, [ColumnGroup(("type", "default"))], justify="left")
        for setting, info in options.items():
            table.add_row(setting, [[info["type"], "required" if info["required"] else option_text(info["default"])]])
        console().print(table)
        print_descriptions((setting, one_line(info["description"])) for setting, info in options.items())


@optimizers.command(
    "new",
    epilog=examples("optimizers new my-optimizer", "optimizers new my-rule --outer"),
    short_help="Create a package with one.",
)
@click.argument("name")
@click.option("--outer", is_flag=True, help="An outer rule, which acts between iterations, instead of an optimizer.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write. [default: NAME]")
@click.option("--url", help="Web address of its code.")
@click.option("--paper", help="Web address of its paper.")
def new_optimizer(name: str, outer: bool, out: Path | None, url: str | None, paper: str | None) -> None:
    """Create an installable package with an optimizer and its test."""
    from ...baselines.plugins.scaffold import OPTIMIZER, OUTER_RULE, write_package

    folder = out or Path(name)
    for path in write_package(name, folder, url=url, paper=paper, kind=OUTER_RULE if outer else OPTIMIZER):
        echo(f"wrote {path}")
    echo(f"\nNext:\n  pip install -e '{folder}[test]'\n  tipl-bench optimizers check {name}")


@optimizers.command(
    "check",
    short_help="Check an optimizer's contract.",
    epilog=examples("optimizers check outer-step", "optimizers check jump --set predictor=linear"),
)
@click.argument("name", shell_complete=complete_optimizers_and_rules)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set one of its settings; repeatable.")
@quiet_option
@json_option
def check(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Check an optimizer's contract, or an outer rule's beside Adam, in PPO on a small pendulum.

    Checks finite weights, state, determinism, resuming, and that trials are independent. Exits with 1 if a check fails.
    """
    from ...benchmark.conformance.optimizer import CHECKS, check_optimizer

    counter = itertools.count()
    with Bars() as bars:
        report = check_optimizer(
            name, settings=settings, progress=lambda title: bars.stage("check", next(counter), CHECKS, title)
        )
    if as_json:
        click.echo(json.dumps({"passed": report.passed, **dataclasses.asdict(report)}, indent=1))
    else:
        echo(as_options(str(report)), indent=6)
    if not report.passed:
        sys.exit(1)


optimizers.add_command(train_optimizer)
optimizers.add_command(fit_optimizer)
