"""Outer-PPO: what an iteration changed is taken as a gradient, and a longer step made along it."""

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
class OuterStep(OuterRule):
    """Outer-PPO (Tan et al. 2024, arXiv 2411.00666), of actor and critic.

    The weights of the next iteration are those of this one's beginning plus `scale` times what its epochs changed. A
    scale of 1 is plain PPO.
    """

    name: ClassVar[str] = "outer-step"
    summary: ClassVar[str] = "Outer-PPO: scale what an iteration changed"

    scale: Annotated[float, Field(gt=0)] = 2.0
    """The outer learning rate."""

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        return {"start": parameters.clone()}

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        # From the end, not from the start: nothing is then added where the scale is 1.
        return parameters.add(parameters - state["start"], alpha=self.scale - 1)

    def start_of_iteration(self, parameters: Tensor, state: State) -> None:
        """See `OuterRule.start_of_iteration`: what later rules did, a jump say, is no change of the epochs."""
        state["start"].copy_(parameters)


@dataclass(frozen=True, config=SETTINGS)
class OuterNesterov(OuterRule):
    """Outer-PPO with Nesterov's momentum, of the same source.

    With g what the iteration's epochs changed and v = momentum v + g, the weights of the next iteration are those of
    this one's beginning plus scale (g + momentum v).
    """

    name: ClassVar[str] = "outer-nesterov"
    summary: ClassVar[str] = "Outer-PPO with Nesterov's momentum"

    scale: Annotated[float, Field(gt=0)] = 1.0
    """The outer learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """What is left of the velocity after each iteration."""

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        return {"start": parameters.clone(), "velocity": torch.zeros_like(parameters)}

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        change = parameters - state["start"]
        velocity = state["velocity"].mul_(self.momentum).add_(change)
        return parameters.add(change, alpha=self.scale - 1).add_(velocity, alpha=self.scale * self.momentum)

    def start_of_iteration(self, parameters: Tensor, state: State) -> None:
        """See `OuterRule.start_of_iteration`."""
        state["start"].copy_(parameters)
