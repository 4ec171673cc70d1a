"""What a sweep or a search prints: a line a run, a table, and the command for the test trials."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import click

from ..output import console, echo

if TYPE_CHECKING:
    from ...benchmark.record import Record


def test_command(context: click.Context) -> list[str]:
    """The command as it was typed, but of the test trials and without options of the predictor.

    What came from this command's section of config.toml is spelt: `run` has a section of its own.
    """
    words = ["tipl-bench", "run"]
    for name in (
        "model",
        "environment",
        "dataset_name",
        "budget",
        "seed",
        "seeds",
        "version",
        "device",
        "fit_on",
        "timeout",
        "memory",
    ):
        value, source = context.params.get(name), context.get_parameter_source(name)
        if value is not None and source is not click.core.ParameterSource.DEFAULT:
            option = next(option for option in context.command.params if option.name == name)
            flag = option.opts[0] if isinstance(option, click.Option) else f"--{name}"
            words += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


def headline(record: Record) -> str:
    """A run's skill at its first and last horizon."""
    from ...benchmark.metrics import HEADLINE
    from ...benchmark.table import number

    results = record.of_phase("learning") or record.of_phase("all")
    ends = dict.fromkeys((0, len(results) - 1))
    return ", ".join(f"{HEADLINE} {number(results[k][HEADLINE].value, 3)} at h = {results[k].horizon}" for k in ends)


def print_summary(groups: Mapping[tuple[str, ...], list[Record]], swept: bool, command: list[str]) -> None:
    """Print a table of seeds, or of a sweep with the command for its best.

    Parameters
    ----------
    groups
        The records of each configuration's seeds, by its settings.
    swept
        Whether there were several configurations.
    command
        The command that runs a configuration on the test trials, without its settings.
    """
    from ...benchmark import table

    if not groups:
        return
    names = {setting.partition("=")[0] for settings in groups for setting in settings}
    named = {_spell_options(records[0], names): (settings, records) for settings, records in groups.items()}
    sweep = {name: records for name, (_, records) in named.items()}
    echo()
    if not swept:
        console().print(table.render_seeds(next(iter(sweep.values()))))
        return
    console().print(table.render_sweep(sweep))
    best, _ = named[table.best_of_sweep(sweep)]
    chosen = [word for setting in best for word in ("--set", setting)]
    click.echo(f"\nThe best on the test trials:\n  {shlex.join([*command, *chosen])}")  # to be copied whole


def _spell_options(record: Record, names: Collection[str]) -> str:
    """A run's values of some options, as `--set` takes them."""
    from ...baselines.options import as_settings

    return " ".join(as_settings({name: value for name, value in record.key.method.options.items() if name in names}))
