"""The documents' commands: each one parses, and those that take no minutes run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tipl_bench.cli import main
from tipl_bench.registry.collection.presets import preset

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    {
        match.group(1).split("#")[0].strip()
        for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for match in re.finditer(r"(?m)^(?:.*\.venv/bin/)?tipl-bench (.+)$", document.read_text(encoding="utf-8"))
    }
)
QUICK = [command for command in COMMANDS if command.split()[0] == "models" or command.startswith("datasets")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_parses(command):
    words = shlex.split(command)
    found, context = main, click.Context(main)
    while isinstance(found, click.Group):
        name, found, words = found.resolve_command(context, words)
        context = click.Context(found, parent=context, info_name=name)
    found.make_context(name, words)  # raises on an unknown option or a missing argument


@pytest.mark.parametrize("command", [c for c in QUICK if "collect" not in c])
def test_quick_commands_in_the_documents_run(command):
    result = CliRunner().invoke(main, shlex.split(command))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [c for c in QUICK if "collect" in c])
def test_collections_in_the_documents_are_shipped(command):
    assert preset(shlex.split(command)[2])


def test_the_readme_has_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(COMMANDS) > 8
    assert "run --model tipl --env InvertedPendulum-v4" in COMMANDS
    assert "<!-- tests -->\n```bash\npython3 -m venv" in text
