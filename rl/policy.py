"""Parameter layouts: how a flat weight vector becomes a tanh policy, or an agent of actor and critic."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..utils.errors import DatasetError

if TYPE_CHECKING:
    from .environments import Environment

OBSERVATION_CLIP = 10.0
"""Where normalised observations are cut, in CleanRL as in Stable-Baselines3."""
GAUSSIAN, CATEGORICAL = DISTRIBUTIONS = ("gaussian", "categorical")
"""What an action is drawn from in training."""


class ParameterLayout(ABC):
    """Names and shapes of parameters, and where each lies in one flat vector of length P."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes in storage order."""

    @property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector."""
        slices, start = {}, 0
        for name, shape in self.shapes.items():
            slices[name] = slice(start, start + math.prod(shape))
            start += math.prod(shape)
        return slices

    @property
    def parameter_count(self) -> int:
        """P, the length of the flat vector."""
        return sum(math.prod(shape) for shape in self.shapes.values())


@dataclass(frozen=True)
class PolicyLayout(ParameterLayout):
    """Names and shapes of a policy's parameters in storage order: the actor's layers, then a Gaussian's log-std.

    A policy is an MLP with tanh hidden units. Its output is the mean of a Gaussian with a state-independent standard
    deviation (CleanRL's `ppo_continuous_action`), or for discrete actions the logits of a categorical distribution over
    them (CleanRL's `ppo`), which has no further parameters. Matrices are stored [out, in], as torch does.

    Parameters
    ----------
    observation_size, hidden_sizes, action_size
        Widths of the layers, input to output: A components of an action, or A actions to choose from.
    activation
        Of the hidden units.
    distribution
        "gaussian" or "categorical".
    observation_clip
        Where the policy cuts normalised observations; None if it does not.
    """

    observation_size: int
    hidden_sizes: tuple[int, ...]
    action_size: int
    activation: str = "tanh"
    distribution: str = GAUSSIAN
    observation_clip: float | None = OBSERVATION_CLIP

    def __post_init__(self) -> None:
        if self.distribution not in DISTRIBUTIONS:
            raise DatasetError(
                f"Unusable policy layout: unknown distribution of actions {self.distribution!r}; this version knows "
                f"{' and '.join(DISTRIBUTIONS)}."
            )
        if self.activation != "tanh" or not self.hidden_sizes or min(self.sizes) < 1:
            raise DatasetError(
                f"Unusable policy layout {self.sizes} with activation {self.activation!r}: "
                "this version knows tanh networks with at least one hidden layer and positive widths."
            )

    @classmethod
    def of(cls, environment: Environment, hidden_sizes: tuple[int, ...]) -> PolicyLayout:
        """The layout of an environment's policies: categorical where its actions are discrete, else Gaussian."""
        kind = CATEGORICAL if environment.discrete else GAUSSIAN
        return cls(environment.observation_size, hidden_sizes, environment.action_size, distribution=kind)

    @property
    def categorical(self) -> bool:
        """Whether a policy chooses one of A actions."""
        return self.distribution == CATEGORICAL

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of all layers, observation to action."""
        return (self.observation_size, *self.hidden_sizes, self.action_size)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes in storage order."""
        return {**_layer_shapes(self.sizes), **({} if self.categorical else {"log_std": (self.action_size,)})}

    @property
    def observation_bound(self) -> float:
        """The largest magnitude of an observation that the network sees; infinite if none is cut."""
        return math.inf if self.observation_clip is None else self.observation_clip

    def check(self, weights: npt.NDArray[Any], where: str) -> None:
        """Raise `DatasetError` unless the last axis of `weights` has length P."""
        if weights.ndim < 1 or weights.shape[-1] != self.parameter_count:
            raise DatasetError(
                f"{where}: weights of shape {list(weights.shape)} do not fit the layout {self.sizes}, "
                f"which has P = {self.parameter_count} parameters."
            )

    def as_kernel(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Copy weights [N, P] with every matrix transposed to [in, out], as `forward.mean_actions` reads them."""
        self.check(weights, "policy")
        kernel = np.array(weights, dtype=np.float32, order="C")
        for name, part in self.slices.items():
            if name.endswith(".weight"):
                outputs, inputs = self.shapes[name]
                matrix = weights[:, part].reshape(-1, outputs, inputs)
                kernel[:, part] = matrix.transpose(0, 2, 1).reshape(len(weights), -1)
        return kernel


@dataclass(frozen=True)
class AgentLayout(ParameterLayout):
    """Names and shapes of what PPO trains: a policy (the actor) and, after it, a critic with the same hidden sizes.

    Parameters
    ----------
    policy
        The actor's layout.
    """

    policy: PolicyLayout

    @property
    def critic_sizes(self) -> tuple[int, ...]:
        """Widths of the critic's layers, observation to value."""
        return (self.policy.observation_size, *self.policy.hidden_sizes, 1)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names (`actor.layer0.weight`, `critic.layer2.bias`) and shapes in storage order."""
        actor = {f"actor.{name}": shape for name, shape in self.policy.shapes.items()}
        critic = {f"critic.{name}": shape for name, shape in _layer_shapes(self.critic_sizes).items()}
        return {**actor, **critic}

    @property
    def blocks(self) -> dict[str, slice]:
        """Where `actor` and `critic` lie in the flat weight vector."""
        actor = self.policy.parameter_count
        return {"actor": slice(0, actor), "critic": slice(actor, self.parameter_count)}


def _layer_shapes(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an MLP's matrices and biases."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        shapes[f"layer{layer}.weight"] = (outputs, inputs)
        shapes[f"layer{layer}.bias"] = (outputs,)
    return shapes
