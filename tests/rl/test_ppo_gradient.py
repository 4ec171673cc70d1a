"""The hand-written gradient and advantages, against autograd and the textbook sum."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from tipl_bench.rl import Adam, PolicyLayout, PPOHyperparameters
from tipl_bench.rl.ppo import StackedAgent, clip_by_norm, generalized_advantage

TRIALS, STEPS = 3, 40
LAYOUTS = [PolicyLayout(4, (8, 8), 1), PolicyLayout(17, (32, 16), 6), PolicyLayout(3, (5,), 2)]
DISCRETE = [
    PolicyLayout(4, (8, 8), 2, distribution="categorical"),
    PolicyLayout(6, (5,), 3, distribution="categorical"),
]


def network(flat, sizes, x):
    """A tanh MLP read off a flat vector, torch's order; returns the output and what is left of the vector."""
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight, bias = flat[: inputs * outputs].view(outputs, inputs), flat[inputs * outputs :][:outputs]
        flat = flat[(inputs + 1) * outputs :]
        x = torch.nn.functional.linear(x, weight, bias)
        if layer < len(sizes) - 2:
            x = torch.tanh(x)
    return x, flat


def losses(flat, layout, settings, observation, action, old, advantage, target, value):
    """PPO's clipped losses of one trial and which of their branches are active, from the paper's definition."""
    output, rest = network(flat, layout.sizes, observation)
    if layout.distribution == "categorical":
        pi, taken = torch.distributions.Categorical(logits=output), action.argmax(1)
    else:
        log_std, rest = rest[: layout.action_size], rest[layout.action_size :]
        pi, taken = torch.distributions.Independent(torch.distributions.Normal(output, log_std.exp()), 1), action
    now, rest = network(rest, (layout.observation_size, *layout.hidden_sizes, 1), observation)
    assert not len(rest)
    ratio = torch.exp(pi.log_prob(taken) - old)
    plain, clipped = advantage * ratio, advantage * torch.clamp(ratio, 1 - settings.clip, 1 + settings.clip)
    policy_loss = -torch.min(plain, clipped).mean()
    held = value + torch.clamp(now[:, 0] - value, -settings.clip, settings.clip)
    errors, held_errors = (now[:, 0] - target) ** 2, (held - target) ** 2
    value_loss = 0.5 * torch.max(errors, held_errors).mean()
    changed = (now[:, 0] - value).abs() > settings.clip
    active = {
        "ratio clipped above": (ratio > 1 + settings.clip) & (advantage > 0),
        "ratio clipped below": (ratio < 1 - settings.clip) & (advantage < 0),
        "ratio outside but not clipped": ((ratio - 1).abs() > settings.clip) & (plain < clipped),
        "ratio inside": (ratio - 1).abs() < settings.clip,
        "value held": changed & (held_errors > errors),
        "value outside but not held": changed & (errors > held_errors),
        "value inside": ~changed,
    }
    entropy = pi.entropy().mean()
    return policy_loss + settings.value_coefficient * value_loss - settings.entropy_coefficient * entropy, active


def case(layout, dtype):
    """An agent away from its initialisation and a minibatch that its old self might have collected."""
    stream = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=stream, dtype=torch.float64).to(dtype)

    settings = PPOHyperparameters(value_coefficient=0.7, clip=0.15, entropy_coefficient=0.3)
    agent = StackedAgent(layout, list(range(TRIALS)), settings, Adam())
    agent.parameters = (agent.parameters + 0.3 * normal(*agent.parameters.shape)).to(dtype)
    agent.bind()
    observation = normal(TRIALS, STEPS, layout.observation_size)
    action = 1.5 * normal(TRIALS, STEPS, layout.action_size)
    if layout.categorical:
        action = torch.nn.functional.one_hot(action.argmax(-1), layout.action_size).to(dtype)
    old = agent.log_probability(observation, action) + 0.3 * normal(TRIALS, STEPS)
    value = agent.value(observation) + 0.3 * normal(TRIALS, STEPS)
    batch = (observation, action, old, normal(TRIALS, STEPS), value + normal(TRIALS, STEPS), value)
    return agent, settings, batch


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("layout", [*LAYOUTS, *DISCRETE], ids=str)
def test_the_gradient_is_autograds_with_every_clip_active(layout, dtype, tolerance):
    agent, settings, batch = case(layout, dtype)
    ours = agent.gradient(*batch)
    assert ours.shape == agent.parameters.shape
    seen = set()
    for n in range(TRIALS):
        flat = agent.parameters[n].clone().requires_grad_()
        loss, active = losses(flat, layout, settings, *(part[n] for part in batch))
        loss.backward()
        torch.testing.assert_close(ours[n], flat.grad, rtol=tolerance, atol=tolerance)
        seen |= {name for name, where in active.items() if where.any()}
    assert seen == set(active), "a branch of the loss was not met"


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_objective_of_other_weights_is_the_losss_first_part_on_all_steps(layout):
    agent, settings, (observation, action, old, advantage, target, value) = case(layout, torch.float64)
    columns = torch.stack([old, 3 * advantage + 2, target, value], dim=2)
    weights = agent.parameters + 0.05 * torch.randn(agent.parameters.shape, generator=torch.Generator().manual_seed(2))
    found = agent.objective(torch.cat([observation, action, columns], dim=2), weights)
    for n in range(TRIALS):
        normalized = (advantage[n] - advantage[n].mean()) / advantage[n].std()
        mean, rest = network(weights[n], layout.sizes, observation[n])
        normal = torch.distributions.Normal(mean, rest[: layout.action_size].exp())
        ratio = torch.exp(normal.log_prob(action[n]).sum(1) - old[n])
        clipped = torch.clamp(ratio, 1 - settings.clip, 1 + settings.clip)
        expected = torch.min(normalized * ratio, normalized * clipped).mean()
        assert float(found[n]) == pytest.approx(float(expected), rel=1e-7)


def test_a_long_gradient_is_cut_to_the_norm_and_a_short_one_is_left():
    gradient = torch.ones(2, 300)
    gradient[1] *= 1e-3
    expected = gradient.clone()
    expected[0] *= 0.5 / math.sqrt(300)
    clip_by_norm(gradient, 0.5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=0)


def test_advantages_are_the_discounted_sum_of_temporal_differences():
    steps, trials, gamma, lam = 60, 4, 0.97, 0.9
    stream = np.random.default_rng(0)
    reward, value = stream.normal(size=(steps, trials)), stream.normal(size=(steps + 1, trials))
    done = stream.random((steps + 1, trials)) < 0.1  # done[s]: observation s begins an episode
    expected = np.zeros((steps, trials))
    for n in range(trials):
        for start in range(steps):
            weight = 1.0
            for s in range(start, steps):
                going = not done[s + 1, n]
                expected[start, n] += weight * (reward[s, n] + gamma * value[s + 1, n] * going - value[s, n])
                if not going:
                    break
                weight *= gamma * lam
    tensors = [torch.from_numpy(a.astype(np.float64)) for a in (reward, value[:-1], done[:-1], value[-1], done[-1])]
    np.testing.assert_allclose(generalized_advantage(*tensors, gamma, lam).numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_initial_matrices_are_orthogonal_with_the_published_gains(layout):
    agent = StackedAgent(layout, [5, 6], PPOHyperparameters(), Adam())
    assert not torch.equal(agent.parameters[0], agent.parameters[1])
    assert not agent.log_std.any()
    for mlp, head_gain in ((agent.actor, 0.01), (agent.critic, 1.0)):
        for layer, (weight, bias) in enumerate(mlp.layers):
            gain = head_gain if layer == len(mlp.layers) - 1 else math.sqrt(2)
            rows, columns = weight.shape[1:]
            gram = weight @ weight.mT if rows <= columns else weight.mT @ weight
            torch.testing.assert_close(gram, gain**2 * torch.eye(min(rows, columns)).expand_as(gram), rtol=0, atol=1e-5)
            assert not bias.any()
