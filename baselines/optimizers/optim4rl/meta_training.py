"""Meta-training of an update rule: by the gradient of the loss a few updates on, or by the reward of whole lives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor

from ....rl.gridworlds import A2CHyperparameters, A2CTraining, World
from ....rl.gridworlds.training import GridAgents, Rollout
from ....rl.gridworlds.worlds import ABSENT
from ....utils.errors import PredictorError
from .optimizer import CLIP, GivenRule
from .rule import CHUNKS, Rule, scales
from .settings import MetaOptions

Arrays = dict[str, npt.NDArray[Any]]
SEEDS = 2**62


class MetaTraining(ABC):
    """Meta-training of one rule.

    Parameters
    ----------
    options
        How it is trained.
    seed
        Of the meta-parameters, the agents and all that they do.
    device
        Where agents and the rule are computed; the meta-parameters stay on the processor.
    """

    decays = (0.9, 0.999)
    """Adam's, for the meta-parameters."""

    def __init__(self, options: MetaOptions, seed: int, device: str = "cpu") -> None:
        self.options, self.seed, self.rule, self.device = options, seed, options.rule, device
        self.vector = self.rule.initial(seed)
        """Meta-parameters [L]."""
        self.moments = torch.zeros(2, len(self.vector))
        self.iteration = 0
        """Meta-iterations done."""

    @abstractmethod
    def iterate(self) -> float:
        """One meta-iteration; the mean reward of a step, over all agents."""

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Environment steps of a meta-iteration."""

    def draw(self, *place: int) -> np.random.Generator:
        """This meta-iteration's random numbers, so that there is no stream to be saved."""
        return np.random.default_rng((self.seed, self.iteration, *place))

    def descend(self, gradient: Tensor) -> None:
        """A step of Adam along the meta-gradient [L]; ends the meta-iteration."""
        self.iteration += 1
        for moment, decay, value in zip(self.moments, self.decays, (gradient, gradient.square()), strict=True):
            moment.lerp_(value, 1 - decay)
        mean, square = (
            moment / (1 - decay**self.iteration) for moment, decay in zip(self.moments, self.decays, strict=True)
        )
        self.vector = self.vector - self.options.meta_rate * mean / (square.sqrt() + 1e-8)
        if not self.vector.isfinite().all():
            raise PredictorError(
                f"Meta-training diverged in meta-iteration {self.iteration}: the meta-parameters are not finite. Lower "
                "meta_rate or rate, and begin again in another folder."
            )

    def arrays(self) -> Arrays:
        """All that later meta-iterations depend on."""
        kept = {"vector": self.vector, "moments": self.moments, "iteration": torch.tensor(self.iteration)}
        return {name: tensor.numpy() for name, tensor in kept.items()}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `arrays` gave; raises `ValueError` for what it cannot have given."""
        for name, own in self.arrays().items():
            given = arrays[name]
            finite = given.dtype.kind != "f" or bool(np.isfinite(given).all())
            if given.shape != own.shape or given.dtype != own.dtype or not finite:
                raise ValueError(f"{name} is not what a training of these options has")
        if not 0 <= int(arrays["iteration"]) <= self.options.iterations:
            raise ValueError("the meta-iteration is not one of this training's")
        self.vector, self.moments = (torch.from_numpy(arrays[name].copy()) for name in ("vector", "moments"))
        self.iteration = int(arrays["iteration"])


class LossTraining(MetaTraining):
    """The source's meta-training: agents of all ages, and the gradient of their loss a few updates on."""

    def __init__(self, options: MetaOptions, seed: int, device: str = "cpu") -> None:
        super().__init__(options, seed, device)
        self.populations = [
            _Population(self.rule, options, world, self.draw(place), device)
            for place, world in enumerate(options.gridworlds)
        ]

    @property
    def steps_per_iteration(self) -> int:
        """See `MetaTraining.steps_per_iteration`."""
        one = self.options.a2c.rollout * self.options.environments * self.options.agents
        return one * (self.options.unroll + 1) * len(self.populations)

    def iterate(self) -> float:
        """See `MetaTraining.iterate`."""
        found = [
            one.iterate(self.vector, self.iteration, self.draw(place)) for place, one in enumerate(self.populations)
        ]
        clipped = [one * min(1.0, self.options.meta_clip / max(float(one.norm()), 1e-12)) for one, _ in found]
        self.descend(torch.stack(clipped).mean(0))
        return float(torch.cat([reward for _, reward in found]).mean())

    def arrays(self) -> Arrays:
        """See `MetaTraining.arrays`."""
        own = {f"{n}.{name}": array for n, one in enumerate(self.populations) for name, array in one.arrays().items()}
        return {**super().arrays(), **own}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `MetaTraining.restore`."""
        super().restore(arrays)
        for place, one in enumerate(self.populations):
            known = {name: arrays[f"{place}.{name}"] for name in one.arrays()}
            cells = one.agents.worlds.world.rows * one.agents.worlds.world.columns
            low, high = known["objects"].min(), max(known["objects"].max(), known["agents"].max())
            if known["agents"].min() < 0 or low < ABSENT or high >= cells:
                raise ValueError("a cell is outside its gridworld")
            one.restore(known)


class _Population:
    """The agents of one gridworld.

    Each meta-iteration makes `unroll` updates by the rule on fresh rollouts, then one rollout more, of which the loss's
    gradient v at the agents' new weights is taken. As a rule reads gradients as constants, the meta-gradient is that of
    the sum over updates and coordinates of v * update: no derivative goes through A2C.
    """

    def __init__(self, rule: Rule, options: MetaOptions, world: World, draw: np.random.Generator, device: str) -> None:
        self.rule, self.options = rule, options
        seeds = draw.integers(SEEDS, size=options.agents).tolist()
        self.agents = GridAgents(world, seeds, options.a2c, device)
        self.parameters = self.agents.initial(seeds)
        self.hidden = self.parameters.new_zeros(*self.parameters.shape, rule.hidden_size)
        self.tensors = [*self.agents.layout.slices.values()]
        self.interval = max(1, options.lifetime // options.unroll)
        self.turns = np.linspace(0, self.interval - 1, options.agents).astype(int)

    def arrays(self) -> Arrays:
        """All that later meta-iterations depend on."""
        own = {name: tensor.numpy(force=True) for name, tensor in self._kept.items()}
        return {**own, **self.agents.worlds.arrays}

    def restore(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""
        for name, tensor in self._kept.items():
            tensor.copy_(torch.from_numpy(arrays[name]))
        for name, array in self.agents.worlds.arrays.items():
            array[...] = arrays[name]

    @property
    def _kept(self) -> dict[str, Tensor]:
        return {"parameters": self.parameters, "hidden": self.hidden}

    def iterate(self, vector: Tensor, iteration: int, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The meta-gradient [L] of the mean loss, and the rewards [N] that a step brought on average."""
        options, vector = self.options, vector.to(self.agents.device)
        if options.pipeline and iteration:
            for agent in np.flatnonzero(self.turns == iteration % self.interval):
                self.parameters[agent] = self.agents.restart(int(agent), int(draw.integers(SEEDS)))
                self.hidden[agent] = 0
        count = self.parameters.shape[1]
        chosen = torch.from_numpy(draw.permutation(count)[: max(1, round(count * options.coordinates))])
        chosen = chosen.to(vector.device)
        before = self.hidden[:, chosen].clone()
        gradients, updates, rewards = [], [], []
        for _ in range(options.unroll):
            gradient, reward = self._gradient(self.agents.rollout(self.parameters))
            gradient.clamp_(-CLIP, CLIP)
            update = self.rule.advance(vector, gradient, self.hidden)
            scale = scales(update, self.tensors) if self.rule.normalised else None
            self.parameters -= options.rate * (update if scale is None else update * scale)
            gradients.append(gradient[:, chosen])
            updates.append((update, scale))
            rewards.append(reward)
        loss, reward = self._gradient(self.agents.rollout(self.parameters))
        self._leave_out_diverged(loss, gradients, updates, draw)
        cotangents = [self._cotangent(loss, *one)[:, chosen] for one in updates]
        weight = -options.rate * count / len(chosen) / options.agents
        found = weight * pull_back(self.rule, vector, gradients, before, cotangents)
        return found.cpu(), torch.stack([*rewards, reward]).mean(0)

    def _leave_out_diverged(
        self,
        loss: Tensor,
        gradients: Sequence[Tensor],
        updates: Sequence[tuple[Tensor, Tensor | None]],
        draw: np.random.Generator,
    ) -> None:
        """Let agents with weights that are not finite begin anew, and count for nothing in the meta-gradient."""
        bad = ~(self.parameters.isfinite().all(1) & loss.isfinite().all(1) & self.hidden.isfinite().all(2).all(1))
        for agent in torch.nonzero(bad)[:, 0].tolist():
            self.parameters[agent] = self.agents.restart(agent, int(draw.integers(SEEDS)))
            for one in (loss, self.hidden, *gradients, *(tensor for pair in updates for tensor in pair)):
                if one is not None:
                    one[agent] = 0

    def _gradient(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        return self.agents.gradient(self.parameters, rollout), rollout.rewards.mean((1, 2))

    def _cotangent(self, loss: Tensor, update: Tensor, scale: Tensor | None) -> Tensor:
        """What an update [N, P] is multiplied by: the loss's gradient, through the normalisation if there is one."""
        if scale is None:
            return loss
        found = torch.empty_like(loss)
        for part in self.tensors:
            along = (loss[:, part] * update[:, part]).mean(1, keepdim=True)
            found[:, part] = (loss[:, part] - update[:, part] * along * scale[:, part] ** 2) * scale[:, part]
        return found


def pull_back(
    rule: Rule, vector: Tensor, gradients: Sequence[Tensor], hidden: Tensor, cotangents: Sequence[Tensor]
) -> Tensor:
    """The gradient [L] of the sum of cotangents * updates.

    Parameters
    ----------
    rule, vector
        The rule and its meta-parameters [L].
    gradients, cotangents
        Of each update, [N, n] of the coordinates that are looked at.
    hidden
        What the rule remembered of them before the first [N, n, H].
    """
    leaf = vector.detach().clone().requires_grad_()
    flat = [(one.reshape(1, -1), other.reshape(1, -1)) for one, other in zip(gradients, cotangents, strict=True)]
    state = hidden.reshape(1, -1, hidden.shape[-1])
    width = CHUNKS[state.device.type]
    for start in range(0, state.shape[1], width):
        part = slice(start, start + width)
        with torch.enable_grad():
            known, total = state[:, part], state.new_zeros(())
            for gradient, cotangent in flat:
                update, known = rule.apply(leaf[None], gradient[:, part], known)
                total = total + (update * cotangent[:, part]).sum()
            total.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return leaf.grad


class RewardTraining(MetaTraining):
    """An evolution strategy (Salimans et al. 2017) on the reward in the second half of whole lives.

    Each agent has a rule of its own, and lives as long as every other; two that are perturbed in opposite directions
    begin alike. Rewards count by their ranks, in each gridworld.
    """

    decays = (0.9, 0.99)

    def __init__(self, options: MetaOptions, seed: int, device: str = "cpu") -> None:
        super().__init__(options, seed, device)
        last = f".head{len(self.rule.head)}."
        self.trained = torch.cat(
            [
                torch.arange(part.start, part.stop)
                for name, part in self.rule.slices.items()
                if last in name or not options.heads_alone
            ]
        )

    @property
    def steps_per_iteration(self) -> int:
        """See `MetaTraining.steps_per_iteration`."""
        one = self.options.a2c.rollout * self.options.environments * self.options.agents
        return one * self.options.lifetime * len(self.options.gridworlds)

    def iterate(self) -> float:
        """See `MetaTraining.iterate`."""
        options, rewards, gradients = self.options, [], []
        for place, world in enumerate(options.gridworlds):
            draw = self.draw(place)
            half = torch.from_numpy(draw.standard_normal((options.agents // 2, len(self.trained)), np.float32))
            noise = torch.cat([half, -half])
            vectors = self.vector.repeat(options.agents, 1)
            vectors[:, self.trained] += options.deviation * noise
            seeds = draw.integers(SEEDS, size=options.agents // 2).tolist() * 2
            rule = GivenRule(self.rule, vectors, options.rate)
            reward = life(rule, world, seeds, options.lifetime, options.a2c, self.device)
            score = reward[options.lifetime // 2 :].mean(0)
            ranks = torch.from_numpy((rankdata(score) - 1) / (options.agents - 1) - 0.5).float()
            found = torch.zeros_like(self.vector)
            found[self.trained] = -(ranks[:, None] * noise).mean(0) / options.deviation
            gradients.append(found)
            rewards.append(reward)
        self.descend(torch.stack(gradients).mean(0))
        return float(np.mean(rewards))


def life(
    optimizer: GivenRule,
    world: World,
    seeds: Sequence[int],
    updates: int,
    settings: A2CHyperparameters,
    device: str = "cpu",
) -> npt.NDArray[np.float64]:
    """The mean reward of a step [updates, N], of agents that begin and are trained by an optimizer."""
    training = A2CTraining(world, seeds, optimizer, settings, device)
    return np.stack([training.update() for _ in range(updates)])


def meta_training(options: MetaOptions, seed: int, device: str = "cpu") -> MetaTraining:
    """The meta-training that the options ask for."""
    kind = LossTraining if options.objective == "loss" else RewardTraining
    return kind(options, seed, device)
