"""Averages of a trial's weights over PPO iterations, which are evaluated in their place; training goes on without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ...rl import AgentLayout, Checkpoint, OuterRule
from ...rl.optimizer import SETTINGS, State


@dataclass(frozen=True, config=SETTINGS)
class EMA(OuterRule):
    """Exponential moving average of the weights at the ends of iterations; a decay of 0 averages nothing."""

    name: ClassVar[str] = "ema"
    summary: ClassVar[str] = "Evaluate an exponential moving average of the weights"

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """What is left of the average after each iteration."""

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        return {"average": parameters.clone()}

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        # The weights first, whose factor is then exactly 1 without decay; torch's `lerp` would not promise that.
        state["average"].mul_(self.decay).add_(parameters, alpha=1 - self.decay)
        return parameters

    def evaluation_parameters(self, parameters: Tensor, state: State) -> Tensor:
        """See `OuterRule.evaluation_parameters`."""
        return state["average"]


@dataclass(frozen=True, config=SETTINGS)
class LAWA(OuterRule):
    """Latest weight averaging (Kaddour 2022): the mean of the weights at the ends of the last iterations."""

    name: ClassVar[str] = "lawa"
    summary: ClassVar[str] = "Evaluate the mean of the latest weights"

    count: Annotated[int, Field(ge=1, le=100)] = 3
    """How many iterations are averaged; fewer at first."""

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        latest = parameters[:, None].repeat(1, self.count, 1)
        return {"latest": latest, "known": torch.zeros((), dtype=torch.int64)}

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        known = int(state["known"].add_(1))
        state["latest"][:, (known - 1) % self.count] = parameters
        return parameters

    def evaluation_parameters(self, parameters: Tensor, state: State) -> Tensor:
        """See `OuterRule.evaluation_parameters`."""
        return state["latest"][:, : max(1, min(int(state["known"]), self.count))].mean(1)
