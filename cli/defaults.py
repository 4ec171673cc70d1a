"""Defaults of options from a person's configuration file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import click
import platformdirs

from ..utils.errors import OptionError, UnknownNameError, reason
from .output import numbers_in_words

VARIABLE = "TIPL_BENCH_CONFIG"
FILE_NAME = "config.toml"


def configuration() -> Path:
    """The file: what `TIPL_BENCH_CONFIG` names, or config.toml in the operating system's folder for settings."""
    override = os.environ.get(VARIABLE)
    return Path(override) if override else Path(platformdirs.user_config_dir("tipl-bench")) / FILE_NAME


def read_defaults(group: click.Group) -> dict[str, Any]:
    """Defaults by the names of commands and parameters, as click takes them; none without a file.

    Raises
    ------
    OptionError
        If the file is not TOML, or names a command, an option or a kind of value that there is not.
    """
    path = configuration()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.environ.get(VARIABLE):
            raise OptionError(f"{VARIABLE} names {path}: {reason(error)}.") from None
        return {}
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: cannot be read ({reason(error)}).") from None
    try:
        return _of_group(group, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{path}: not TOML ({reason(error)}).") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def defaults_taken(group: click.Context, name: str, command: click.Command, words: list[str]) -> dict[str, Any]:
    """The values that a command took from the file, by `[table] option`.

    Parameters
    ----------
    group, name
        The context of the command's group, and its name there.
    command
        The command.
    words
        What was typed behind its name.
    """
    values, table = group.lookup_default(name), [name]
    while group.parent is not None:
        table.insert(0, str(group.info_name))
        group = group.parent
    if not isinstance(values, dict) or isinstance(command, click.Group):
        return {}
    try:
        typed, _, _ = command.make_parser(click.Context(command)).parse_args([*words])
    except click.UsageError:
        return {}
    options = {parameter.name: max(parameter.opts, key=len).lstrip("-") for parameter in command.params}
    return {f"[{'.'.join(table)}] {options[name]}": value for name, value in values.items() if name not in typed}


def _of_group(group: click.Group, tables: dict[str, Any], *above: str) -> dict[str, Any]:
    found = {}
    for name, table in tables.items():
        command = group.commands.get(name)
        where = ".".join((*above, name))
        if command is None or not isinstance(table, dict):
            known = [".".join((*above, one)) for one in group.commands]
            raise OptionError(str(UnknownNameError("table", f"[{where}]", [f"[{one}]" for one in known])))
        if isinstance(command, click.Group):
            found[name] = _of_group(command, table, *above, name)
        else:
            found[name] = _of_command(command, table, where)
    return found


def _of_command(command: click.Command, table: dict[str, Any], where: str) -> dict[str, Any]:
    """Options by their long names without the hyphens; of a pair such as --returns/--no-returns the first."""
    options = {
        option.lstrip("-"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }
    found = {}
    for name, value in table.items():
        if name not in options:
            raise OptionError(str(UnknownNameError(f"option of [{where}]", name, options)))
        parameter = options[name]
        try:
            parameter.type_cast_value(click.Context(command), value)
        except (click.BadParameter, TypeError, ValueError) as error:
            why = numbers_in_words(error.message) if isinstance(error, click.ClickException) else reason(error)
            raise OptionError(f"[{where}] {name} = {value!r}: {why.rstrip('.')}.") from None
        assert parameter.name is not None
        found[parameter.name] = value
    return found
