"""The examples run as they are, with small budgets; the policies act here as they do in their own library."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from tipl_bench import import_dataset

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENT = "InvertedPendulum-v4"
SEEDS = range(10_001, 10_006)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*mini-batch size:UserWarning")


def run_example(name, monkeypatch, *numbers):
    """Run an example into `checkpoints`; the variables it ends with, and the dataset of its three trials."""
    monkeypatch.setattr(sys, "argv", [name, "checkpoints", "3", *map(str, numbers)])
    variables = runpy.run_path(str(EXAMPLES / name))
    dataset = import_dataset(
        "checkpoints", "inverted-pendulum/example-v1", environment=ENVIRONMENT, description=name, to="dataset"
    )
    dataset.verify()
    assert dataset.manifest.collection.absent == ("iteration",)
    assert dataset.manifest.trial_seeds == (1, 2, 3)
    return variables, dataset.trial(2).policy(len(dataset.trial(2)) - 1)


def assert_same(policy, act):
    """Equal actions on any observation up to rounding, and equal returns in plain Gymnasium from the same resets."""
    env = gymnasium.make(ENVIRONMENT)
    for seen in np.random.default_rng(0).normal(scale=3, size=(100, 4)):
        assert np.allclose(policy.act(seen), np.clip(act(seen), -3, 3), atol=1e-5)
    for seed in SEEDS:
        observation, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            action = np.clip(act(observation), -3, 3).astype(np.float32)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, ended = total + reward, terminated or truncated
        assert policy.evaluate([seed]) == pytest.approx(total, rel=1e-6)


def test_an_agent_of_cleanrls_layout_acts_as_it_did_in_its_own_loop(monkeypatch):
    variables, policy = run_example("record_cleanrl.py", monkeypatch, 29, 32)
    agent, moments = variables["agent"], variables["normalised"].obs_rms

    def act(observation):
        seen = np.clip((observation - moments.mean) / np.sqrt(moments.var + 1e-8), -10, 10)
        return agent.actor_mean(torch.as_tensor(seen, dtype=torch.float32)).detach().numpy()

    assert_same(policy, act)


@pytest.mark.slow
def test_a_policy_of_stable_baselines3_acts_as_it_does_there(monkeypatch):
    pytest.importorskip("stable_baselines3")
    variables, policy = run_example("record_sb3.py", monkeypatch, 29, 32)
    model, env = variables["model"], variables["env"]
    assert_same(policy, lambda observation: model.predict(env.normalize_obs(observation), deterministic=True)[0])
