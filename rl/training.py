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
Moments = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class TrainingState:
    """Everything that later iterations depend on, for a file of any format: arrays by name, and JSON-able metadata."""

    arrays: Mapping[str, npt.NDArray[Any]]
    metadata: Mapping[str, Any]


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
        self.layout = PolicyLayout(environment.observation_size, config.hidden_sizes, environment.action_size)
        self.agent = StackedAgent(self.layout, self.seeds, config.hyperparameters, self.optimizer)
        self.rollout = Rollout(environment, self.layout, config.hyperparameters.gamma)
        spawned = [np.random.SeedSequence(seed).spawn(2) for seed in self.seeds]
        self.noise_streams = [np.random.default_rng(pair[0]) for pair in spawned]
        self.order_streams = [np.random.default_rng(pair[1]) for pair in spawned]
        self.trajectory: deque[Checkpoint] = deque(maxlen=self.optimizer.history)
        self.iteration = 0

    @property
    def environment(self) -> Environment:
        return self.rollout.environment

    @torch.inference_mode()
    def start(self) -> Checkpoint:
        """Begin training; returns the random initialisation, row 0."""
        before = self._moments()
        self.rollout.start()
        return self._checkpoint(0, self.optimizer.learning_rate, before)

    @torch.inference_mode()
    def iterate(self) -> list[Checkpoint]:
        """One PPO iteration; returns its checkpoints, one every `checkpoint_every_epochs` epochs."""
        hyperparameters = self.config.hyperparameters
        self.iteration += 1
        rate = self.optimizer.learning_rate
        if hyperparameters.anneal_learning_rate:
            rate *= 1.0 - (self.iteration - 1.0) / self.config.iterations
        batch = self._collect()
        moments = self._moments()
        checkpoints = []
        for epoch in range(1, hyperparameters.epochs + 1):
            order = np.stack([s.permutation(hyperparameters.steps_per_iteration) for s in self.order_streams])
            self.agent.epoch(batch, torch.from_numpy(order), learning_rate=rate, iteration=self.iteration, epoch=epoch)
            if epoch % self.config.checkpoint_every_epochs == 0:
                checkpoints.append(self._checkpoint(epoch, rate, moments))
        self.agent.end_iteration(tuple(self.trajectory))
        return checkpoints

    def policies(self) -> Policies:
        """The policies to evaluate now: the optimizer's evaluation weights with the normaliser of this moment."""
        mean, variance, _ = self._moments()
        return Policies(self.agent.evaluation_policies.numpy().copy(), mean, variance)

    def _collect(self) -> torch.Tensor:
        """The iteration's steps as `StackedAgent.epoch` takes them, [N, S, O + A + 4]."""
        hyperparameters = self.config.hyperparameters
        shape = (hyperparameters.steps_per_iteration, self.layout.action_size)
        noise = [stream.standard_normal(shape, dtype=np.float32) for stream in self.noise_streams]
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
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        arrays |= {f"environment.{name}": array for name, array in self._physics().state().items()}
        for name in (f.name for f in dataclasses.fields(Checkpoint) if self.trajectory):
            arrays[f"trajectory.{name}"] = np.stack([getattr(checkpoint, name) for checkpoint in self.trajectory])
        streams = {name: [s.bit_generator.state for s in group] for name, group in self._streams().items()}
        return TrainingState(arrays, {**self._identity(), "iteration": self.iteration, "streams": streams})

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
        for name, array in self._arrays().items():
            array[...] = state.arrays[name]
        self._physics().restore(**_below("environment.", state.arrays))
        self._restore_trajectory(_below("trajectory.", state.arrays))
        self.iteration = state.metadata["iteration"]
        for name, group in self._streams().items():
            for stream, position in zip(group, state.metadata["streams"][name], strict=True):
                stream.bit_generator.state = position

    def _restore_trajectory(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self.trajectory.clear()
        scalars = {"row", "environment_steps", "iteration", "epoch", "learning_rate"}
        for place in range(len(columns["row"]) if columns else 0):
            values = {n: c[place].item() if n in scalars else c[place] for n, c in columns.items()}
            self.trajectory.append(Checkpoint(**values))

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


def _below(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
