"""Stacked training against the plain single-trial PPO: the same weights, update by update, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.reference_ppo import CategoricalPPO, ReferencePPO
from tipl_bench.rl import Adam, PolicyLayout, PPOHyperparameters, PPOTraining, TrainingConfig
from tipl_bench.rl.ppo import StackedAgent

ITERATIONS_PLANNED = 10
"""The learning rate falls over these; fewer are run."""


def train(environment, hidden, seeds, *, steps, minibatches, iterations, kind=ReferencePPO):
    """Checkpoints of a block, row 0 first, and for each trial the reference's iterations."""
    hyperparameters = PPOHyperparameters(
        steps_per_iteration=steps,
        minibatches=minibatches,
        learning_rate=kind.learning_rate,
        entropy_coefficient=kind.entropy_coefficient,
    )
    config = TrainingConfig(environment, hidden, steps * ITERATIONS_PLANNED, hyperparameters=hyperparameters)
    block = PPOTraining(config, seeds, threads=1)
    checkpoints = [block.start()]
    for _ in range(iterations):
        checkpoints += block.iterate()
    references = [kind(environment, hidden, seed, ITERATIONS_PLANNED) for seed in seeds]
    starts = [reference.policy() for reference in references]
    theirs = [[reference.iterate(steps, 10, minibatches) for _ in range(iterations)] for reference in references]
    return checkpoints, starts, theirs


def assert_agreement(environment, hidden, seeds, *, tolerance, **settings):
    checkpoints, starts, theirs = train(environment, hidden, seeds, **settings)
    for n, (start, trial) in enumerate(zip(starts, theirs, strict=True)):
        assert np.array_equal(checkpoints[0].weights[n], start)
        expected = [weights for iteration in trial for weights in iteration.checkpoints]
        assert len(expected) == len(checkpoints) - 1
        finished = []
        for row, weights in enumerate(expected, start=1):
            checkpoint, iteration = checkpoints[row], trial[(row - 1) // 5]
            assert np.abs(weights - start).max() > 50 * tolerance, "training moved too little to tell anything"
            np.testing.assert_allclose(checkpoint.weights[n], weights, rtol=0, atol=tolerance, err_msg=f"row {row}")
            for ours, reference in (
                (checkpoint.observation_mean[n], iteration.observation_mean),
                (checkpoint.observation_variance[n], iteration.observation_var),
            ):
                np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)
            if (row - 1) % 5 == 0:
                finished += iteration.finished_returns
            if finished:
                np.testing.assert_allclose(checkpoint.episodic_return[n], np.mean(finished[-10:]), rtol=1e-5)
            else:
                assert np.isnan(checkpoint.episodic_return[n])
    return theirs


def test_inverted_pendulum_trains_as_the_plain_implementation_does():
    theirs = assert_agreement(
        "InvertedPendulum-v4", (8, 8), [1, 2], steps=2048, minibatches=32, iterations=3, tolerance=2e-6
    )
    assert all(len(iteration.finished_returns) > 100 for trial in theirs for iteration in trial)


@pytest.mark.parametrize(("environment", "steps"), [("CartPole-v1", 512), ("Acrobot-v1", 600)])
def test_discrete_actions_train_as_in_the_plain_implementation(environment, steps):
    theirs = assert_agreement(
        environment, (8, 8), [1, 2], steps=steps, minibatches=4, iterations=3, tolerance=2e-6, kind=CategoricalPPO
    )
    assert sum(len(iteration.finished_returns) for trial in theirs for iteration in trial) > 5


def test_episodes_cut_by_the_time_limit_train_as_in_the_plain_implementation():
    theirs = assert_agreement("Pendulum-v1", (8, 8), [1, 2], steps=256, minibatches=4, iterations=3, tolerance=2e-6)
    assert all(len(trial[1].finished_returns) == 1 for trial in theirs)


def test_half_cheetah_trains_as_the_plain_implementation_does_while_rounding_stays_small():
    # Its physics multiplies a rounding error several-fold every few steps: 16 steps are as far as equality reaches.
    assert_agreement("HalfCheetah-v4", (16, 16), [1, 2, 3], steps=8, minibatches=2, iterations=2, tolerance=5e-6)


@pytest.mark.parametrize(("sizes", "environment"), [((4, (8, 8), 1), "InvertedPendulum-v4"),
                                                    ((17, (64, 64), 6), "HalfCheetah-v4")])  # fmt: skip
def test_epochs_over_the_same_batch_agree_with_autograd_and_torchs_adam(sizes, environment):
    layout, seeds, steps = PolicyLayout(*sizes), [3, 4], 96
    agent = StackedAgent(layout, seeds, PPOHyperparameters(minibatches=4), Adam())
    references = [ReferencePPO(environment, layout.hidden_sizes, seed, 1) for seed in seeds]
    stream = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=stream)

    rows, batches = [], []
    for reference in references:
        observation = normal(steps, layout.observation_size)
        with torch.no_grad():
            pi = reference.distribution(observation)
            action = pi.mean + normal(steps, layout.action_size)
            data = {
                "observation": observation,
                "action": action,
                "log": pi.log_prob(action) + 0.3 * normal(steps),
                "value": reference.critic(observation)[:, 0] + 0.3 * normal(steps),
            }
        advantage = 3 * normal(steps)
        target = data["value"] + advantage
        batches.append((data, advantage, target))
        columns = torch.stack([data["log"], advantage, target, data["value"]], dim=1)
        rows.append(torch.cat([observation, action, columns], dim=1))
    before = agent.parameters.clone()
    orders = np.random.default_rng(0)
    for epoch in range(1, 6):
        permutation = torch.from_numpy(np.stack([orders.permutation(steps) for _ in seeds]))
        agent.epoch(torch.stack(rows), permutation, learning_rate=3e-4, iteration=1, epoch=epoch)
        for reference, batch, order in zip(references, batches, permutation, strict=True):
            reference.epoch(*batch, order, 4)
    for n, reference in enumerate(references):
        critic = torch.cat([p.detach().flatten() for p in reference.critic.parameters()]).numpy()
        expected = np.concatenate([reference.policy(), critic])
        assert np.abs(before[n].numpy() - expected).max() > 1e-3
        np.testing.assert_allclose(agent.parameters[n].numpy(), expected, rtol=0, atol=1e-6)
