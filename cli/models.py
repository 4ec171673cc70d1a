"""`tipl-bench models`."""

from __future__ import annotations

import json

import click

from .output import console


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def models(name: str | None, as_json: bool) -> None:
    """List the predictors, or show one with its options and budgets."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..baselines import predictor_names, predictor_type
    from ..baselines.options import describe_options
    from ..registry.errors import PredictorError

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
    console().print(table)
