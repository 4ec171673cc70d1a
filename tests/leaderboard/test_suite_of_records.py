"""The suite that `leaderboard build` writes: what its tasks give is what the records are of, and nothing else."""

from __future__ import annotations

import tomllib

from helpers.board_records import record
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.saving import options_dict
from tipl_bench.benchmark.protocol import CURRENT, PROTOCOLS
from tipl_bench.benchmark.suites.suite import read_suite
from tipl_bench.benchmark.suites.tasks import tasks_of
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.leaderboard.suite import render

HEAD, OTHER = "inverted-pendulum/ppo-head-v1", "hopper/ppo-mini-v2"
STATE = "inverted-pendulum/tipl-neuron-v1"


def run(name, *settings, dataset=HEAD, seed=0, protocol=CURRENT, **options):
    """The key of a run, with all its options as a record has them."""
    known = options_dict(build_options(predictor_type(name), "quick", settings, protocol.context))
    key = record(name, dataset=dataset, seed=seed).key
    method = key.method.model_copy(update={"options": known | options})
    return key.model_copy(update={"protocol": protocol, "method": method})


def training(*settings, environment="InvertedPendulum-v4", outer=(), split="test"):
    return TrainingRequest.of("adam", environment, outer, settings, split).key()


def entries(*runs, trainings=()):
    text = render(runs, trainings)
    assert text == render(reversed(runs), reversed(trainings)), "whatever the order of the records"
    return tomllib.loads(text)


def test_runs_that_differ_in_dataset_or_seed_are_one_entry_without_its_defaults():
    keys = [run("linear", dataset=name, seed=seed) for name in (HEAD, OTHER) for seed in (1, 0)]
    (found,) = entries(*keys)["forecast"]
    assert found == {"model": "linear", "datasets": [OTHER, HEAD], "seeds": [0, 1]}


def test_what_differs_in_settings_or_has_other_seeds_is_another_entry():
    keys = [run("tipl"), run("tipl", "ridge=true"), run("tipl", dataset=OTHER, seed=2)]
    assert [(one["datasets"], one.get("settings"), one["seeds"]) for one in entries(*keys)["forecast"]] == [
        ([OTHER], None, [2]),
        ([HEAD], None, [0]),
        ([HEAD], ["ridge=true"], [0]),
    ]


def test_what_a_suite_cannot_name_is_left_out():
    left_out = [
        run("linear", protocol=PROTOCOLS[1]),
        run("linear", dataset="theirs/ppo-v1"),
        run("nino", weights="released"),
        run("linear", another=1),  # an option of an older version
        run("linear").model_copy(update={"method": record("theirs").key.method}),
    ]
    learned = training().model_copy(update={"optimizer": training().optimizer.model_copy(update={"version": 99})})
    assert [*entries(*left_out, trainings=[learned])] == ["summary"]


def test_training_runs_name_their_fitted_states_and_tuning_comes_first(tmp_path):
    jump = ["jump.period=2", f"jump.predictor={STATE}", "learning_rate=0.0009", "outer-step.scale=3.0"]
    outer = ["outer-step", "jump"]
    keys = [
        training(),
        training(environment="InvertedDoublePendulum-v4"),
        training(*reversed(jump), outer=outer, split="tuning"),
    ]
    found = entries(trainings=keys)["training"]
    assert found == [
        {"environments": ["InvertedPendulum-v4"], "outer": outer, "settings": jump, "on": "tuning"},
        {"environments": ["InvertedDoublePendulum-v4", "InvertedPendulum-v4"]},
    ]
    text = render((), keys)
    (tmp_path / "mine.toml").write_text(text)
    tasks = [task.arguments for task in tasks_of(read_suite(tmp_path / "mine.toml")[1])]
    fields = ("optimizer", "environment", "outer", "settings", "on")
    named = [TrainingRequest.of(*(one[field] for field in fields)).key() for one in tasks]
    assert named == [keys[2], keys[1], keys[0]]
    assert max(map(len, text.splitlines())) <= 125
