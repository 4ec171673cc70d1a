"""Commands on runs of the training track: what they print, at 80 columns, and what they refuse."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers import board_records
from helpers.training_records import training_run
from tipl_bench.benchmark.training import run as running
from tipl_bench.benchmark.training import verify as verifying
from tipl_bench.benchmark.training.run import TrainingRun
from tipl_bench.cli import main
from tipl_bench.leaderboard.training import check as checking
from tipl_bench.leaderboard.training.evidence import read, state_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed, (name, speed, *method) in enumerate(
        [
            ("adam", 1.0),
            ("outer", 1.5, "adam", ["outer-step"]),
            ("rate", 1.2, "adam", (), ["learning_rate=6e-4"]),
        ]
    ):
        training_run(folder / name, speed, *method, seed=seed)
    training_run(folder / "tuning", 1.0, split="tuning")
    return folder


def invoke(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def test_compare_pairs_training_runs_with_the_first_and_draws_them(runs, tmp_path):
    shown = invoke("compare", runs / "adam", runs / "outer", runs / "rate")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    assert "against adam, paired over 50 trials" in shown.output
    assert "adam + outer-step" in shown.output
    assert "adam learning_rate=0.0006" in shown.output
    found = invoke("compare", runs / "adam", runs / "outer", "--json", "--figure", tmp_path / "v1.5")
    rows = json.loads(found.output)
    assert rows["against"] == "adam"
    assert rows["runs"]["adam + outer-step"]["auc"]["low"] > 0
    assert b"adam + outer-step" in (tmp_path / "v1.5.svg").read_bytes()
    assert (tmp_path / "v1.5.png").stat().st_size > 10_000


def test_what_can_be_meta_trained_shows_how():
    shown = invoke("optimizers", "optim4rl")
    assert "of meta-training" in shown.output
    assert "pipeline" in shown.output
    (found,) = json.loads(invoke("optimizers", "show", "optim4rl", "--json").output)
    assert found["meta_training"]["objective"]["type"] == "loss | reward"
    assert "of meta-training" not in invoke("optimizers", "adam").output


def test_training_runs_have_no_phases(runs):
    refused = invoke("compare", runs / "adam", runs / "adam", "--phase", "all")
    assert refused.exit_code == 2
    assert "--phase is not for runs of the training track" in refused.output


def test_runs_of_other_trials_are_not_compared(runs):
    refused = invoke("compare", runs / "adam", runs / "tuning")
    assert refused.exit_code == 1
    assert "the split differs (tuning, test)" in " ".join(refused.output.split())


def test_train_prints_a_table_of_every_metric(runs, monkeypatch):
    record = running.read_training_record(runs / "outer")
    asked = {}

    def train(optimizer, environment, **rest):
        asked.update(rest, optimizer=optimizer, environment=environment)
        return TrainingRun(runs / "outer", record)

    monkeypatch.setattr(running, "train", train)
    words = ("--outer", "outer-step", "--set", "learning_rate=1e-3", "--on", "tuning", "--trials", 3)
    shown = CliRunner().invoke(main, ["train", "--env", "InvertedPendulum-v4", *map(str, words)])
    assert shown.exit_code == 0, shown.output
    for word in ("AUC", "steps to 95%", "worst quarter", "kept", "CPU s of training a million steps", "figure.svg"):
        assert word in shown.output
    assert asked["outer"] == ("outer-step",)
    assert (asked["options"], asked["on"], asked["trials"]) == (("learning_rate=1e-3",), "tuning", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "Ant-v4"], "Unknown environment of the training track 'Ant-v4'"),
        (["--env", "InvertedPendulum-v4", "--optimizer", "lawa"], "give it as --outer, beside one"),
        (["--env", "InvertedPendulum-v4", "--outer", "jump"], "option predictor: field required"),
        (["--env", "InvertedPendulum-v4", "--set", "jump.period=2"], "a rule that is not used"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(words, message):
    refused = CliRunner().invoke(main, ["train", *words])
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify", "RUN", "--fresh"], "--dataset and --fresh are not for runs of the training track"),
        (["reproduce", "RUN", "--timeout", "9"], "--timeout and --memory are not for runs of the training track"),
        (["submit", "RUN", "--dry-run", "--records", "."], "--dataset and --records are not for runs of the training"),
        (["verify", "FORECAST", "--state", "."], "--state is only for runs of the training track"),
        (["reproduce", "FORECAST", "--state", "."], "--state is only for runs of the training track"),
        (["submit", "FORECAST", "--dry-run", "--state", "."], "--state is only for runs of the training track"),
    ],
)
def test_an_option_of_the_other_track_is_refused(runs, tmp_path, words, message):
    board_records.record().write(tmp_path)
    places = {"RUN": runs / "adam", "FORECAST": tmp_path}
    refused = invoke(*(places.get(word, word) for word in words))
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())


@pytest.mark.parametrize("agrees", [True, False])
def test_a_training_run_is_verified_before_it_is_added(runs, tmp_path, monkeypatch, agrees):
    differences = () if agrees else ("J of seed 2001 after iteration 3: 1.0 kept, 2.0 trained again",)
    record = running.read_training_record(runs / "adam")
    trained = []

    def verify(*_, iterations=verifying.REPLAYED, **__):
        trained.append(iterations)
        whole = (range(record.key.trials), record.key.iterations) if iterations is None else ((0,), 1)
        return verifying.TrainingCheck(record, differences, 3, *whole)

    for place in (verifying, checking):
        monkeypatch.setattr(place, "verify_training", verify)
    in_part = invoke("leaderboard", "add", runs / "adam", "--no-rerun", "--records", tmp_path / "in part")
    assert not agrees or "some trials trained again" in in_part.output
    added = invoke("leaderboard", "add", runs / "adam", "--records", tmp_path / "whole")
    assert trained == [verifying.REPLAYED, None]
    assert (added.exit_code == 0) == agrees
    states = {"in part": "replayed", "whole": "reproduced"}
    for name in states if agrees else ():
        (path,) = (tmp_path / name / "training").glob("*__test.json")
        assert state_of(read(path, record)) == states[name]
    assert agrees or not [*tmp_path.rglob("*__test.json")]
    assert agrees or "trained again" in added.output
    verified = invoke("verify", runs / "adam")
    assert verified.exit_code == (0 if agrees else 1)
    assert ("all agree, the trials bit for bit" if agrees else "1 of them differ") in " ".join(verified.output.split())
    attested = invoke("reproduce", runs / "adam", "--attest", "--records", tmp_path / "in part")
    assert attested.exit_code == (0 if agrees else 1)
    if agrees:
        (path,) = (tmp_path / "in part" / "training").glob("*__test.json")
        assert [one.kind for one in read(path, record)] == ["replayed", "reproduced"]
    else:
        assert "add the run first" in attested.output
