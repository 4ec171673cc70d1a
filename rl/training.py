"""PPO training of N trials at once: iterate it, evaluate its policies, save and restore its whole state."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .checkpoint import Checkpoint
from .environments import BatchedEnvironment, Environment, make
from .evaluation import Policies
from .hyperparameters import TrainingConfig
from .optimizer import Optimizer
from .policy import PolicyLayout
from .ppo import StackedAgent, generalized_advantage
from .rollout import Rollout

STATE_FORMAT = 3
TRAJECTORY = "trajectory."
"""Before the names of a state's arrays of past checkpoints."""
Moments = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class TrainingState:
    """Everything that later iterations depend on, for a file of any format: arrays by name, and JSON-able metadata."""

    arrays: Mapping[str, npt.NDArray[Any]]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class _Iteration:
    """An iteration in progress: its steps [N, S, O + A + 4], and what its checkpoints state."""

    batch: torch.Tensor
    moments: Moments
    rate: float
    epoch: int = 0
    """Epochs done."""

    def of_trials(self, trials: Sequence[int]) -> _Iteration:
        mean, variance, count = (moment[trials] for moment in self.moments)
        return dataclasses.replace(self, batch=self.batch[trials], moments=(mean, variance, count))


class PPOTraining:
    """N trials training together.

    Parameters
    ----------
    config
        What is trained.
    seeds
        The trials' seeds. Each seeds its own initialisation, environment, action noise and minibatch order, so a
        trial does not depend on its block beyond rounding.
    optimizer
        Turns PPO's gradients into new weights; the hyperparameters' Adam by default.
    threads
        Physics threads.
    """

    def __init__(
        self, config: TrainingConfig, seeds: Sequence[int], optimizer: Optimizer | None = None, *, threads: int = 2
    ) -> None:
        self.config = config
        self.seeds = list(seeds)
        self.optimizer = optimizer or config.adam()
        environment = make(config.environment, self.seeds, threads=threads)
        self.layout = PolicyLayout.of(environment, config.hidden_sizes)
        self.agent = StackedAgent(self.layout, self.seeds, config.hyperparameters, self.optimizer)
        self.rollout = Rollout(environment, self.layout, config.hyperparameters.gamma)
        spawned = [np.random.SeedSequence(seed).spawn(2) for seed in self.seeds]
        self.noise_streams = [np.random.default_rng(pair[0]) for pair in spawned]
        self.order_streams = [np.random.default_rng(pair[1]) for pair in spawned]
        self.trajectory: deque[Checkpoint] = deque(maxlen=self.optimizer.history)
        self.iteration = 0
        self._current: _Iteration | None = None

    @property
    def environment(self) -> Environment:
        return self.rollout.environment

    @torch.inference_mode()
    def start(self) -> Checkpoint:
        """Begin training; returns the random initialisation, row 0."""
        before = self._moments()
        self.rollout.start()
        return self._checkpoint(0, self.optimizer.learning_rate, before)

    def iterate(self) -> list[Checkpoint]:
        """One PPO iteration; returns its checkpoints, one every `checkpoint_every_epochs` epochs."""
        return [self.advance() for _ in range(self.config.checkpoints_per_iteration)]

    @torch.inference_mode()
    def advance(self) -> Checkpoint:
        """Train to the next checkpoint, and return it; where an iteration begins, its steps are taken first."""
        hyperparameters = self.config.hyperparameters
        current = self._current or self._begin()
        for epoch in range(current.epoch + 1, current.epoch + self.config.checkpoint_every_epochs + 1):
            order = np.stack([s.permutation(hyperparameters.steps_per_iteration) for s in self.order_streams])
            shuffled = torch.from_numpy(order)
            self.agent.epoch(current.batch, shuffled, learning_rate=current.rate, iteration=self.iteration, epoch=epoch)
        checkpoint = self._checkpoint(epoch, current.rate, current.moments)
        self._current = dataclasses.replace(current, epoch=epoch)
        if epoch == hyperparameters.epochs:
            self.agent.end_iteration(tuple(self.trajectory), current.batch)
            self._current = None
            checkpoint = checkpoint.with_weights(self.agent.parameters)
            if self.trajectory:
                self.trajectory[-1] = checkpoint
        return checkpoint

    def _begin(self) -> _Iteration:
        self.iteration += 1
        rate = self.optimizer.learning_rate
        if self.config.hyperparameters.anneal_learning_rate:
            rate *= max(0.0, 1.0 - (self.iteration - 1.0) / self.config.iterations)  # 0 beyond the last iteration
        batch = self._collect()
        return _Iteration(batch, self._moments(), rate)

    def policies(self) -> Policies:
        """The policies to evaluate now: the optimizer's evaluation weights with the normaliser of this moment."""
        mean, variance, _ = self._moments()
        return Policies(self.agent.evaluation_policies.numpy().copy(), mean, variance)

    def _collect(self) -> torch.Tensor:
        """The iteration's steps as `StackedAgent.epoch` takes them, [N, S, O + A + 4]."""
        hyperparameters = self.config.hyperparameters
        shape = (hyperparameters.steps_per_iteration, self.layout.action_size)
        noise = [_action_noise(stream, shape, categorical=self.layout.categorical) for stream in self.noise_streams]
        steps = self.rollout.collect(self.agent.policies, np.stack(noise, axis=1))
        observation = steps["observation"].transpose(0, 1).contiguous()  # [N, S + 1, O]
        action = steps["action"].transpose(0, 1).contiguous()
        value = self.agent.value(observation)  # [N, S + 1]
        old = self.agent.log_probability(observation[:, :-1], action)
        advantage = generalized_advantage(
            steps["reward"],
            value[:, :-1].T,
            steps["done"][:-1],
            value[:, -1],
            steps["done"][-1],
            hyperparameters.gamma,
            hyperparameters.gae_lambda,
        ).T
        value = value[:, :-1]
        columns = [old, advantage, advantage + value, value]
        return torch.cat([observation[:, :-1], action, torch.stack(columns, dim=2)], dim=2)

    def _moments(self) -> Moments:
        """A copy of the observation normaliser: mean, variance, count."""
        normalizer = self.rollout.normalizer
        return normalizer.mean.copy(), normalizer.variance.copy(), normalizer.count.copy()

    def _checkpoint(self, epoch: int, rate: float, moments: Moments) -> Checkpoint:
        """The policies after an epoch of this iteration, also kept for the optimizer."""
        before = max(self.iteration - 1, 0) * self.config.checkpoints_per_iteration
        checkpoint = Checkpoint(
            before + epoch // self.config.checkpoint_every_epochs,
            self.agent.policies.numpy().copy(),
            *moments,
            environment_steps=self.iteration * self.config.hyperparameters.steps_per_iteration,
            iteration=self.iteration,
            epoch=epoch,
            learning_rate=rate,
            episodic_return=self.rollout.episodic_return,
        )
        self.trajectory.append(checkpoint)
        return checkpoint

    @property
    def resumable(self) -> bool:
        """Whether the environment's state can be saved: only batched physics can."""
        return isinstance(self.environment, BatchedEnvironment)

    def state(self) -> TrainingState:
        """A copy of all that later iterations depend on; only of a `resumable` training, between two iterations."""
        assert self._current is None, "the steps of an iteration in progress are no part of a state"
        return self._state()

    def _state(self) -> TrainingState:
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        arrays |= {f"environment.{name}": array for name, array in self._physics().state().items()}
        for name in (f.name for f in dataclasses.fields(Checkpoint) if self.trajectory):
            arrays[f"{TRAJECTORY}{name}"] = np.stack([getattr(checkpoint, name) for checkpoint in self.trajectory])
        streams = {name: [s.bit_generator.state for s in group] for name, group in self._streams().items()}
        return TrainingState(arrays, {**self._identity(), "iteration": self.iteration, "streams": streams})

    def branch(self, trial: int, copies: int, sequence: np.random.SeedSequence | None = None) -> PPOTraining:
        """A training of copies of one trial as it stands now, at any checkpoint, the steps of its iteration included.

        Parameters
        ----------
        trial
            Its place among the N of this training, which must be `resumable`.
        copies
            How many copies.
        sequence
            What fresh random streams (action noise, minibatch orders, environment resets) of each copy are spawned
            from; by default every copy has the trial's own, and continues as the trial does.
        """
        rows, state = [trial] * copies, self._state()
        arrays = {name: _rows(name, array, rows) for name, array in state.arrays.items()}
        streams = {name: [group[trial]] * copies for name, group in state.metadata["streams"].items()}
        seeds = [self.seeds[trial]] * copies
        branched = PPOTraining(self.config, seeds, self.optimizer, threads=1)
        branched.restore(TrainingState(arrays, {**state.metadata, "seeds": seeds, "streams": streams}))
        branched._current = self._current and self._current.of_trials(rows)
        if sequence is not None:
            groups = branched._streams().values()
            for copy, own in enumerate(sequence.spawn(copies)):
                for group, seed in zip(groups, own.spawn(len(groups)), strict=True):
                    group[copy] = np.random.default_rng(seed)
        return branched

    @torch.inference_mode()
    def replace_policy(self, trial: int, weights: npt.NDArray[np.float32], moments: Moments | None = None) -> None:
        """Replace a trial's policy [P], and the moments ([O], [O] and a number) of its observation normaliser."""
        self.agent.policies[trial] = torch.from_numpy(weights)
        if moments is not None:
            normalizer = self.rollout.normalizer
            normalizer.mean[trial], normalizer.variance[trial], normalizer.count[trial] = moments

    @torch.inference_mode()
    def restore(self, state: TrainingState) -> None:
        """Continue from the `state` of a training of the same config, seeds and optimizer, bit for bit.

        Raises
        ------
        ValueError
            If the state is not of such a training; nothing has been changed then.
        """
        for name, value in self._identity().items():
            if state.metadata.get(name) != value:
                raise ValueError(f"it belongs to a training with another {name}")
        current = self._arrays()
        current |= {f"environment.{name}": array for name, array in self._physics().state().items()}
        for name, array in current.items():
            saved = state.arrays.get(name)
            if saved is None or (saved.shape, saved.dtype) != (array.shape, array.dtype):
                raise ValueError(f"its array {name} is missing or not {array.dtype} {list(array.shape)}")
        streams, iteration = state.metadata.get("streams", {}), state.metadata.get("iteration")
        counts = {name: len(group) for name, group in self._streams().items()}
        if {name: len(group) for name, group in streams.items()} != counts or type(iteration) is not int:
            raise ValueError("its iteration, or the random stream of a trial, is missing")
        try:
            trajectory = _past_checkpoints(_below(TRAJECTORY, state.arrays))
        except (LookupError, TypeError):
            raise ValueError("its past checkpoints are incomplete") from None
        for name, array in self._arrays().items():
            array[...] = state.arrays[name]
        self._physics().restore(**_below("environment.", state.arrays))
        self.trajectory.clear()
        self.trajectory.extend(trajectory)
        self.iteration = iteration
        self._current = None
        for name, group in self._streams().items():
            for stream, position in zip(group, streams[name], strict=True):
                stream.bit_generator.state = position

    def _identity(self) -> dict[str, Any]:
        """What a saved state must agree with, as JSON gives it back."""
        config = dataclasses.asdict(self.config)
        config |= {"hyperparameters": self.config.hyperparameters.model_dump(mode="json")}
        stated = {"format": STATE_FORMAT, "config": config, "optimizer": self.optimizer.describe(), "seeds": self.seeds}
        identity: dict[str, Any] = json.loads(json.dumps(stated))  # tuples become lists, as in a saved state
        return identity

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The mutable arrays of rollout, agent and optimizer by name, live."""
        tensors = {f"optimizer.{name}": tensor for name, tensor in self.agent.optimizer_state.items()}
        tensors["parameters"] = self.agent.parameters
        return {**self.rollout.arrays(), **{name: tensor.numpy() for name, tensor in tensors.items()}}

    def _physics(self) -> BatchedEnvironment:
        assert isinstance(self.environment, BatchedEnvironment), "only batched physics can be saved"
        return self.environment

    def _streams(self) -> dict[str, list[np.random.Generator]]:
        return {"noise": self.noise_streams, "order": self.order_streams, "environment": self._physics().streams}


def _action_noise(stream: np.random.Generator, shape: tuple[int, int], *, categorical: bool) -> npt.NDArray[np.float32]:
    """What action sampling adds to a policy's outputs: standard normal numbers, or Gumbel ones to logits."""
    if categorical:
        return stream.gumbel(size=shape).astype(np.float32)
    return stream.standard_normal(shape, dtype=np.float32)


def _past_checkpoints(columns: Mapping[str, npt.NDArray[Any]]) -> list[Checkpoint]:
    """The checkpoints whose fields a state holds, stacked."""
    scalars = {"row", "environment_steps", "iteration", "epoch", "learning_rate"}
    return [
        Checkpoint(**{n: c[place].item() if n in scalars else c[place] for n, c in columns.items()})
        for place in range(len(columns["row"]) if columns else 0)
    ]


def _rows(name: str, array: npt.NDArray[Any], trials: Sequence[int]) -> npt.NDArray[Any]:
    """Some trials' part of a state's array [N, ...], or [K, N, ...] of past checkpoints; numbers are of all trials."""
    axis = int(name.startswith(TRAJECTORY))
    return array.take(trials, axis) if array.ndim > axis else array


def _below(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
