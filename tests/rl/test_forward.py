"""The compiled forward pass, against a float64 network and torch, and its independence of what is beside it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tipl_bench.rl.forward import evaluation_actions, mean_actions
from tipl_bench.rl.policy import PolicyLayout

EPISODES = 3
ROUNDING = 1e-5
"""What float32 sums of up to 256 products near 1 may differ by."""


def random_policies(layout, count, seed=0):
    """Weights [N, P] in storage order, of the size that training gives them."""
    stream = np.random.default_rng(seed)
    weights = stream.standard_normal((count, layout.parameter_count)).astype(np.float32)
    for name, part in layout.slices.items():
        if name.endswith(".weight"):
            weights[:, part] /= np.sqrt(np.float32(layout.shapes[name][1]))
    return weights


def float64_actor(layout, weights, observation):
    """The mean action of one policy [P] at observations [n, O], in float64 from the definition."""
    x, start = observation.astype(np.float64), 0
    sizes = layout.sizes
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        matrix = weights[start : start + outputs * inputs].reshape(outputs, inputs).astype(np.float64)
        start += outputs * inputs
        x = x @ matrix.T + weights[start : start + outputs]
        start += outputs
        if layer < len(sizes) - 2:
            x = np.tanh(x)
    return x


def torch_actor(layout, weights, observation):
    """The same by torch's own layers."""
    sizes, layers = layout.sizes, []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights[: -layout.action_size]), network.parameters())
    with torch.no_grad():
        return network(torch.from_numpy(observation)).numpy()


def our_means(layout, weights, observation):
    output = np.empty((len(weights), layout.action_size), dtype=np.float32)
    mean_actions(layout.as_kernel(weights), np.array(layout.sizes, dtype=np.int64), observation, output)
    return output


class Evaluation:
    """Policies, their normalisers and raw observations of EPISODES simulations each."""

    def __init__(self, layout, policies, seed=0, bound=np.inf):
        stream = np.random.default_rng(seed)
        self.layout, self.weights = layout, random_policies(layout, policies, seed)
        self.mean = stream.normal(size=(policies, layout.observation_size))
        self.variance = stream.uniform(0.01, 4, size=(policies, layout.observation_size))
        self.observation = stream.normal(scale=3, size=(policies * EPISODES, layout.observation_size))
        self.bounds = np.full((2, layout.action_size), [[-bound], [bound]], dtype=np.float32)

    def actions(self, ids, policies=slice(None)):
        """Actions of simulations `ids`, counted among those of the given policies."""
        sizes = np.array(self.layout.sizes, dtype=np.int64)
        observation = self.observation.reshape(-1, EPISODES, self.layout.observation_size)[policies]
        output = np.empty((len(ids), self.layout.action_size), dtype=np.float32)
        evaluation_actions(
            self.layout.as_kernel(self.weights[policies]), sizes, self.mean[policies], self.variance[policies],
            self.layout.observation_bound, *self.bounds, EPISODES, np.asarray(ids),
            observation.reshape(-1, self.layout.observation_size)[ids], output,
        )  # fmt: skip
        return output


widths = st.integers(1, 9)
layouts = st.builds(PolicyLayout, widths, st.lists(st.integers(1, 33), min_size=1, max_size=3).map(tuple), widths)
real_layouts = [PolicyLayout(4, (8, 8), 1), PolicyLayout(17, (256, 256), 6)]


@pytest.mark.parametrize("layout", real_layouts, ids=str)
def test_mean_actions_are_those_of_a_float64_network(layout):
    weights = random_policies(layout, 5)
    observation = np.random.default_rng(1).uniform(-10, 10, (5, layout.observation_size)).astype(np.float32)
    expected = [float64_actor(layout, w, o[None])[0] for w, o in zip(weights, observation, strict=True)]
    np.testing.assert_allclose(our_means(layout, weights, observation), expected, rtol=0, atol=ROUNDING)


@given(layouts, st.integers(1, 4))
def test_mean_actions_of_any_network_are_those_of_torch(layout, policies):
    weights = random_policies(layout, policies)
    observation = np.random.default_rng(1).normal(size=(policies, layout.observation_size)).astype(np.float32)
    expected = [torch_actor(layout, w, o[None])[0] for w, o in zip(weights, observation, strict=True)]
    np.testing.assert_allclose(our_means(layout, weights, observation), expected, rtol=0, atol=ROUNDING)


@given(layouts, st.integers(2, 5))
def test_a_mean_action_does_not_depend_on_the_policies_beside_it(layout, policies):
    weights = random_policies(layout, policies)
    observation = np.random.default_rng(1).normal(size=(policies, layout.observation_size)).astype(np.float32)
    together = our_means(layout, weights, observation)
    for n in range(policies):
        alone = our_means(layout, weights[n : n + 1], observation[n : n + 1])
        assert np.array_equal(alone[0], together[n])


@pytest.mark.parametrize("clip", [10.0, 5.0, None])
@pytest.mark.parametrize("layout", real_layouts, ids=str)
def test_evaluation_actions_normalise_clip_and_bound_as_the_definition_says(layout, clip):
    layout = dataclasses.replace(layout, observation_clip=clip)
    evaluation = Evaluation(layout, 4, bound=0.4)
    evaluation.observation[0] = 1e3  # far outside the normaliser's clip
    ids = np.arange(4 * EPISODES)
    scale = np.sqrt(np.repeat(evaluation.variance, EPISODES, axis=0) + 1e-8)
    normalized = np.clip(
        (evaluation.observation - np.repeat(evaluation.mean, EPISODES, axis=0)) / scale,
        -(clip or np.inf),
        clip or np.inf,
    )
    means = np.array([float64_actor(layout, evaluation.weights[i // EPISODES], normalized[i : i + 1])[0] for i in ids])
    assert (np.abs(means) > 0.41).any()
    assert (np.abs(means) < 0.39).any()
    np.testing.assert_allclose(evaluation.actions(ids), np.clip(means, -0.4, 0.4), rtol=0, atol=ROUNDING)


@settings(max_examples=100)
@given(layouts, st.integers(1, 4), st.data())
def test_an_evaluation_action_does_not_depend_on_what_runs_beside_it(layout, policies, data):
    evaluation = Evaluation(layout, policies)
    count = policies * EPISODES
    running = data.draw(st.sets(st.integers(0, count - 1), min_size=1), label="running simulations")
    ids = np.array(sorted(running))
    together = evaluation.actions(ids)
    everything = evaluation.actions(np.arange(count))
    for row, i in enumerate(ids):
        policy, episode = divmod(int(i), EPISODES)
        alone = evaluation.actions([episode], policies=slice(policy, policy + 1))
        assert np.array_equal(alone[0], together[row])
        assert np.array_equal(everything[i], together[row])


def test_the_widest_network_is_bitwise_the_same_alone_and_among_many():
    evaluation = Evaluation(real_layouts[1], 20)
    together = evaluation.actions(np.arange(20 * EPISODES))
    for policy in range(20):
        for episode in range(EPISODES):
            alone = evaluation.actions([episode], policies=slice(policy, policy + 1))
            assert np.array_equal(alone[0], together[policy * EPISODES + episode])
