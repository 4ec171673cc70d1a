"""Optimizers compared on the gridworlds: rates chosen on validation agents, rewards of test agents with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter

from ...baselines.optimizers.lookup import build_optimizer
from ...registry.collection.block import one_thread
from ...rl.gridworlds import WORLDS, A2CHyperparameters, A2CTraining
from ...utils.bootstrap import Float64
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, UnknownNameError, reason
from ...utils.fields import Count, Document, Finite, Sha256, Text
from ...utils.files import write_text

RATE_SEED, TEST_SEED = 1_500_000, 2_000_000
"""First seeds of the agents that rates are chosen by, and of the test agents; neither are those by which meta-training
chooses."""
Split = Literal["rate", "test"]
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Rates that are tried."""
FURTHER = (3e-1, 1.0)
"""Rates that are tried one after the other as long as the highest one is the best."""


@dataclass(frozen=True)
class GridworldProtocol:
    """How long agents live when optimizers are compared.

    Parameters
    ----------
    updates
        Updates of a life; the score is the mean reward of a step in its last sixth.
    environments
        Copies of the gridworld that each agent acts in.
    agents
        Agents, each with a seed of its own.
    """

    updates: int = 288
    environments: int = 16
    agents: int = 20

    def __post_init__(self) -> None:
        if self.agents < 2 or self.updates < 6:
            raise ValueError("agents must be two at least, and updates six")


class GridworldResult(Document):
    """What agents of one gridworld came to with an optimizer at a rate."""

    world: Text
    optimizer: Text
    settings: tuple[Text, ...]
    """Its settings, with the rate."""
    state: Sha256 | None
    """The sha256 of its meta-parameters, if it has any."""
    updates: Count
    environments: Count
    """Of the protocol."""
    split: Split
    scores: tuple[Finite, ...]
    """Mean reward of a step of each agent in the last sixth of its life."""
    lives: tuple[Finite, ...]
    """The same over the whole life."""


@dataclass(frozen=True)
class Method:
    """An optimizer to compare, with each of its meta-seeds.

    Parameters
    ----------
    label
        What the tables call it.
    optimizer
        Its name.
    settings
        Its settings but the rate, a tuple for each meta-seed.
    default
        The rate of its default; of a learned one, the one that it was meta-trained at.
    """

    label: str
    optimizer: str
    settings: tuple[tuple[str, ...], ...]
    default: float
    states: tuple[str | None, ...] = (None,)
    """The sha256 of the meta-parameters of each meta-seed."""


HAND_MADE = (
    Method("Adam", "adam", (("epsilon=1e-8",),), 1e-3),
    Method("RMSProp", "rmsprop", (("epsilon=1e-8", "decay=0.9"),), 1e-2),
)
"""With the epsilons and decays of optax; the default rates, and where RMSProp has its epsilon, are torch's."""


class Study:
    """Results by what was run, kept in a file.

    Parameters
    ----------
    path
        The file.
    protocol
        Lives of the agents.
    """

    def __init__(self, path: Path, protocol: GridworldProtocol) -> None:
        self.path, self.protocol = path, protocol
        self.results = self._read()

    def _read(self) -> dict[tuple[Any, ...], GridworldResult]:
        if not self.path.exists():
            return {}
        try:
            rows = TypeAdapter(list[GridworldResult]).validate_python(strict_json(self.path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ProtocolError(f"{self.path}: not the results of gridworlds ({reason(error)}).") from None
        return {_place(row): row for row in rows}

    def known(self, world: str, method: Method, seed: int, rate: float, split: Split) -> GridworldResult | None:
        """A result if it is there: of the same settings, meta-parameters and protocol."""
        return self.results.get(self._wanted(world, method, seed, rate, split))

    def _wanted(self, world: str, method: Method, seed: int, rate: float, split: Split) -> tuple[Any, ...]:
        settings = (*method.settings[seed], f"learning_rate={rate}")
        protocol = self.protocol
        return (
            world, method.optimizer, settings, method.states[seed], protocol.updates, protocol.environments,
            protocol.agents, split,
        )  # fmt: skip

    def result(self, world: str, method: Method, seed: int, rate: float, split: Split) -> GridworldResult:
        """A result, run now if it is not there yet."""
        if found := self.known(world, method, seed, rate, split):
            return found
        if world not in WORLDS:
            raise UnknownNameError("gridworld", world, WORLDS)
        settings = (*method.settings[seed], f"learning_rate={rate}")
        first = TEST_SEED if split == "test" else RATE_SEED
        rewards = evaluate(method.optimizer, settings, world, range(first, first + self.protocol.agents), self.protocol)
        made = GridworldResult(
            world=world,
            optimizer=method.optimizer,
            settings=settings,
            state=method.states[seed],
            updates=self.protocol.updates,
            environments=self.protocol.environments,
            split=split,
            scores=tuple(rewards[-(len(rewards) // 6) :].mean(0).tolist()),
            lives=tuple(rewards.mean(0).tolist()),
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):  # another process may have added results
            self.results = {**self._read(), **self.results, _place(made): made}
            rows = [self.results[place].model_dump_json() for place in sorted(self.results, key=str)]
            write_text(self.path, "[\n" + ",\n".join(rows) + "\n]\n")
        return made

    def tuned(self, world: str, method: Method, rates: Sequence[float] = RATES) -> float:
        """The rate that is best on agents that are not the test's, of all meta-seeds together."""
        return self._best(world, method, rates, self.result)

    def _best(self, world: str, method: Method, rates: Sequence[float], find: Callable[..., GridworldResult]) -> float:
        """The best rate by the results that `find` gives, the further ones included as long as the highest is best."""
        tried, scores = [*rates], dict[float, float]()
        for further in (*FURTHER, None):
            for rate in tried:
                found = [find(world, method, seed, rate, "rate").scores for seed in range(len(method.settings))]
                scores[rate] = float(np.mean(found))
            best = max(scores, key=scores.__getitem__)
            if best < max(scores) or further is None:
                break
            tried = [further]
        return best

    def scores(self, world: str, method: Method, rate: float) -> Float64:
        """Test agents' scores [S, N] of each meta-seed."""
        found = [self.result(world, method, seed, rate, "test").scores for seed in range(len(method.settings))]
        return np.array(found)

    def is_complete(self, world: str, method: Method) -> bool:
        """Whether all that a table shows of a method is there, so that nothing needs to be run."""
        try:
            best = self._best(world, method, RATES, lambda *place: self.results[self._wanted(*place)])
        except KeyError:
            return False
        return all(
            self.known(world, method, seed, rate, "test")
            for seed in range(len(method.settings))
            for rate in (method.default, best)
        )


def _place(row: GridworldResult) -> tuple[Any, ...]:
    return (
        row.world, row.optimizer, row.settings, row.state, row.updates, row.environments, len(row.scores), row.split
    )  # fmt: skip


def evaluate(
    optimizer: str, settings: Sequence[str], world: str, seeds: Sequence[int], protocol: GridworldProtocol
) -> Float64:
    """The mean reward of a step [updates, N] of agents trained by an optimizer."""
    with one_thread():
        built = build_optimizer(optimizer, (), settings)
        training = A2CTraining(WORLDS[world], seeds, built, A2CHyperparameters(environments=protocol.environments))
        return np.stack([training.update() for _ in range(protocol.updates)])
