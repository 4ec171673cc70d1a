"""A block of trials in training: iterate it, and save or restore all that its future depends on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..registry.collection.config import CollectionConfig
from ..utils.files import replace_atomically
from .environments import BatchedEnvironment, make
from .normalizer import ObservationNormalizer
from .policy import PolicyLayout
from .ppo import StackedAgent, generalized_advantage
from .rollout import Rollout


@dataclass(frozen=True)
class Checkpoint:
    """What is stored of all N trials of a block at one moment; arrays as in DESIGN's table, with N for T."""

    row: int
    weights: npt.NDArray[np.float32]
    observation_mean: npt.NDArray[np.float64]
    observation_variance: npt.NDArray[np.float64]
    observation_count: npt.NDArray[np.float64]
    environment_steps: int
    iteration: int
    epoch: int
    learning_rate: float
    episodic_return: npt.NDArray[np.float32]


class BlockTraining:
    """N trials of one collection training together.

    Parameters
    ----------
    config
        The collection.
    seeds
        The trials' seeds. Each seeds its own initialisation, environment, action noise and minibatch order, so a
        trial does not depend on its block beyond rounding.
    threads
        Physics threads.
    """

    def __init__(self, config: CollectionConfig, seeds: list[int], *, threads: int = 2) -> None:
        self.config = config
        self.seeds = seeds
        environment = make(config.environment, seeds, threads=threads)
        self.layout = PolicyLayout(environment.observation_size, config.hidden_sizes, environment.action_size)
        self.agent = StackedAgent(self.layout, seeds, config.hyperparameters)
        self.rollout = Rollout(environment, self.layout, config.hyperparameters.gamma)
        spawned = [np.random.SeedSequence(seed).spawn(2) for seed in seeds]
        self.noise_streams = [np.random.default_rng(pair[0]) for pair in spawned]
        self.order_streams = [np.random.default_rng(pair[1]) for pair in spawned]
        self.iteration = 0

    @property
    def environment(self) -> Any:
        return self.rollout.environment

    def start(self) -> Checkpoint:
        """Begin training; returns the random initialisation, row 0."""
        self.rollout.start()
        before = ObservationMoments.untouched(self.layout, len(self.seeds))
        return self._checkpoint(0, 0, self.config.hyperparameters.learning_rate, before)

    def iterate(self) -> Iterator[Checkpoint]:
        """One PPO iteration; yields a checkpoint every `checkpoint_every_epochs` epochs."""
        hyperparameters = self.config.hyperparameters
        self.iteration += 1
        rate = hyperparameters.learning_rate
        if hyperparameters.anneal_learning_rate:
            rate *= 1.0 - (self.iteration - 1.0) / self.config.iterations
        batch = self._collect()
        moments = ObservationMoments.of(self.rollout)
        steps = hyperparameters.steps_per_iteration
        for epoch in range(1, hyperparameters.epochs + 1):
            order = np.stack([stream.permutation(steps) for stream in self.order_streams])
            self.agent.epoch(batch, torch.from_numpy(order), rate)
            if epoch % self.config.checkpoint_every_epochs == 0:
                yield self._checkpoint(self.iteration, epoch, rate, moments)

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

    def _checkpoint(self, iteration: int, epoch: int, rate: float, moments: ObservationMoments) -> Checkpoint:
        per_iteration = self.config.hyperparameters.epochs // self.config.checkpoint_every_epochs
        return Checkpoint(
            row=0 if iteration == 0 else (iteration - 1) * per_iteration + epoch // self.config.checkpoint_every_epochs,
            weights=self.agent.policies.numpy().copy(),
            observation_mean=moments.mean,
            observation_variance=moments.variance,
            observation_count=moments.count,
            environment_steps=iteration * self.config.hyperparameters.steps_per_iteration,
            iteration=iteration,
            epoch=epoch,
            learning_rate=rate,
            episodic_return=self.rollout.episodic_return,
        )

    @property
    def resumable(self) -> bool:
        """Whether the environment's state can be saved: only batched physics can."""
        return isinstance(self.environment, BatchedEnvironment)

    def save(self, path: Path) -> None:
        """Write everything that later iterations depend on; the file at `path` is replaced whole."""
        tensors = {name: torch.from_numpy(array).clone() for name, array in self.rollout.arrays().items()}
        tensors |= {
            "parameters": self.agent.parameters,
            "first_moment": self.agent.first_moment,
            "second_moment": self.agent.second_moment,
        }
        tensors |= {f"environment.{k}": torch.from_numpy(v) for k, v in self.environment.state().items()}
        metadata = {
            "config": self.config.model_dump_json(),
            "progress": json.dumps({"iteration": self.iteration, "updates": self.agent.updates, "seeds": self.seeds}),
            "streams": json.dumps({name: [s.bit_generator.state for s in group] for name, group in self._streams()}),
        }
        with replace_atomically(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    def restore(self, path: Path) -> None:
        """Continue from a file written by `save` for the same collection and seeds, bit for bit."""
        with safe_open(path, framework="pt") as saved:
            metadata = saved.metadata()
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118
        progress = json.loads(metadata["progress"])
        if metadata["config"] != self.config.model_dump_json() or progress["seeds"] != self.seeds:
            raise ValueError("the snapshot belongs to another collection")
        for name, array in self.rollout.arrays().items():
            array[:] = tensors[name].numpy()
        self.agent.parameters.copy_(tensors["parameters"])
        self.agent.first_moment.copy_(tensors["first_moment"])
        self.agent.second_moment.copy_(tensors["second_moment"])
        self.environment.restore(
            **{k.removeprefix("environment."): v.numpy() for k, v in tensors.items() if k.startswith("environment.")}
        )
        self.iteration, self.agent.updates = progress["iteration"], progress["updates"]
        states = json.loads(metadata["streams"])
        for name, group in self._streams():
            for stream, state in zip(group, states[name], strict=True):
                stream.bit_generator.state = state

    def _streams(self) -> list[tuple[str, list[np.random.Generator]]]:
        return [
            ("noise", self.noise_streams),
            ("order", self.order_streams),
            ("environment", self.environment.streams),
        ]


@dataclass(frozen=True)
class ObservationMoments:
    """A copy of the observation normaliser of N trials."""

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    count: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rollout: Rollout) -> ObservationMoments:
        n = rollout.normalizer
        return cls(n.mean.copy(), n.variance.copy(), n.count.copy())

    @classmethod
    def untouched(cls, layout: PolicyLayout, trials: int) -> ObservationMoments:
        """The moments before any observation."""
        n = ObservationNormalizer(trials, layout.observation_size)
        return cls(n.mean, n.variance, n.count)
