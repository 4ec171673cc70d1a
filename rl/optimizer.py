"""The contract of what acts inside PPO: an optimizer, which turns gradients into new weights, and outer rules.

Shapes: N trials, P parameters of a trial (the actor's, then the critic's). A minimal optimizer, whose settings are the
fields of a frozen pydantic dataclass::

    from typing import ClassVar

    from pydantic.dataclasses import dataclass
    from tipl_bench import Optimizer


    @dataclass(frozen=True)
    class SGD(Optimizer):
        name: ClassVar[str] = "my-sgd"

        learning_rate: float = 1e-2

        def step(self, parameters, gradient, state, *, learning_rate, iteration, epoch, minibatch):
            return parameters.sub_(gradient, alpha=learning_rate)

The learning rate is the optimizer's own setting, its schedule is PPO's: at every iteration the training loop anneals
`Optimizer.learning_rate` and hands the result to each `step`. Gradients arrive clipped by their norm, unless the
optimizer `clips_gradients` itself. What acts only between iterations, such as an outer step or a jump, is an
`OuterRule`; `Composed` is an optimizer with outer rules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.optim.adam import adam

from .checkpoint import Checkpoint
from .policy import AgentLayout

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""How the settings of an optimizer are validated, as the fields of a frozen `pydantic.dataclasses.dataclass`."""
State = dict[str, Tensor]
"""All that an optimizer remembers, as tensors by name: saved and restored with the run. Names, shapes and dtypes stay
as `init` made them; counters are tensors too."""


@dataclasses.dataclass(frozen=True)
class IterationSteps:
    """What weights can be judged by at the end of a PPO iteration, at the cost of no environment step.

    Parameters
    ----------
    parameters
        Weights [N, P] as the iteration's epochs left them, before any outer rule.
    objective
        PPO's clipped objective [N] of any weights [N, P], as the mean over the iteration's steps with their advantages
        normalised; 0 for the weights that took the steps, and the higher the better.
    """

    parameters: Tensor
    objective: Callable[[Tensor], Tensor]


class OuterRule:
    """What acts on N independent trials between PPO iterations: an outer step, a jump, an average.

    The attributes describe it: `name`; `version`, raised when what it does changes; `summary`, one line; `history`, how
    many of the latest checkpoints `end_of_iteration` is given, None for all of them; `wants_steps`, whether it is given
    the `IterationSteps` as `steps` as well; `rests_on`, what the parameters of
    its own were trained on, if it has a file of them as its setting `weights`. Settings are best the fields of a
    frozen dataclass, and must be values that JSON has: a saved run is resumed only by a rule that `describe` gives the
    same description.

    What is done to a trial must not depend on the other trials. The methods are called without autograd, and may change
    `parameters` and `state` in place; they must not keep references to either.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str] = ""
    rests_on: ClassVar[str] = "pretrained elsewhere"
    history: int | None = 0
    wants_steps: bool = False

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

        Returns
        -------
        dict
            Tensors by name, on the device of `parameters`.
        """
        return {}

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """Change the weights between two PPO iterations (a jump, an outer step, an average); unchanged by default.

        Parameters
        ----------
        parameters
            Weights [N, P].
        state
            What `init` made.
        trajectory
            The latest `history` checkpoints of the N trials, oldest first; the last one holds the actor's present
            weights if the iteration's last epoch has a checkpoint, as in every collection. That of an earlier
            iteration's last epoch holds the weights that were left then, by outer rules too.

        Returns
        -------
        Tensor
            The new weights [N, P]: `parameters` itself if changed in place.
        """
        return parameters

    def start_of_iteration(self, parameters: Tensor, state: State) -> None:
        """Take note of the weights that the next PPO iteration begins with, after all rules have changed them.

        Those of the first iteration are what `init` is given.

        Parameters
        ----------
        parameters
            Weights [N, P], not to be changed here.
        state
            What `init` made.
        """

    def evaluation_parameters(self, parameters: Tensor, state: State) -> Tensor:
        """Weights to evaluate the policies with, where they are not those in training (an average, say).

        Parameters
        ----------
        parameters
            Weights [N, P] in training.
        state
            What `init` made.

        Returns
        -------
        Tensor
            Weights [N, P].
        """
        return parameters

    def describe(self) -> dict[str, Any]:
        """Describe the rule, for the record.

        Returns
        -------
        dict
            Name, history and settings (a dataclass's fields, or an instance's attributes), as JSON has them.
        """
        settings = dataclasses.asdict(self) if dataclasses.is_dataclass(self) else vars(self)
        return {"name": self.name, "history": self.history, **settings}


class Optimizer(OuterRule, ABC):
    """An update rule for N independent trials at once; its hooks between iterations are those of an `OuterRule`.

    Further attributes: `learning_rate`, its base rate before annealing; `clips_gradients`, whether it is given the
    gradients as they are, to clip them itself; `wants_activations`, whether `step` is given `activations` as well: the
    mean absolute outputs [N, units] of each layer on the minibatch, the actor's layers and then the critic's.

    Examples
    --------
    >>> from pydantic.dataclasses import dataclass
    >>> from tipl_bench import Optimizer
    >>> @dataclass(frozen=True)
    ... class SGD(Optimizer):
    ...     name = "my-sgd"
    ...     learning_rate: float = 1e-2
    ...
    ...     def step(self, parameters, gradient, state, *, learning_rate, iteration, epoch, minibatch):
    ...         return parameters.sub_(gradient, alpha=learning_rate)
    >>> SGD(learning_rate=0.1).describe()
    {'learning_rate': 0.1, 'name': 'my-sgd', 'history': 0}
    """

    learning_rate: float = 3e-4
    clips_gradients: bool = False
    wants_activations: bool = False

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
            Weights and the loss's gradient, both [N, P]; clipped by its norm unless `clips_gradients`.
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

    def describe(self) -> dict[str, Any]:
        """Describe the optimizer, for the record.

        Returns
        -------
        dict
            As of an outer rule, with the learning rate.
        """
        return {"learning_rate": self.learning_rate, **super().describe()}


def checked(part: OuterRule, hook: str, updated: object, parameters: Tensor) -> Tensor:
    """The weights that a hook returned; raises `ValueError` unless they are of the shape of those that it was given."""
    if isinstance(updated, Tensor) and updated.shape == parameters.shape:
        return updated
    found = f"weights of shape {list(updated.shape)}" if isinstance(updated, Tensor) else type(updated).__name__
    raise ValueError(f"`{hook}` of {part.name} returned {found}, not weights of shape {list(parameters.shape)}")


class Composed(Optimizer):
    """An optimizer, and outer rules that act one after another at the end of each iteration.

    Parameters
    ----------
    optimizer
        Makes the steps; its own hooks between iterations come first.
    rules
        Each is given the weights that the one before it left, in the trajectory as well.
    """

    name: ClassVar[str] = "composed"

    def __init__(self, optimizer: Optimizer, rules: Sequence[OuterRule]) -> None:
        self.optimizer, self.parts = optimizer, (optimizer, *rules)
        lengths = [part.history for part in self.parts]
        self.history = None if None in lengths else max(length or 0 for length in lengths)
        self.learning_rate = optimizer.learning_rate
        self.clips_gradients = optimizer.clips_gradients
        self.wants_activations = optimizer.wants_activations
        self.wants_steps = any(part.wants_steps for part in self.parts)

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        states = [part.init(parameters, layout, seeds) for part in self.parts]
        return {f"{place}.{name}": tensor for place, state in enumerate(states) for name, tensor in state.items()}

    def step(self, parameters: Tensor, gradient: Tensor, state: State, **place: Any) -> Tensor:
        """See `Optimizer.step`."""
        with _part_of(state, 0) as own:
            return checked(self.optimizer, "step", self.optimizer.step(parameters, gradient, own, **place), parameters)

    def end_of_iteration(
        self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint], **beside: Any
    ) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        for place, part in enumerate(self.parts):
            known = trajectory if part.history is None else trajectory[max(0, len(trajectory) - part.history) :]
            with _part_of(state, place) as own:
                updated = part.end_of_iteration(parameters, own, known, **(beside if part.wants_steps else {}))
            parameters = checked(part, "end_of_iteration", updated, parameters)
            if trajectory:
                trajectory = (*trajectory[:-1], trajectory[-1].with_weights(parameters))
        return parameters

    def start_of_iteration(self, parameters: Tensor, state: State) -> None:
        """See `OuterRule.start_of_iteration`."""
        for place, part in enumerate(self.parts):
            with _part_of(state, place) as own:
                part.start_of_iteration(parameters, own)

    def evaluation_parameters(self, parameters: Tensor, state: State) -> Tensor:
        """See `OuterRule.evaluation_parameters`."""
        for place, part in enumerate(self.parts):
            with _part_of(state, place) as own:
                parameters = checked(
                    part, "evaluation_parameters", part.evaluation_parameters(parameters, own), parameters
                )
        return parameters

    def describe(self) -> dict[str, Any]:
        """The description of each part."""
        return {"name": self.name, "parts": [part.describe() for part in self.parts]}


@contextlib.contextmanager
def _part_of(state: State, place: int) -> Iterator[State]:
    """One part's state, by its own names; what it replaces there is replaced in the whole."""
    prefix = f"{place}."
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    yield own
    state.update({f"{prefix}{name}": tensor for name, tensor in own.items()})


@dataclass(frozen=True, config=SETTINGS)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), in place, with torch's order of operations; defaults are CleanRL's."""

    name: ClassVar[str] = "adam"
    summary: ClassVar[str] = "Adam, at CleanRL's published settings by default"

    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    epsilon: Annotated[float, Field(gt=0)] = 1e-5
    first_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    second_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999

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


@dataclass(frozen=True, config=SETTINGS)
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
