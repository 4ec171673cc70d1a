"""`tipl-bench tune`."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from tipl_bench.cli import main


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """A terminal wide enough that no line wraps."""
    monkeypatch.setenv("COLUMNS", "1000")


def tune(dataset, *arguments: object) -> Result:
    """The result of `tipl-bench tune linear` on a dataset."""
    command = ["tune", "linear", "--dataset", str(dataset.folder), "--device", "cpu", "-q", *map(str, arguments)]
    return CliRunner().invoke(main, command)


def refused(result: Result) -> str:
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def test_when_a_space_is_small_then_all_of_it_is_run_once_and_the_best_is_named(smooth, store):
    arguments = ("--set", "damping=0.5", "--out", "out", "--search")
    result = tune(smooth, *arguments, "points=3,500")
    assert result.exit_code == 0, result.output
    assert "[1/2] damping=0.5 points=3: skill " in result.stdout
    assert "[2/2] damping=0.5 points=500: failed: linear: " in result.stderr
    assert (
        f"  tipl-bench run --model linear --dataset {smooth.folder} --device cpu --set damping=0.5 --set points=3\n"
        in result.stdout
    )
    tried = pd.read_csv("out/configurations.csv")
    assert [*tried["points"]] == [3, 500]
    assert [*tried["skill"].notna()] == [True, False]
    assert tried["failure"][1].startswith("linear: ")
    assert len((store / "validation-runs.jsonl").read_text().splitlines()) == 1
    assert {record.parent.name for record in Path("out").glob("*/record.json")} == {tried["folder"][0]}
    before = (Path("out") / tried["folder"][0] / "record.json").stat().st_mtime_ns
    assert tune(smooth, *arguments, "points=3,500").stdout == result.stdout
    assert (Path("out") / tried["folder"][0] / "record.json").stat().st_mtime_ns == before
    message = refused(tune(smooth, *arguments, "points=3,4"))
    assert "out holds a search of another space: points=3,500 there, points=3,4 here" in message
    with FileLock("out/search.lock"):
        assert "Another process is searching in out" in refused(tune(smooth, *arguments, "points=3,500"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Nothing to search: name an option and its values (--search)"),
        (("--search", "points=9..2"), "is not above the lower one"),
        (("--search", "points=2..9", "--trials", 0), "Invalid number of configurations 0: use a whole number from 1"),
        (("--search", "points=2..9", "--set", "points=3"), "Option 'points' is set and searched"),
        (("--search", "pionts=2..9"), "Unknown option of linear 'pionts'. Did you mean 'points'?"),
        (("--search", "points=2.5..9"), "Option 'points' takes whole numbers"),
    ],
)
def test_when_a_search_cannot_be_then_nothing_runs(arguments, message, smooth):
    assert message in refused(tune(smooth, *arguments))
    assert not Path("runs").exists()


def test_when_optuna_is_not_installed_then_one_sentence_names_the_command(smooth, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    message = refused(tune(smooth, "--search", "points=2..9"))
    assert message.endswith("needs the package optuna, which is not installed: pip install 'tipl-bench[tune]'")


def test_when_every_configuration_fails_then_the_exit_status_says_so_and_the_table_why(smooth):
    message = refused(tune(smooth, "--search", "points=500,600"))
    assert "Every configuration failed (2 tried)" in message
    assert "runs/toy-pendulum--synthetic-v1/linear-tune-quick-seed0-p2/configurations.csv says why" in message
