"""Optimizers that are hand-written rules of the gradient, beside Adam: SGD, RMSProp, Adam-Rel, and Adam reset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ...rl import AgentLayout, Checkpoint, FusedAdam, Optimizer
from ...rl.optimizer import SETTINGS, State

Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=SETTINGS)
class SGD(Optimizer):
    """Stochastic gradient descent with heavy-ball momentum, as torch's: v = momentum v + g, and a step of -rate v."""

    name: ClassVar[str] = "sgd"
    summary: ClassVar[str] = "Stochastic gradient descent with momentum"

    learning_rate: Rate = 0.01
    momentum: Decay = 0.9

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        return {"velocity": torch.zeros_like(parameters)}

    def step(self, parameters: Tensor, gradient: Tensor, state: State, *, learning_rate: float, **place: int) -> Tensor:
        """See `Optimizer.step`."""
        velocity = state["velocity"].mul_(self.momentum).add_(gradient)
        return parameters.sub_(velocity, alpha=learning_rate)


@dataclass(frozen=True, config=SETTINGS)
class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton 2012), as torch's: the gradient over the root of its mean square, plus epsilon."""

    name: ClassVar[str] = "rmsprop"
    summary: ClassVar[str] = "The gradient over the root of its running mean square"

    learning_rate: Rate = 3e-4
    decay: Decay = 0.99
    epsilon: Rate = 1e-5

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        return {"mean_square": torch.zeros_like(parameters)}

    def step(self, parameters: Tensor, gradient: Tensor, state: State, *, learning_rate: float, **place: int) -> Tensor:
        """See `Optimizer.step`."""
        square = state["mean_square"].mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)
        return parameters.addcdiv_(gradient, square.sqrt().add_(self.epsilon), value=-learning_rate)


@dataclass(frozen=True, config=SETTINGS)
class AdamRel(FusedAdam):
    """Adam-Rel (Ellis et al. 2024, arXiv 2412.17113): Adam whose step count, not its moments, begins anew with a batch.

    PPO's loss changes with each batch; a count that begins anew makes the first steps on it small.
    """

    name: ClassVar[str] = "adam-rel"
    summary: ClassVar[str] = "Adam whose step count begins anew with each batch"

    def step(self, parameters: Tensor, gradient: Tensor, state: State, **place: Any) -> Tensor:
        """See `Optimizer.step`."""
        if (place["epoch"], place["minibatch"]) == (1, 0):
            state["updates"].zero_()
        return super().step(parameters, gradient, state, **place)


@dataclass(frozen=True, config=SETTINGS)
class AdamReset(FusedAdam):
    """Adam whose moments and count are set back to zero every few PPO iterations.

    The control of a jump that resets the moments: the reset without the jump.
    """

    name: ClassVar[str] = "adam-reset"
    summary: ClassVar[str] = "Adam whose moments are reset every few iterations"
    period: Annotated[int, Field(ge=1)] = 5
    """PPO iterations between two resets."""

    @property
    def history(self) -> int:  # type: ignore[override]
        """The last checkpoint, which states the iteration."""
        return 1

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        if trajectory[-1].iteration % self.period == 0:
            for tensor in state.values():
                tensor.zero_()
        return parameters
