"""The commands in the documents: each one parses, and the fast ones run."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.hub.fixtures import hub, hub_server
from tipl_bench.cli import main
from tipl_bench.registry.collection.presets import preset

__all__ = ["hub", "hub_server"]

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    {
        match.group(1).split("#")[0].strip()
        for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for match in re.finditer(r"(?m)^(?:.*\.venv/bin/)?tipl-bench (.+)$", document.read_text(encoding="utf-8"))
    }
)
HUB = ("OWNER", "yank", "more.toml", "my-forecaster", "mine-v1")
"""Commands with these need a Hub or a file; `test_tutorial` runs the tutorial."""
QUICK = [c for c in COMMANDS if c.split()[0] in ("models", "datasets") and not any(word in c for word in HUB)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_parses(command):
    words = shlex.split(command)
    found, context = main, click.Context(main, **main.context_settings)
    while isinstance(found, click.Group) and words:
        name, found, words = found.resolve_command(context, words)
        context = click.Context(found, parent=context, info_name=name)
    found.make_context(name, words, parent=context.parent)  # raises on an unknown option or a missing argument


@pytest.mark.parametrize("command", [c for c in QUICK if "collect" not in c])
def test_quick_commands_in_the_documents_run(command):
    result = CliRunner().invoke(main, shlex.split(command))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [c for c in QUICK if "collect" in c])
def test_collections_in_the_documents_are_shipped(command):
    assert preset(shlex.split(command)[2])


def test_every_page_is_on_the_site():
    """Links are checked where it is built (`tox -e docs`)."""
    (home, *sections) = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    pages = [*home.values(), *(page for section in sections for pages in section.values() for page in pages)]
    assert sorted(pages) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_the_readme_begins_with_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(COMMANDS) > 8
    assert "run --model tipl --env InvertedPendulum-v4" in COMMANDS
    assert "<!-- tests -->\n```bash\npython3 -m venv" in text
    assert text.count("\n") <= 90, "what is no beginning belongs to docs/"


def test_the_commands_of_the_hub_page_run_in_order_against_a_stand_in(hub, store, monkeypatch):
    text = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8").replace("OWNER", "alice")
    commands = re.findall(r"(?m)^tipl-bench (.+)$", text)
    publishing = [command for command in commands if "publish" in command]
    assert len(publishing) == 2
    output = ""
    for command in [*publishing, *(c for c in commands if c not in publishing and "yank" not in c)]:
        result = CliRunner().invoke(main, shlex.split(command))
        assert result.exit_code == 0, result.output
        output = result.output if "Published" in result.output else output
    entry = output.partition("The catalog entry:\n\n")[2].replace("ppo-head-v1", "ppo-other-v1")
    store.mkdir(exist_ok=True)
    (store / "catalog.toml").write_text(entry)
    (yank,) = (command.replace("ppo-head", "ppo-other") for command in commands if "yank" in command)
    result = CliRunner().invoke(main, shlex.split(yank))
    assert result.exit_code == 0, result.output


def test_the_python_of_the_documents_runs(smooth):
    Path("leaderboard").mkdir()  # the working folder looks like the clone
    Path("leaderboard/results").symlink_to(ROOT / "leaderboard" / "results")
    Path("pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    for name in ("docs/datasets.md", "docs/python.md", "docs/hub.md", "docs/your-own-optimizer.md"):
        for block in re.findall(r"```python\n(.+?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL):
            if "tipl_bench.run(" in block:  # on a small dataset, which takes seconds
                block = block.replace("inverted-pendulum/ppo-head-v1", str(smooth.folder))
            exec(compile(block, name, "exec"), {})


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_finds_what_it_imports(script):
    runpy.run_path(str(script))
