"""Optim4RL inside PPO: the update rule as an optimizer of the training track."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ....rl import AgentLayout, Optimizer
from ....rl.optimizer import SETTINGS, State
from ....utils.files import sha256
from .parameters import MetaParameters, parameters_file
from .rule import Rule, scales
from .settings import MetaOptions

CLIP = 1.0
"""Elements of gradients are cut to [-CLIP, CLIP] before the rule reads them, as in the source."""


class GivenRule(Optimizer):
    """An update rule with meta-parameters in memory.

    Parameters
    ----------
    rule
        Its structure.
    vector
        Meta-parameters [L], or of a rule for each trial [N, L].
    learning_rate
        The rate.
    """

    name: ClassVar[str] = "given-rule"
    clips_gradients = True

    def __init__(self, rule: Rule, vector: Tensor, learning_rate: float) -> None:
        self.rule, self.vector, self.learning_rate = rule, vector, learning_rate
        self._tensors: list[slice] = []

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        self._tensors = [*layout.slices.values()]
        self.vector = self.vector.to(parameters.device)
        return {"hidden": parameters.new_zeros(*parameters.shape, self.rule.hidden_size)}

    def step(self, parameters: Tensor, gradient: Tensor, state: State, *, learning_rate: float, **place: Any) -> Tensor:
        """See `Optimizer.step`."""
        update = self.rule.advance(self.vector, gradient.clamp(-CLIP, CLIP), state["hidden"])
        if self.rule.normalised:
            update *= scales(update, self._tensors)
        return parameters.sub_(update, alpha=learning_rate)


@dataclass(frozen=True, config=SETTINGS)
class Optim4RL(Optimizer):
    """Optim4RL (Lan et al. 2023, arXiv 2302.01470): an update rule of two GRUs, meta-trained on gridworlds.

    Coordinate by coordinate the rule reads the gradient, cut to [-1, 1] instead of clipped by its norm, and gives the
    update; see `optim4rl.rule.Rule`. The rate is PPO's, annealed; it was 3e-4 in most of the source's tasks.
    """

    name: ClassVar[str] = "optim4rl"
    summary: ClassVar[str] = "Optim4RL, a learned optimizer, meta-trained on gridworlds"
    rests_on: ClassVar[str] = "meta-trained on gridworlds"
    meta_options: ClassVar[type[MetaOptions]] = MetaOptions
    clips_gradients = True

    weights: str
    """Meta-parameters: the name of those that ship with the package, or a file of `optimizers train`."""
    trained: bool = True
    """Whether they are taken as meta-training left them, or, for comparison, as it began."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4

    @property
    def file(self) -> Path:
        """The file of the meta-parameters; raises `OptionError` if there is none."""
        return parameters_file(self.weights)

    @cached_property
    def given(self) -> GivenRule:
        """The rule; raises `OptionError` for a file that does not hold one."""
        known = MetaParameters.read(self.file)
        return GivenRule(known.rule, known.trained if self.trained else known.initial, self.learning_rate)

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        return self.given.init(parameters, layout, seeds)

    def step(self, parameters: Tensor, gradient: Tensor, state: State, **place: Any) -> Tensor:
        """See `Optimizer.step`."""
        return self.given.step(parameters, gradient, state, **place)

    def describe(self) -> dict[str, Any]:
        """See `OuterRule.describe`; the meta-parameters are described by their bytes, wherever they are."""
        return {**super().describe(), "weights": sha256(self.file)}
