"""`tipl-bench datasets` as it is typed: curves of a dataset that is here, and ranges of trials that are none."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import synthetic
from tipl_bench.cli import main
from tipl_bench.registry.trial import trial_tensors
from tipl_bench.utils.tensorfile import create_tensors


def typed(*arguments: object):
    return CliRunner().invoke(main, ["datasets", *map(str, arguments)], env={"COLUMNS": "1000"})


def curves(shown: str) -> list[str]:
    """The plot's lines in what was shown."""
    return [line for line in shown.splitlines() if "│" in line]


def test_when_a_dataset_is_shown_then_its_training_returns_are_drawn(smooth):
    result = typed("show", smooth.folder)
    assert result.exit_code == 0, result.output
    assert "training return, 8 of 8 trials: mean █, range ·; final 1,000.0 ± 0.0\n" in result.stdout
    lines = curves(result.stdout)
    assert len(lines) == 10
    assert lines[0].startswith("1,000 │")
    assert lines[0].endswith("█" * 30)
    assert lines[-1].split("│")[0].strip() == str(round(10 + 990 / 25))  # the first return that is known
    assert result.stdout.index("training return") > result.stdout.index("collected with")


def test_when_many_trials_are_shown_then_ten_from_first_to_last_are_drawn():
    result = typed("show", "inverted-pendulum/ppo-head-v1")
    assert result.exit_code == 0, result.output
    assert "training return, 10 of 50 trials" in result.stdout
    assert len(curves(result.stdout)) == 10


def test_when_some_trials_are_not_here_then_the_others_are_drawn(smooth, tmp_path):
    folder = shutil.copytree(smooth.folder, tmp_path / "some")
    for trial in (0, 3):
        (folder / f"trials/trial-{trial:04d}.safetensors").unlink()
    result = typed("show", folder)
    assert result.exit_code == 0, result.output
    assert "training return, 6 of 8 trials" in result.stdout


@pytest.mark.parametrize("lacking", ["returns", "trials"])
def test_when_no_return_is_known_here_then_only_the_facts_are_shown(lacking, tmp_path):
    dataset = synthetic.write_dataset(tmp_path / "set", [synthetic.random_walk(i, 31, 32) for i in range(3)])
    for trial in range(3):
        path = dataset.folder / f"trials/trial-{trial:04d}.safetensors"
        if lacking == "trials":
            path.unlink()
        else:
            create_tensors(path, trial_tensors(31, 32, 4))["episodic_return"][:] = np.nan
    result = typed("show", dataset.folder)
    assert result.exit_code == 0, result.output
    assert dataset.digest in result.stdout
    assert not curves(result.stdout)
    assert "training return" not in result.stdout


@pytest.mark.parametrize(
    "trials",
    [
        "10:5",
        "5:5",
        "a:b",
        "-1",
        "-1:3",
        "1:",
        ":3",
        "",
        "1:2:3",
        "1,,2",
        "1,2,",
        "0:5\n",
        " 1",
        "1.0",
        "0x10",
        "1" * 10,
        "0:" + "9" * 10,
    ],
    ids=repr,
)
def test_when_trials_are_no_range_then_the_form_is_shown(trials):
    result = typed("download", "half-cheetah/ppo-mini-v1", "--trials", trials)
    assert result.exit_code == 2
    assert f"{trials!r} does not name trials; write numbers, or FIRST:LAST+1, with commas between" in result.stderr


@pytest.mark.parametrize(
    ("trials", "said"), [("3,1:4", "'3,1:4' names a trial twice"), ("0:999999999", "0:999999999 is 999,999,999 trials")]
)
def test_when_trials_cannot_be_meant_then_that_is_said(trials, said):
    result = typed("download", "half-cheetah/ppo-mini-v1", "--trials", trials)
    assert result.exit_code == 2
    assert said in result.stderr


def test_when_what_is_here_is_asked_to_be_downloaded_then_it_is_said(smooth):
    result = typed("download", smooth.folder, "--trials", "0:2")
    assert result.exit_code == 1
    assert "is on this machine and is not published; there is nothing to download" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--copies", 1], "copies is 1: a variance takes 2 continuations at least"),
        (["--protocol", 9], "Unknown protocol version '9'"),
        (["--out", "nowhere/x.json"], "there is no folder"),
    ],
)
def test_a_ceiling_that_cannot_be_measured_ends_before_anything_is_computed(arguments, said, store):
    result = typed("ceiling", "inverted-pendulum/ppo-head-v1", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert not (store / "ceilings").exists()
