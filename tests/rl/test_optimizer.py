"""Optimizers: Adam beside torch's, and others written against the contract, trained, saved and resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers.small_collections import tiny_config
from tipl_bench.rl import (
    Adam,
    AgentLayout,
    FusedAdam,
    Optimizer,
    PolicyLayout,
    PPOTraining,
    TrainingState,
    evaluate_returns,
)

SEEDS = [1, 2, 3]


class SGD(Optimizer):
    """The contract's own example."""

    name = "sgd"
    learning_rate = 0.1

    def step(self, parameters, gradient, state, *, learning_rate, iteration, epoch, minibatch):
        return parameters.sub_(gradient, alpha=learning_rate)


@dataclass(frozen=True)
class AveragedMomentum(Optimizer):
    """Noisy momentum on the actor alone, pulled back to the mean of its last checkpoints, evaluated at an average."""

    name: ClassVar[str] = "averaged-momentum"
    learning_rate: float = 0.05
    history: int = 3
    decay: float = 0.9

    def init(self, parameters, layout, seeds):
        streams = [torch.Generator().manual_seed(seed).get_state() for seed in seeds]
        return {
            "velocity": torch.zeros_like(parameters[:, layout.blocks["actor"]]),
            "average": parameters.clone(),
            "mean": torch.zeros_like(parameters[:, layout.blocks["actor"]]),
            "streams": torch.stack(streams),
            "places": torch.zeros(3, dtype=torch.int64),
        }

    def step(self, parameters, gradient, state, *, learning_rate, iteration, epoch, minibatch):
        actor = state["velocity"].shape[1]
        state["velocity"].mul_(self.decay).add_(gradient[:, :actor])
        for n, saved in enumerate(state["streams"]):
            stream = torch.Generator()
            stream.set_state(saved.clone())
            state["velocity"][n] += 1e-3 * torch.randn(actor, generator=stream)
            state["streams"][n] = stream.get_state()
        state["places"].copy_(torch.tensor([iteration, epoch, minibatch]))
        moved = parameters.clone()  # not in place, which the contract allows
        moved[:, :actor] -= learning_rate * state["velocity"]
        state["average"].lerp_(moved, 0.1)
        return moved

    def end_of_iteration(self, parameters, state, trajectory):
        assert len(trajectory) == self.history
        state["mean"].copy_(torch.from_numpy(np.mean([checkpoint.weights for checkpoint in trajectory], axis=0)))
        last = trajectory[-1].row
        assert [checkpoint.row for checkpoint in trajectory] == [last - 2, last - 1, last]
        actor = state["velocity"].shape[1]
        np.testing.assert_array_equal(trajectory[-1].weights, parameters[:, :actor].numpy())
        return torch.cat([state["mean"], parameters[:, actor:]], dim=1)

    def evaluation_parameters(self, parameters, state):
        return state["average"]


def train(optimizer, iterations, **changes):
    training = PPOTraining(tiny_config(**changes).training, SEEDS, optimizer, threads=1)
    training.start()
    for _ in range(iterations):
        training.iterate()
    return training


@pytest.mark.parametrize("optimizer", [SGD(), AveragedMomentum(), Adam(), FusedAdam()], ids=lambda o: o.name)
def test_a_training_saved_and_resumed_goes_on_with_the_same_bits(optimizer):
    original = train(optimizer, 2)
    saved = original.state()
    resumed = PPOTraining(tiny_config().training, SEEDS, optimizer, threads=1)
    resumed.restore(TrainingState(saved.arrays, json.loads(json.dumps(saved.metadata))))
    for _ in range(2):
        for ours, theirs in zip(resumed.iterate(), original.iterate(), strict=True):
            for name, value in vars(ours).items():
                np.testing.assert_array_equal(value, getattr(theirs, name), err_msg=name)
    for name, array in original.state().arrays.items():
        np.testing.assert_array_equal(resumed.state().arrays[name], array, err_msg=name)
    np.testing.assert_array_equal(resumed.policies().weights, original.policies().weights)


class Momentum(SGD):
    """Settings that are no fields of a dataclass."""

    def __init__(self, decay=0.9):
        self.decay = decay


class Faster(SGD):
    learning_rate = 1.0


class Remembers(SGD):
    history = 5


@dataclass(frozen=True)
class Scheduled(SGD):
    steps: tuple[int, ...] = (1, 2)


def restored(saved, optimizer):
    """A new training with another optimizer, restored from a state that went through a JSON file."""
    training = PPOTraining(tiny_config().training, SEEDS, optimizer, threads=1)
    training.restore(TrainingState(saved.arrays, json.loads(json.dumps(saved.metadata))))
    return training


@pytest.mark.parametrize(
    ("optimizer", "other"),
    [
        (SGD(), Faster()),
        (SGD(), Remembers()),
        (Momentum(), Momentum(0.5)),
        (Scheduled(), Scheduled((1, 3))),
        (Adam(), Adam(1.0)),
    ],
    ids=["rate", "history", "attribute", "tuple", "field"],
)
def test_a_state_is_restored_by_an_optimizer_with_the_same_settings_alone(optimizer, other):
    saved = train(optimizer, 1).state()
    assert restored(saved, optimizer).iteration == 1
    with pytest.raises(ValueError, match="another optimizer"):
        restored(saved, other)


def test_plain_gradient_descent_moves_the_weights_by_its_annealed_rate():
    rates = []

    class Recording(SGD):
        def step(self, parameters, gradient, state, *, learning_rate, **place):
            rates.append(learning_rate)
            before = parameters.clone()
            after = super().step(parameters, gradient, state, learning_rate=learning_rate, **place)
            torch.testing.assert_close(after, before - learning_rate * gradient)
            return after

    training = train(Recording(), 4)
    assert sorted(set(rates), reverse=True) == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert len(rates) == 4 * 10 * 4
    assert training.optimizer.learning_rate == 0.1


def test_gradients_arrive_clipped_by_their_norm():
    norms = []

    class Watching(SGD):
        def step(self, parameters, gradient, state, **rest):
            norms.append(gradient.norm(dim=1))
            return super().step(parameters, gradient, state, **rest)

    train(Watching(), 1)
    assert max(n.max() for n in norms) == pytest.approx(0.5, rel=1e-4)


def test_every_step_is_told_where_in_training_it_is():
    training = train(AveragedMomentum(), 2)
    assert training.agent.optimizer_state["places"].tolist() == [2, 10, 3]


def test_the_optimizer_may_leave_the_critic_and_move_the_actor_between_iterations():
    initial = PPOTraining(tiny_config().training, SEEDS, AveragedMomentum(), threads=1)
    critic = initial.agent.layout.blocks["critic"]
    before = initial.agent.parameters.clone()
    training = train(AveragedMomentum(), 1)
    assert torch.equal(training.agent.parameters[:, critic], before[:, critic])
    mean = training.agent.optimizer_state["mean"].numpy()
    np.testing.assert_array_equal(training.agent.policies.numpy(), mean)
    np.testing.assert_array_equal(training.trajectory[-1].weights, mean)


def test_evaluation_weights_may_differ_from_those_in_training():
    training = train(AveragedMomentum(), 1)
    policies = training.policies()
    state = training.agent.optimizer_state
    np.testing.assert_array_equal(policies.weights, state["average"][:, : policies.weights.shape[1]].numpy())
    assert not np.array_equal(policies.weights, training.agent.policies.numpy())
    returns = evaluate_returns("InvertedPendulum-v4", training.layout, policies, [7, 8])
    assert returns.shape == (3,)
    assert (returns > 0).all()


def test_an_optimizer_that_wants_all_checkpoints_is_given_the_run_so_far():
    seen = []

    class Remembering(SGD):
        history = None

        def end_of_iteration(self, parameters, state, trajectory):
            seen.append([checkpoint.row for checkpoint in trajectory])
            return parameters

    train(Remembering(), 2)
    assert seen == [list(range(6)), list(range(11))]


def test_a_trial_does_not_depend_on_the_trials_beside_it():
    together = train(AveragedMomentum(), 2).agent.parameters[1]
    alone = PPOTraining(tiny_config().training, [SEEDS[1]], AveragedMomentum(), threads=1)
    alone.start()
    for _ in range(2):
        alone.iterate()
    torch.testing.assert_close(alone.agent.parameters[0], together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [Adam, FusedAdam])
def test_adam_is_torchs_adam_over_many_steps(kind):
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(3, 50, generator=stream)
    ours, adam = start.clone(), kind(2e-3, epsilon=1e-5)
    state = adam.init(ours, AgentLayout(PolicyLayout(4, (2,), 1)), SEEDS)
    reference = torch.nn.Parameter(start.clone())
    peer = torch.optim.Adam([reference], lr=2e-3, eps=1e-5)
    for number in range(100):
        gradient = torch.randn(3, 50, generator=stream)
        reference.grad = gradient.clone()
        peer.step()
        ours = adam.step(ours, gradient, state, learning_rate=2e-3, iteration=1, epoch=1, minibatch=number)
    assert state["updates"] == 100
    torch.testing.assert_close(ours, reference.detach(), rtol=0, atol=1e-6)


def test_an_agents_layout_names_every_tensor_of_actor_and_critic():
    layout = AgentLayout(PolicyLayout(4, (8, 8), 1))
    assert layout.parameter_count == 122 + 121
    assert layout.blocks == {"actor": slice(0, 122), "critic": slice(122, 243)}
    assert layout.shapes["actor.log_std"] == (1,)
    assert layout.shapes["critic.layer2.weight"] == (1, 8)
    ends = [part.stop for part in layout.slices.values()]
    assert [part.start for part in layout.slices.values()] == [0, *ends[:-1]]
    assert ends[-1] == layout.parameter_count
