"""Optimizers compared on the gridworlds: rates chosen on validation agents, rewards of test agents with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from ...baselines.optimizers.lookup import build_optimizer
from ...registry.collection.block import one_thread
from ...rl.gridworlds import WORLDS, A2CHyperparameters, A2CTraining
from ...utils.bootstrap import Float64, bounds, draw, expanded_tail
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, reason
from ...utils.fields import Document, Finite, Text
from ...utils.files import write_text
from ..intervals import Estimate
from .run import VALIDATION_SEED

TEST_SEED = 2_000_000
"""First seed of the test agents; validation agents have those from `VALIDATION_SEED` on."""
RESAMPLES, LEVEL = 9_999, 0.95
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Rates that are tried on validation agents."""


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


class GridworldResult(Document):
    """What agents of one gridworld came to with an optimizer at a rate."""

    world: Text
    method: Text
    """The optimizer with its settings but the rate."""
    meta_seed: int
    """Of a learned optimizer; 0 of others."""
    rate: Finite
    split: Literal["validation", "test"]
    scores: tuple[Finite, ...]
    """Mean reward of a step of each agent in the last sixth of its life."""
    lives: tuple[Finite, ...]
    """The same over the whole life."""


@dataclass(frozen=True)
class Method:
    """An optimizer to compare.

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


HAND_MADE = (
    Method("Adam", "adam", (("epsilon=1e-8",),), 1e-3),
    Method("RMSProp", "rmsprop", (("epsilon=1e-8", "decay=0.9"),), 1e-2),
)
"""As the source has them: optax's defaults; the rates are torch's."""


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
        self.results: dict[tuple[Any, ...], GridworldResult] = {}
        if path.exists():
            try:
                rows = TypeAdapter(list[GridworldResult]).validate_python(strict_json(path.read_text("utf-8")))
            except (OSError, ValueError) as error:
                raise ProtocolError(f"{path}: not the results of gridworlds ({reason(error)}).") from None
            self.results = {_place(row): row for row in rows}

    def result(
        self, world: str, method: Method, meta_seed: int, rate: float, split: Literal["validation", "test"]
    ) -> GridworldResult:
        """A result, run now if it is not there yet."""
        place = (world, method.label, meta_seed, rate, split)
        if place not in self.results:
            settings = (*method.settings[meta_seed], f"learning_rate={rate}")
            first = TEST_SEED if split == "test" else VALIDATION_SEED
            seeds = range(first, first + self.protocol.agents)
            rewards = evaluate(method.optimizer, settings, world, seeds, self.protocol)
            self.results[place] = GridworldResult(
                world=world,
                method=method.label,
                meta_seed=meta_seed,
                rate=rate,
                split=split,
                scores=tuple(rewards[-(len(rewards) // 6) :].mean(0).tolist()),
                lives=tuple(rewards.mean(0).tolist()),
            )
            self._keep()
        return self.results[place]

    def tuned(self, world: str, method: Method, rates: Sequence[float] = RATES) -> float:
        """The rate that is best on validation agents, of all meta-seeds together."""

        def score(rate: float) -> float:
            found = [self.result(world, method, seed, rate, "validation") for seed in range(len(method.settings))]
            return float(np.mean([one.scores for one in found]))

        return max(rates, key=score)

    def scores(self, world: str, method: Method, rate: float) -> Float64:
        """Test agents' scores [S, N] of each meta-seed."""
        found = [self.result(world, method, seed, rate, "test").scores for seed in range(len(method.settings))]
        return np.array(found)

    def _keep(self) -> None:
        rows = [one.model_dump_json() for _, one in sorted(self.results.items())]
        write_text(self.path, "[\n" + ",\n".join(rows) + "\n]\n")


def _place(row: GridworldResult) -> tuple[Any, ...]:
    return (row.world, row.method, row.meta_seed, row.rate, row.split)


def evaluate(
    optimizer: str, settings: Sequence[str], world: str, seeds: Sequence[int], protocol: GridworldProtocol
) -> Float64:
    """The mean reward of a step [updates, N] of agents trained by an optimizer."""
    with one_thread():
        built = build_optimizer(optimizer, (), settings)
        training = A2CTraining(WORLDS[world], seeds, built, A2CHyperparameters(environments=protocol.environments))
        return np.stack([training.update() for _ in range(protocol.updates)])


def estimate(values: Float64) -> Estimate:
    """The mean of values [S, N] with its interval: meta-seeds and agents are resampled, each level by itself."""
    seeds, agents = values.shape
    chosen = (draw(seeds, RESAMPLES, 1)[:, :, None], draw(agents, RESAMPLES, 2)[:, None, :])
    drawn = values[chosen].mean((1, 2))
    units, variances = [agents], [values.mean(0).var() / agents]
    if seeds > 1:
        units, variances = [*units, seeds], [*variances, values.mean(1).var() / seeds]
    low, high = bounds(drawn, expanded_tail(LEVEL, np.array(units), np.array(variances)))
    return Estimate(float(values.mean()), float(low), float(high))
