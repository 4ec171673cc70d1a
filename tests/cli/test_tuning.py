"""`tipl-bench run` on validation: seeds, sweeps, and the summary that ends them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.board_records import record
from rich.console import Console
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.table import render_sweep
from tipl_bench.cli import main

QUICK = ("--on", "validation", "--no-returns", "--device", "cpu")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """A terminal wide enough that no line wraps."""
    monkeypatch.setenv("COLUMNS", "1000")


def run(dataset, *arguments: object, model: str = "linear") -> Result:
    """The result of `tipl-bench run` on a dataset."""
    return CliRunner().invoke(main, ["run", "--model", model, "--dataset", str(dataset.folder), *map(str, arguments)])


def refused(result: Result) -> str:
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def test_when_several_values_are_set_on_validation_then_a_ranking_ends_with_the_command_for_the_best(smooth):
    result = run(smooth, *QUICK, "--set", "points=2,3", "--set", "damping=0.5,1")
    assert result.exit_code == 0, result.output
    folders = sorted(Path("runs/toy-pendulum--synthetic-v1").iterdir())
    assert {folder.name for folder in folders} == {
        f"linear{damping}{points}-quick-seed0-p2-validation"
        for damping in ("", "-damping-0.5")
        for points in ("", "-points-3")
    }
    skills = {}
    for folder in folders:
        record = read_record(folder / "record.json")
        found = [one["skill"].value for one in record.of_phase("learning") or record.of_phase("all")]
        options = record.key.method.options
        skills[f"points={options['points']} damping={options['damping']}"] = sum(found) / len(found)
    ranked = sorted(skills, key=skills.get, reverse=True)
    lines = [line.strip() for line in result.stdout.splitlines()]
    rows = [line for line in lines if line.startswith("points=")]
    assert [" ".join(row.split()[:2]) for row in rows] == ranked
    assert sum(line.startswith("[") and " skill " in line for line in lines) == 4
    command = shlex.split(lines[-1])
    assert command[:2] == ["tipl-bench", "run"]
    best = [setting for setting in ranked[0].split() if setting not in ("points=2", "damping=1.0")]  # the defaults
    assert command[command.index("--set") :] == [word for setting in best for word in ("--set", setting)]
    assert "--on" not in command
    assert command[command.index("--dataset") + 1] == str(smooth.folder)


def test_when_a_sweep_holds_the_options_as_they_are_then_that_run_is_not_made_twice(smooth):
    assert run(smooth, *QUICK).exit_code == 0
    result = run(smooth, *QUICK, "--set", "points=2,3")
    assert result.exit_code == 0, result.output
    folders = sorted(path.name for path in Path("runs/toy-pendulum--synthetic-v1").iterdir())
    assert folders == ["linear-points-3-quick-seed0-p2-validation", "linear-quick-seed0-p2-validation"]
    rows = {line.split()[0] for line in result.stdout.splitlines() if line.strip().startswith("points=")}
    assert rows == {"points=2", "points=3"}


def test_when_several_values_are_set_on_test_then_one_sentence_names_the_way_out(smooth):
    for settings in (("--set", "points=2,3"), ("--set", "points=2", "--set", "points=3")):
        message = refused(run(smooth, *settings))
        assert "Several values of an option are a sweep" in message
        assert "needs the validation trials (--on validation)" in message
        assert not Path("runs").exists()


def test_when_an_option_is_free_text_then_its_commas_are_its_own(third_party_predictors, smooth):
    result = run(smooth, *QUICK, "--set", "label=a,b", "--json", model="label")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["key"]["method"]["options"]["label"] == "a,b"
    result = run(smooth, *QUICK, "--set", "label=a,b", "--set", "label=c", "--json", model="label")
    assert [record["key"]["method"]["options"]["label"] for record in json.loads(result.stdout)] == ["a,b", "c"]


def test_when_several_seeds_are_given_then_each_has_a_line_and_all_a_mean_and_a_spread(smooth, tmp_path):
    result = run(smooth, "--limit", 4, "--no-returns", "--seeds", "0-2", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"linear-quick-seed{s}-p2-limit4" for s in range(3)
    ]
    first = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert [word for word in first if word in ("0", "1", "2", "mean", "spread")] == ["0", "1", "2", "mean", "spread"]
    assert "limited to 4 windows" in result.stdout
    spread = next(line.split()[1:] for line in result.stdout.splitlines() if line.split()[:1] == ["spread"])
    assert {float(value) for value in spread} == {0.0}  # it draws nothing


@pytest.mark.parametrize("seeds", ["5-2", "", "-1", "1.5", "a", "0,,1", "0-99999999", "9" * 30, "0 - 2"])
def test_when_seeds_are_no_list_then_one_sentence_says_what_one_is(seeds, smooth):
    message = refused(run(smooth, "--seeds", seeds))
    assert "is not a list of seeds: use whole numbers" in message
    assert "such as 0-2 or 0,1,2" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "-1"), "-1 is not in the range x>=0"),
        (("--seed", "1.0"), "'1.0' is not a whole number"),
        (("--limit", "0"), "0 is not in the range x>=1"),
        (("--on", "train"), "'train' is not one of 'test', 'validation'"),
        (
            ("--no-returns",),
            "can be left out only on the validation trials (--on validation) or with a limit of windows (--limit).",
        ),
        (("--seed", "0", "--seeds", "0-1"), "Give --seed or --seeds, not both."),
        ((*QUICK, "--set", "points=2,,3"), "'points=2,,3' lists an empty value."),
        ((*QUICK, "--set", f"points={','.join(map(str, range(2000)))}"), "a sweep has at most 1,000"),
    ],
)
def test_when_a_number_or_choice_is_invalid_then_nothing_runs(arguments, message, smooth):
    assert message in refused(run(smooth, *arguments))
    assert not Path("runs").exists()


def test_when_one_run_of_several_fails_then_the_others_are_ranked_and_the_exit_status_says_so(smooth):
    result = run(smooth, *QUICK, "--set", "points=2,3,500")
    assert result.exit_code == 1
    assert "points=500 seed 0: failed: linear: " in result.stderr
    rows = [line.strip() for line in result.stdout.splitlines() if line.strip().startswith("points=")]
    assert len(rows) == 2


def test_a_sweep_of_which_a_run_failed_says_how_many_seeds_its_means_are_of():
    console = Console(width=100)
    sweep = {"points=2": [record(seed=seed) for seed in range(3)], "points=3": [record(seed=seed) for seed in range(2)]}
    with console.capture() as shown:
        console.print(render_sweep(sweep))
    assert "means of 2 to 3 seeds" in shown.get()
