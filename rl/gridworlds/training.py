"""A2C of many independent agents at once, each in several copies of one gridworld, trained by any optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..optimizer import Optimizer
from .agent import GridAgentLayout, select
from .worlds import Gridworlds, World


@dataclass(frozen=True)
class A2CHyperparameters:
    """A2C's settings, those of Optim4RL's source.

    Parameters
    ----------
    environments
        Copies of the world that each agent acts in.
    rollout
        Steps of each between two updates.
    discount, trace
        Discount, and lambda of the TD(lambda) targets.
    value_weight, entropy_weight
        Of the loss's terms.
    clip
        Elements of gradients are cut to [-clip, clip], for optimizers that do not clip themselves.
    """

    environments: int = 16
    rollout: int = 20
    discount: float = 0.995
    trace: float = 0.95
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True)
class Rollout:
    """Steps of N agents: observations [N, T + 1, E, ...], then actions, rewards, and whether it ended [N, T, E]."""

    planes: Tensor
    actions: Tensor
    rewards: Tensor
    ended: Tensor


class GridAgents:
    """N agents' episodes in one gridworld, and the gradients of their losses; it holds no parameters.

    Parameters
    ----------
    world
        The gridworld.
    seeds
        One seed an agent, of its initialisation and its episodes.
    settings
        A2C's.
    device
        Where networks are computed; the gridworlds themselves are played on the processor.
    """

    def __init__(self, world: World, seeds: Sequence[int], settings: A2CHyperparameters, device: str = "cpu") -> None:
        self.layout, self.settings, self.size = GridAgentLayout(world), settings, len(seeds)
        self.device = torch.device(device)
        streams = np.concatenate([_streams(seed, settings.environments) for seed in seeds])
        self.worlds = Gridworlds(world, streams)

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Initialisations [N, P]."""
        return torch.stack([self.layout.initial(seed) for seed in seeds]).to(self.device)

    def restart(self, agent: int, seed: int) -> Tensor:
        """Begin an agent's episodes anew with another seed; its initialisation [P]."""
        count = self.settings.environments
        own = np.arange(agent * count, (agent + 1) * count)
        self.worlds.streams[own] = _streams(seed, count)
        self.worlds.reset(own)
        return self.layout.initial(seed)

    @torch.no_grad()
    def rollout(self, parameters: Tensor) -> Rollout:
        """Let agents with parameters [N, P] act."""
        shape = (self.size, self.settings.rollout, self.settings.environments)
        planes = torch.empty(self.size, shape[1] + 1, shape[2], *self.layout.world.planes, device=self.device)
        actions = torch.empty(shape, dtype=torch.int64, device=self.device)
        rewards, ended = torch.empty(shape), torch.empty(shape, dtype=torch.bool)
        now = np.empty((len(self.worlds), *self.layout.world.planes), dtype=np.float32)
        for step in range(shape[1] + 1):
            self.worlds.observe(now)
            planes[:, step] = torch.from_numpy(now).view(self.size, shape[2], *self.layout.world.planes)
            if step == shape[1]:
                break
            logits = self.layout.forward(parameters, planes[:, step])[0]
            draws = torch.from_numpy(self.worlds.draws()).view(self.size, -1).to(self.device)
            actions[:, step] = select(logits, draws)
            gained, over = self.worlds.step(actions[:, step].reshape(-1).numpy(force=True))
            rewards[:, step] = torch.from_numpy(gained).view(self.size, -1)
            ended[:, step] = torch.from_numpy(over).view(self.size, -1)
        return Rollout(planes, actions, rewards.to(self.device), ended.to(self.device))

    def gradient(self, parameters: Tensor, rollout: Rollout) -> Tensor:
        """Gradients [N, P] of A2C's loss: policy gradient with TD(lambda) errors, their squares, and entropy."""
        leaf = parameters.detach().clone().requires_grad_()
        with torch.enable_grad():
            self.loss(leaf, rollout).sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        return leaf.grad

    def loss(self, parameters: Tensor, rollout: Rollout) -> Tensor:
        """The loss [N] of each agent, a mean over its steps."""
        settings, shape = self.settings, rollout.actions.shape
        logits, values = self.layout.forward(parameters, rollout.planes.flatten(1, 2))
        logs = torch.log_softmax(logits, -1).view(shape[0], shape[1] + 1, shape[2], -1)[:, :-1]
        values = values.view(shape[0], shape[1] + 1, shape[2])
        error = self._targets(values.detach(), rollout) - values[:, :-1]
        chosen = logs.gather(-1, rollout.actions[..., None])[..., 0]
        entropy = -(logs.exp() * logs).sum(-1)
        each = -chosen * error.detach() + settings.value_weight * error.square() - settings.entropy_weight * entropy
        return each.mean((1, 2))

    def _targets(self, values: Tensor, rollout: Rollout) -> Tensor:
        """TD(lambda) targets [N, T, E]."""
        discounts = self.settings.discount * (~rollout.ended)
        targets, following = torch.empty_like(rollout.rewards), values[:, -1]
        for step in reversed(range(rollout.rewards.shape[1])):
            mixed = (1 - self.settings.trace) * values[:, step + 1] + self.settings.trace * following
            following = targets[:, step] = rollout.rewards[:, step] + discounts[:, step] * mixed
        return targets


class A2CTraining:
    """N agents training together by A2C.

    Parameters
    ----------
    world
        The gridworld.
    seeds
        One seed an agent.
    optimizer
        Turns gradients into new weights; its rate is not annealed.
    settings
        A2C's.
    device
        See `GridAgents`.
    """

    def __init__(
        self,
        world: World,
        seeds: Sequence[int],
        optimizer: Optimizer,
        settings: A2CHyperparameters | None = None,
        device: str = "cpu",
    ) -> None:
        self.agents = GridAgents(world, seeds, settings or A2CHyperparameters(), device)
        self.optimizer = optimizer
        self.parameters = self.agents.initial(seeds)
        layout: Any = self.agents.layout  # of an optimizer that reads no more of it than names and shapes
        self.state = optimizer.init(self.parameters.clone(), layout, seeds)
        self.updates = 0

    @torch.no_grad()
    def update(self) -> npt.NDArray[np.float64]:
        """One rollout and one update; the mean reward [N] of a step of each agent."""
        rollout = self.agents.rollout(self.parameters)
        gradient = self.agents.gradient(self.parameters, rollout)
        if not self.optimizer.clips_gradients:
            gradient.clamp_(-self.agents.settings.clip, self.agents.settings.clip)
        self.updates += 1
        place: dict[str, Any] = {"learning_rate": self.optimizer.learning_rate, "iteration": self.updates}
        self.parameters = self.optimizer.step(self.parameters, gradient, self.state, **place, epoch=1, minibatch=0)
        return rollout.rewards.double().mean((1, 2)).numpy(force=True)


def _streams(seed: int, count: int) -> npt.NDArray[np.uint64]:
    found: npt.NDArray[np.uint64] = np.random.SeedSequence(seed).generate_state(count, np.uint64).astype(np.uint64)
    return found
