"""The contract of an optimizer, which turns PPO's gradients into new weights; and Adam, plain and fused.

Shapes: N trials, P parameters of a trial (the actor's, then the critic's). A minimal optimizer::

    from tipl_bench.rl import Optimizer


    class SGD(Optimizer):
        name = "sgd"

        def step(self, parameters, gradient, state, *, learning_rate, iteration, epoch, minibatch):
            return parameters.sub_(gradient, alpha=learning_rate)

The learning rate is the optimizer's own setting, its schedule is PPO's: at every iteration the training loop anneals
`Optimizer.learning_rate` and hands the result to each `step`. So is clipping: gradients arrive clipped by their norm.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.adam import adam

from .checkpoint import Checkpoint
from .policy import AgentLayout

State = dict[str, Tensor]
"""All that an optimizer remembers, as tensors by name: saved and restored with the run. Names, shapes and dtypes stay
as `init` made them; counters are tensors too."""


class Optimizer(ABC):
    """An update rule for N independent trials at once.

    The attributes describe it: `name`; `learning_rate`, its base rate before annealing; `history`, how many of the
    latest checkpoints `end_of_iteration` is given, None for all of them. Settings are best the fields of a frozen
    dataclass, and must be values that JSON has: a saved run is resumed only by an optimizer that `describe` gives the
    same description.

    A trial's update must not depend on the other trials. The methods are called without autograd, and may change
    `parameters` and `state` in place; they must not keep references to either.
    """

    name: ClassVar[str]
    learning_rate: float = 3e-4
    history: int | None = 0

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """Create the state before training; empty by default.

        Parameters
        ----------
        parameters
            Initial weights [N, P].
        layout
            The blocks of P (actor and critic) with the names and shapes of their tensors.
        seeds
            One seed for each trial, the only source of randomness.
        """
        return {}

    @abstractmethod
    def step(
        self,
        parameters: Tensor,
        gradient: Tensor,
        state: State,
        *,
        learning_rate: float,
        iteration: int,
        epoch: int,
        minibatch: int,
    ) -> Tensor:
        """Update the weights after a minibatch.

        Parameters
        ----------
        parameters, gradient
            Weights and the loss's gradient clipped by its norm, both [N, P].
        state
            What `init` made.
        learning_rate
            `self.learning_rate`, annealed for this iteration.
        iteration, epoch, minibatch
            Where in training this is: PPO iterations and epochs count from 1, minibatches of an epoch from 0.

        Returns
        -------
        Tensor
            The new weights [N, P]: `parameters` itself if changed in place.
        """

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """Change the weights between two PPO iterations (a jump, an outer step, an average); unchanged by default.

        Parameters
        ----------
        parameters, state
            As for `step`.
        trajectory
            The latest `history` checkpoints of the N trials, oldest first; the last one holds the actor's present
            weights if the iteration's last epoch has a checkpoint, as in every collection.
        """
        return parameters

    def evaluation_parameters(self, parameters: Tensor, state: State) -> Tensor:
        """Weights [N, P] to evaluate the policies with, where they are not those in training (an average, say)."""
        return parameters

    def describe(self) -> dict[str, Any]:
        """Name and settings, JSON-able: the attributes above, and a dataclass's fields or an instance's attributes."""
        settings = dataclasses.asdict(self) if dataclasses.is_dataclass(self) else vars(self)
        return {"name": self.name, "learning_rate": self.learning_rate, "history": self.history, **settings}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), in place, with torch's order of operations; defaults are CleanRL's."""

    name: ClassVar[str] = "adam"

    learning_rate: float = 3e-4
    epsilon: float = 1e-5
    first_decay: float = 0.9
    second_decay: float = 0.999

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `Optimizer.init`."""
        return {
            "first_moment": torch.zeros_like(parameters),
            "second_moment": torch.zeros_like(parameters),
            "updates": torch.zeros((), dtype=torch.int64),
        }

    def step(
        self,
        parameters: Tensor,
        gradient: Tensor,
        state: State,
        *,
        learning_rate: float,
        iteration: int,
        epoch: int,
        minibatch: int,
    ) -> Tensor:
        """See `Optimizer.step`."""
        first, second = state["first_moment"], state["second_moment"]
        updates = int(state["updates"].add_(1))
        first.lerp_(gradient, 1 - self.first_decay)
        second.mul_(self.second_decay).addcmul_(gradient, gradient, value=1 - self.second_decay)
        deviation = second.sqrt().div_(math.sqrt(1 - self.second_decay**updates)).add_(self.epsilon)
        return parameters.addcdiv_(first, deviation, value=-learning_rate / (1 - self.first_decay**updates))


@dataclass(frozen=True)
class FusedAdam(Adam):
    """Adam by torch's fused kernel: the same update up to rounding, in one pass over the memory of wide networks."""

    name: ClassVar[str] = "fused-adam"

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `Optimizer.init`."""
        return {**super().init(parameters, layout, seeds), "updates": torch.zeros(())}  # the kernel counts in float32

    def step(
        self,
        parameters: Tensor,
        gradient: Tensor,
        state: State,
        *,
        learning_rate: float,
        iteration: int,
        epoch: int,
        minibatch: int,
    ) -> Tensor:
        """See `Optimizer.step`."""
        adam(
            [parameters],
            [gradient],
            [state["first_moment"]],
            [state["second_moment"]],
            [],
            [state["updates"]],
            fused=True,
            amsgrad=False,
            beta1=self.first_decay,
            beta2=self.second_decay,
            lr=learning_rate,
            weight_decay=0.0,
            eps=self.epsilon,
            maximize=False,
        )
        return parameters
