"""Policies of discrete actions: environments and returns against plain Gymnasium, and the torch module of a policy."""

from __future__ import annotations

import gymnasium
import numpy as np
import onnxruntime
import pytest
import torch
from helpers import synthetic
from safetensors import safe_open
from safetensors.numpy import load_file
from tipl_bench.benchmark.policies.files import export_policy
from tipl_bench.rl import (
    Policies,
    PolicyLayout,
    PPOHyperparameters,
    PPOTraining,
    TrainingConfig,
    evaluate_returns,
    make,
)
from tipl_bench.rl.network import PolicyNetwork
from tipl_bench.utils.errors import DatasetArgumentError, DatasetError

SEEDS = (3, 2**32 + 5)
SIZES = {"CartPole-v1": (4, 2), "Acrobot-v1": (6, 3)}


def random_policies(environment, count=3):
    stream = np.random.default_rng(0)
    layout = synthetic.layout_of(environment, (5,))
    shape = (count, layout.observation_size)
    weights = stream.normal(size=(count, layout.parameter_count)).astype(np.float32)
    return layout, Policies(weights, 0.1 * stream.normal(size=shape), stream.uniform(0.2, 2.0, size=shape))


def logits_by_hand(layout, policies, row, observation):
    """In float64, from the named parameters."""
    part = {
        name: policies.weights[row, where].reshape(layout.shapes[name]).astype(np.float64)
        for name, where in layout.slices.items()
    }
    hidden = np.clip((observation - policies.mean[row]) / np.sqrt(policies.variance[row] + 1e-8), -10, 10)
    hidden = np.tanh(part["layer0.weight"] @ hidden + part["layer0.bias"])
    return part["layer1.weight"] @ hidden + part["layer1.bias"]


def played(environment_id, act, seed):
    environment = gymnasium.make(environment_id)
    observation, _ = environment.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = environment.step(act(observation))
        total, ended = total + float(reward), terminated or truncated
    return total


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("environment_id", SIZES)
def test_an_environment_equals_gymnasiums_stepped_one_by_one(environment_id, partial):
    ours, plain = make(environment_id, SEEDS), [gymnasium.make(environment_id) for _ in SEEDS]
    assert (ours.observation_size, ours.action_size) == SIZES[environment_id]
    assert ours.discrete
    first = [one.reset(seed=seed)[0] for one, seed in zip(plain, SEEDS, strict=True)]
    assert np.array_equal(ours.reset(), np.array(first, dtype=np.float64))
    stream, ends = np.random.default_rng(0), 0
    for _ in range(1100):
        ids = np.flatnonzero(stream.random(2) < 0.7) if partial else np.arange(2)
        if not len(ids):
            continue
        action = stream.integers(ours.action_size, size=len(ids))
        found = ours.step(action, ids if partial else None)
        expected = [plain[i].step(int(a))[:4] for i, a in zip(ids, action, strict=True)]
        for mine, theirs in zip(found, zip(*expected, strict=True), strict=True):
            assert np.array_equal(mine, np.array(theirs, dtype=mine.dtype))
        ended = ids[found[2] | found[3]]
        if len(ended):
            ends += len(ended)
            assert np.array_equal(ours.reset(ended), np.array([plain[i].reset()[0] for i in ended], dtype=np.float64))
    assert ends > 1


class FromFive(gymnasium.Env):
    """Its actions are 5, 6 and 7; the reward is the action."""

    action_space = gymnasium.spaces.Discrete(3, start=5)
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return np.zeros(2), float(action), True, False, {}


def test_actions_that_do_not_begin_at_0_are_numbered_from_0():
    gymnasium.register("FromFive-v0", FromFive, max_episode_steps=100)
    try:
        environment = make("FromFive-v0", [1, 2, 3])
        environment.reset()
        assert environment.step(np.array([0, 1, 2]))[1].tolist() == [5, 6, 7]
    finally:
        gymnasium.registry.pop("FromFive-v0")


@pytest.mark.parametrize("environment_id", SIZES)
def test_j_is_the_mean_return_of_the_likeliest_actions(environment_id):
    layout, policies = random_policies(environment_id)
    found = evaluate_returns(environment_id, layout, policies, SEEDS, threads=2)
    for row in range(len(policies)):
        module = PolicyNetwork(environment_id, layout, *(part[row] for part in vars(policies).values()))

        def act(observation, row=row):
            return int(np.argmax(logits_by_hand(layout, policies, row, observation)))

        assert found[row] == np.mean([played(environment_id, act, seed) for seed in SEEDS])
        assert found[row] == np.mean([played(environment_id, module.act, seed) for seed in SEEDS])
        assert found[row] == module.evaluate(SEEDS)
    assert len(set(found)) > 1 or environment_id == "Acrobot-v1"  # whose random policies all end at the limit


def test_training_samples_actions_with_the_policys_probabilities():
    config = TrainingConfig("CartPole-v1", (4,), 4096, hyperparameters=PPOHyperparameters(steps_per_iteration=4096))
    training = PPOTraining(config, [1], threads=1)
    training.start()
    bias = training.layout.slices["layer1.bias"]
    training.agent.policies[:, bias] = torch.tensor([0.0, 1.2])
    batch = training._collect()[0]
    taken = batch[:, 4:6]
    assert set(map(tuple, taken.tolist())) == {(0.0, 1.0), (1.0, 0.0)}
    module = torch.distributions.Categorical(logits=training.agent.actor.forward(batch[None, :, :4])[-1][0])
    torch.testing.assert_close(batch[:, 6], module.log_prob(taken.argmax(1)))
    share, expected = taken[:, 1].mean().item(), module.probs[:, 1].mean().item()
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4096))
    assert 0.7 < expected < 0.85


def test_a_categorical_policy_has_no_deviations():
    layout = synthetic.layout_of("Acrobot-v1", (8, 8))
    assert layout == PolicyLayout(6, (8, 8), 3, distribution="categorical")
    assert layout.parameter_count == 7 * 8 + 9 * 8 + 9 * 3
    assert not any("log_std" in name for name in layout.shapes)
    with pytest.raises(DatasetError, match="unknown distribution of actions 'beta'; this version knows gaussian and"):
        PolicyLayout(6, (8, 8), 3, distribution="beta")


def test_the_module_of_a_policy_chooses_samples_and_trains():
    layout, policies = random_policies("Acrobot-v1")
    module = PolicyNetwork("Acrobot-v1", layout, policies.weights[0], policies.mean[0], policies.variance[0])
    observation = np.random.default_rng(1).normal(size=(50, 6))
    logits = np.array([logits_by_hand(layout, policies, 0, one) for one in observation])
    chosen = module.act(observation)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == logits.argmax(1).tolist() == module(torch.from_numpy(observation)).tolist()
    assert module.act(observation[0]) == chosen[0]
    assert len(set(chosen)) > 1
    spread = module.distribution(torch.from_numpy(observation))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(spread.probs.detach(), expected, atol=1e-5)
    spread.log_prob(torch.from_numpy(chosen)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    np.testing.assert_array_equal(module.stored.weights[0], policies.weights[0])


def test_a_policy_is_exported_without_bounds_or_deviations(tmp_path):
    layout, policies = random_policies("CartPole-v1")
    module = PolicyNetwork("CartPole-v1", layout, policies.weights[0], policies.mean[0], policies.variance[0])
    observation = np.random.default_rng(1).normal(size=(50, 4))
    export_policy(module, tmp_path / "policy.safetensors")
    assert {*load_file(tmp_path / "policy.safetensors")} == {*layout.shapes, "observation_mean", "observation_variance"}
    with safe_open(tmp_path / "policy.safetensors", "numpy") as file:
        assert file.metadata()["distribution"] == "categorical"
    export_policy(module, tmp_path / "policy.onnx")
    (found,) = onnxruntime.InferenceSession(tmp_path / "policy.onnx").run(None, {"observation": observation})
    assert found.tolist() == module.act(observation).tolist()


def test_a_gaussian_policy_of_discrete_actions_is_refused():
    layout = PolicyLayout(4, (5,), 2)
    with pytest.raises(DatasetArgumentError, match=r"2 actions of a categorical policy.*is gaussian"):
        PolicyNetwork("CartPole-v1", layout, np.zeros(layout.parameter_count, np.float32), np.zeros(4), np.ones(4))
