"""A dataset of discrete actions from its collection to a run's scores, through the command line."""

from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner
from tipl_bench.cli import main
from tipl_bench.registry.loading import load_dataset
from tipl_bench.rl import PolicyLayout

NAME = "cart-pole/tiny-v1"
CONFIG = """
environment = "CartPole-v1"
hidden_sizes = [4, 4]
environment_steps = 2048
trials = 4

[hyperparameters]
steps_per_iteration = 128
minibatches = 4
epochs = 4
entropy_coefficient = 0.01
"""


def invoke(*words):
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_dataset_of_discrete_actions_is_collected_shown_and_forecast(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG)
    invoke("datasets", "collect", NAME, "--config", tmp_path / "config.toml", "-q")
    dataset = load_dataset(NAME)
    assert dataset.layout == PolicyLayout(4, (4, 4), 2, distribution="categorical")
    assert dataset.trial(0).weights().shape == (33, 5 * 4 + 5 * 4 + 5 * 2)
    assert "4 x 4 x 4 x 2, tanh, categorical, P = 50" in invoke("datasets", "show", NAME)
    shown = json.loads(invoke("policy", "show", NAME, 0, 32, "--json"))
    assert shown["actions"].startswith("2 discrete ones")
    found = json.loads(invoke("policy", "evaluate", NAME, 0, 32, "--json"))
    assert found["mean"] == dataset.trial(0).policy(32).evaluate(range(10_001, 10_006))
    invoke("run", "--model", "linear", "--dataset", NAME, "--out", tmp_path / "run", "--limit", 2, "-q")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert np.isfinite([row["estimates"]["repw"]["value"] for row in record["results"]]).all()
    refused = CliRunner().invoke(main, ["train", "--optimizer", "adam", "--env", "CartPole-v1"])
    assert refused.exit_code != 0
    assert "Unknown environment of the training track 'CartPole-v1'" in " ".join(refused.output.split())
