"""Mistakes of a command line: what is wrong, where, and the way out, in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.training_records import training_run
from helpers.users import read_only, unprivileged
from tipl_bench.benchmark.record import read_record
from tipl_bench.cli import main
from tipl_bench.utils.errors import ProtocolError


def error_of(*arguments: object, status: int) -> str:
    """What a failing command prints on standard error, on one line."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return result.stderr


def test_when_the_working_folder_cannot_be_written_then_the_way_out_is_named(smooth, tmp_path, monkeypatch):
    folder = tmp_path / "others"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with read_only(folder), unprivileged():
        ran = error_of("run", "--model", "persistence", "--dataset", smooth.folder, status=1)
        indexed = error_of("datasets", "index", smooth.folder, status=1)
    run_folder = folder / "runs/toy-pendulum--synthetic-v1/persistence-quick-seed0-p2"
    assert f"{run_folder}: the run folder cannot be written (Permission denied)." in ran
    assert "Choose another folder (--out), or work in a folder that you can write." in ran
    assert f"Error: {folder}/index.parquet: " in indexed
    assert "Permission denied. Choose a folder that you can write." in indexed


def test_when_a_predictors_file_is_not_there_then_that_is_the_message(smooth):
    message = error_of("run", "--model", "foo.py:Bar", "--dataset", smooth.folder, status=1)
    assert f"Error: {Path('foo.py').absolute()}: no such file; give a predictor's class as file.py:Class." in message


def test_when_a_predictor_to_check_is_unknown_then_no_check_has_started():
    assert error_of("models", "check", "nope", status=2).startswith("Error: Unknown predictor 'nope'. Known: ")


@pytest.mark.parametrize("command", [["verify"], ["leaderboard", "add"], ["submit"], ["reproduce"]], ids=" ".join)
def test_when_a_folder_is_no_run_then_that_is_the_message(command, tmp_path):
    (tmp_path / "notes").mkdir()
    message = error_of(*command, tmp_path, status=1)
    assert f"{tmp_path}: record.json is missing; not a finished run. Give a run folder as `tipl-bench run`" in message
    assert f"{tmp_path}/nope: no such folder. Give a run folder" in error_of(*command, tmp_path / "nope", status=1)


ADDRESS = "'hf://x' is not an address on the Hub"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        *((f"datasets {name} hf://x", ADDRESS) for name in ("show", "verify", "index", "download", "diff hf://x")),
        ("run --model linear --dataset hf://x", ADDRESS),
        ("datasets collect x", "'x' is not a dataset name"),
        ("datasets publish inverted-pendulum/ppo-head-v1 --repo x", "'x' is not a repository"),
        *(
            (f"submit run --repo {repo}", f"'{repo}' is not a repository; one looks like OWNER/NAME.")
            for repo in ("x", "../../etc/x", "alice/leaderboard@main")
        ),
        ("leaderboard check hf://x", "'hf://x' is not a pull request"),
        ("datasets show inverted-pendulum/ppo-head-v1@v2", "names two versions, v1 and v2"),
        ("compare run", "Give two or more runs."),
        ("compare run run --phase later", "'later' is not one of 'learning', 'converged', 'all'"),
    ],
)
def test_a_command_line_that_cannot_be_exits_with_2_whatever_is_on_the_machine(command, message):
    assert message in error_of(*command.split(), status=2)


TRAIN = ["train", "--env", "InvertedPendulum-v4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--outer outer-step --set scale=2",
            "Unknown option of adam 'scale'. Did you mean outer-step.scale=2? Known: ",
        ),
        (
            "--outer outer-step --set outer-step.learning_rate=1",
            "Unknown option of outer-step 'learning_rate'. Did you mean learning_rate=1? Known: ",
        ),
        (
            "--optimizer adm",
            "Unknown optimizer 'adm'. Did you mean 'adam'? Known: adam, adam-rel, adam-reset, open, optim4rl, rmsprop, "
            "sgd.",
        ),
        (
            "--outer jmp",
            "Unknown outer rule 'jmp'. Did you mean 'jump'? Known: backtracking, ema, jump, lawa, outer-nesterov, "
            "outer-step, pptb.",
        ),
        (
            "--optimizer mine.py:Mine",
            "Unknown optimizer 'mine.py:Mine'. One of your own is an installed package (`tipl-bench optimizers new`), "
            "not a file. Known: adam, ",
        ),
        ("--threads all", "Invalid value for '--threads': 'all' is not a whole number."),
    ],
)
def test_a_wrong_name_of_a_training_run_is_told_what_there_is_in_its_place(words, message):
    said = " ".join(error_of(*TRAIN, *words.split(), status=2).split())
    assert message in said


def test_a_text_that_is_no_number_is_told_so_in_words():
    shown = error_of("policy", "show", "inverted-pendulum/ppo-head-v1", "zero", 1, status=2)
    assert "Invalid value for 'TRIAL': 'zero' is not a whole number." in shown
    run = ("run", "--model", "linear", "--env", "InvertedPendulum-v4")
    assert "'--memory': 'lots' is not a number." in error_of(*run, "--memory", "lots", status=2)


def test_a_class_that_a_file_does_not_have_is_told_which_it_has(smooth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from tipl_bench.baselines.linear import Linear\nclass Mine(Linear):\n    name = 'mine'\n    summary = 'It.'\n"
    )
    for place, file in (("mine.py:Foo", "mine.py"), ("mine:Foo", "mine")):
        message = f"Unknown predictor of {file} 'Foo'. Known: Mine."
        assert message in error_of("run", "--model", place, "--dataset", smooth.folder, status=2)
    assert "Unknown predictor of mine.py 'Foo'. Known: Mine." in error_of("models", "check", "mine.py:Foo", status=2)
    Path("packed").mkdir()
    Path("packed/core.py").write_text(Path("mine.py").read_text())
    Path("packed/__init__.py").write_text("from .core import Mine\n")
    Path("empty.py").write_text("import os\ndef __getattr__(name):\n    return os.nonsense\n")
    run = ("run", "--dataset", smooth.folder, "--model")
    assert "Unknown predictor of packed 'Foo'. Known: Mine." in error_of(*run, "packed:Foo", status=2)
    assert "module 'os' has no attribute 'nonsense'" in error_of(*run, "empty.py:Foo", status=1)
    Path("empty.py").write_text("")
    assert "Unknown predictor of empty.py 'Foo'. Known: (none)." in error_of(*run, "empty.py:Foo", status=2)


def test_a_run_that_was_interrupted_is_to_be_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("begun").mkdir()
    Path("begun/key.json").write_text("{}")
    sentence = "begun: record.json is missing, the run was not finished. Repeat the command that began it"
    training_run(Path("adam"), 1.0)
    for words in (("compare", "begun", "adam"), ("compare", "adam", "begun")):
        assert sentence in error_of(*words, status=1)
    shutil.copyfile("adam/record.json", "begun/copy.json")
    with pytest.raises(ProtocolError, match=r"begun/copy\.json: a record of the training track"):
        read_record(Path("begun/copy.json"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["models", "--json", "linear"], "--json lists all; of one, it goes behind the name."),
        (["optimizers", "--json", "adam"], "--json lists all; of one, it goes behind the name."),
        (["verify", "run", "--records", "elsewhere"], "--records is where --attest stores the result; give both."),
        (["suite", "report", "smoke", "--folders", "--json"], "Give one of --page, --folders and --json."),
        (["compare", "a", "b", "--figure", "drawn.pdf"], "--figure draws .svg and .png, not .pdf."),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_when_an_option_would_do_nothing_then_it_is_refused(command, message):
    assert message in " ".join(error_of(*command, status=2).split())


def test_when_runs_differ_in_an_option_alone_then_a_comparison_names_it_and_its_json_is_json(smooth):
    for damping in ("0.5", "0.25"):
        command = ["run", "--model", "linear", "--dataset", str(smooth.folder), "--set", f"damping={damping}"]
        done = CliRunner().invoke(main, [*command, "--limit", "2", "--no-returns", "-q", "--out", damping])
        assert done.exit_code == 0, done.output
    result = CliRunner().invoke(main, ["compare", "0.5", "0.25", "--json", "--figure", "drawn", "--phase", "all"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)[0]
    assert {found[name].rpartition(" ")[2] for name in ("run", "other")} == {"damping=0.5", "damping=0.25"}
    assert Path("drawn.svg").exists()


def test_when_a_folder_of_a_sweep_is_of_something_else_then_the_others_are_run(smooth):
    sweep = ["run", "--model", "linear", "--dataset", str(smooth.folder), "--on", "validation", "--no-returns", "-q"]
    sweep += ["--limit", "2", "--out", "sweep", "--set", "points=3,4,04"]
    assert CliRunner().invoke(main, sweep).exit_code == 0
    folders = sorted(Path("sweep").iterdir())
    assert [folder.name.split("-")[2] for folder in folders] == ["3", "4"], "04 is 4"
    shutil.rmtree(folders[0])
    folders[0].mkdir()
    (folders[0] / "notes").touch()
    result = CliRunner().invoke(main, sweep)
    assert result.exit_code == 1
    assert "is not empty and holds no run" in result.stderr
    assert "[2/2] points=4" in result.stdout
