"""The help of every command, as a new user reads it at 80 columns."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tipl_bench.cli import main

PROGRESS = {
    "run",
    "forecast",
    "tune",
    "train",
    "policy record",
    "watch",
    "suite run",
    "optimizers check",
    "optimizers fit",
    "optimizers train",
    "verify",
    "reproduce",
    "submit",
    "datasets download",
    "datasets publish",
    "datasets verify",
    "datasets ceiling",
    "datasets collect",
    "datasets import",
    "leaderboard add",
    "leaderboard check",
    "models check",
    "leaderboard confirm",
    "leaderboard audit",
}
"""Commands that report progress."""


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""
    yield " ".join(path), group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL)
def test_no_line_of_help_is_cut_or_longer_than_60_columns(words):
    """`CliRunner` always prints it at 80. The settings are as always too: a command keeps its first help option."""
    context = click.Context(ALL[words], info_name=f"tipl-bench {words}", terminal_width=58, **main.context_settings)
    shown = ALL[words].get_help(context)
    lines = [line for line in shown.splitlines() if "    tipl-bench " not in line]  # commands stay whole, to be copied
    assert max(map(len, lines)) <= 60
    assert "..." not in shown.partition("\nCommands:")[2]


@pytest.mark.parametrize("words", ALL)
def test_every_command_and_every_option_is_explained_in_plain_ascii(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(main, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert result.output.isascii()
    assert max(map(len, result.output.splitlines())) <= 80
    assert "..." not in result.output.partition("\nCommands:")[2]  # no summary is cut off
    command = ALL[words]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert option.help[0].isupper(), option.opts
            assert option.help.rstrip("]").endswith((".", "]")) or "[default" in option.help, option.opts
        else:
            assert option.metavar or option.name, words


def test_every_command_that_reports_progress_can_be_quiet_and_no_other():
    quiet = {words for words, command in ALL.items() if any("--quiet" in option.opts for option in command.params)}
    assert quiet == PROGRESS


def examples() -> list[str]:
    """The command lines in the commands' help."""
    epilogs = (command.epilog or "" for command in ALL.values())
    return [line.strip() for epilog in epilogs for line in epilog.splitlines() if "tipl-bench" in line]


@pytest.mark.parametrize("line", examples())
def test_every_example_parses(line):
    program, *words = shlex.split(line)
    assert program == "tipl-bench"
    found, context, name = main, click.Context(main, **main.context_settings), ""
    while isinstance(found, click.Group) and words:
        name, found, words = found.resolve_command(context, words)
        context = click.Context(found, parent=context, info_name=name)
    found.make_context(name, words, parent=context.parent)


def test_every_command_has_an_example_of_its_own():
    without = [
        words
        for words, command in ALL.items()
        if not isinstance(command, click.Group) and f"tipl-bench {words}" not in (command.epilog or "")
    ]
    assert without == []


def test_an_example_stands_on_its_own_line():
    shown = CliRunner().invoke(main, ["compare", "--help"]).output
    assert re.search(r"(?m)^  tipl-bench compare runs/A runs/B$|^    tipl-bench compare runs/A runs/B$", shown)


def test_messages_of_the_library_name_no_option():
    root = Path(__file__).parents[2]
    rooms = ("utils", "rl", "registry", "baselines", "benchmark", "leaderboard")
    pattern = re.compile(
        r"(?<![\w`-])--(out|set|device|memory|timeout|records|to|trials|dataset|env|config|port|on|limit|no-returns)\b"
    )
    commands = re.compile(r"tipl-bench [^`]*")
    found = [
        f"{path.relative_to(root)}:{number}"
        for room in rooms
        for path in sorted((root / room).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(commands.sub("", line)) and '"--' not in line and "`--set`" not in line
    ]
    assert found == []
