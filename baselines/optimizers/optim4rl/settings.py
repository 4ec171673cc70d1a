"""How an update rule is meta-trained: options, and their values by budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ....rl.gridworlds import WORLDS, A2CHyperparameters, World
from ....rl.optimizer import SETTINGS
from ....utils.errors import UnknownNameError
from .rule import PRESETS, Rule

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
UNREAD = {"loss": ("deviation", "heads_alone"), "reward": ("unroll", "pipeline", "coordinates", "meta_clip")}
"""Options that an objective does not read."""


@dataclass(frozen=True, config=SETTINGS)
class MetaOptions:
    """How an update rule is meta-trained."""

    name: ClassVar[str] = "optim4rl"
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"iterations": 2, "agents": 4, "environments": 2, "lifetime": 8, "validate_every": 1, "probes": 2},
        "quick": {"iterations": 400},
        "standard": {"iterations": 4_000, "validate_every": 200},
        "paper": {
            "worlds": "+".join(sorted(WORLDS)),
            "agents": 512,
            "environments": 1,
            "coordinates": 1.0,
            "iterations": 3_000,
            "validate_every": 250,
        },
    }

    structure: Literal["2023", "2024"] = "2023"
    """The rule's structure: of the first published version, or of the later one."""
    processed: bool = True
    """Of 2023's structure: whether the GRUs read signs and logarithms of gradients, not the gradients themselves."""
    single: bool = False
    """Whether one GRU does the work of both."""
    normalised: bool = False
    """Whether each tensor's update is scaled to a root mean square of the rate."""
    worlds: str = "small_dense_long"
    """Gridworlds to train in, joined by +."""
    agents: Positive = 64
    """Agents in each."""
    environments: Positive = 16
    """Copies of the gridworld that each agent acts in."""
    rate: Rate = 0.03
    """Rate of the rule's updates; the source has 0.03 in small_dense_long."""
    lifetime: Positive = 288
    """Updates after which an agent begins anew."""
    objective: Literal["loss", "reward"] = "loss"
    """What the rule is trained for: the agents' loss a few updates on, by its gradient, or their reward over whole
    lives, by an evolution strategy."""
    iterations: Positive = 400
    """Meta-iterations."""
    validate_every: Positive = 50
    """Meta-iterations between two measurements of reward on validation agents; the best meta-parameters are kept."""
    probes: Annotated[int, Field(ge=2)] = 16
    """Validation agents in each gridworld."""
    unroll: Positive = 4
    """Of `loss`: updates that a meta-gradient goes back through."""
    pipeline: bool = True
    """Of `loss`: whether agents begin anew, one after another, so that there are some of all ages; otherwise never."""
    coordinates: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of `loss`: share of the coordinates, drawn at random, on which the meta-gradient is estimated."""
    meta_rate: Rate = 3e-3
    """Adam's rate for the meta-parameters."""
    meta_clip: Rate = 0.5
    """Of `loss`: norm that a gridworld's meta-gradient is cut to."""
    deviation: Rate = 0.1
    """Of `reward`: standard deviation of the perturbed meta-parameters."""
    heads_alone: bool = True
    """Of `reward`: whether only the heads' last layers are trained, so that the GRUs stay as they began."""

    def __post_init__(self) -> None:
        if self.objective == "reward" and self.agents % 2:
            raise ValueError(f"option agents: must be even, as they are perturbed in pairs; got {self.agents}.")
        if self.structure != "2023" and not self.processed:
            raise ValueError("option processed: is of structure 2023; that of 2024 reads gradients as they are anyway.")
        for field in dataclasses.fields(self):
            # A budget's value may stand, as it was not asked for.
            usual = [field.default, *(values.get(field.name) for values in self.budgets.values())]
            if field.name in UNREAD[self.objective] and getattr(self, field.name) not in usual:
                raise ValueError(f"option {field.name}: objective {self.objective} does not read it; leave it out.")
        _ = self.gridworlds

    @property
    def rule(self) -> Rule:
        """The structure."""
        published = PRESETS[self.structure]
        processed = published.processed and self.processed
        return dataclasses.replace(published, processed=processed, single=self.single, normalised=self.normalised)

    @property
    def gridworlds(self) -> tuple[World, ...]:
        """The gridworlds; raises `UnknownNameError`."""
        names = self.worlds.split("+")
        for name in names:
            if name not in WORLDS:
                raise UnknownNameError("gridworld", name, WORLDS)
        return tuple(WORLDS[name] for name in names)

    @property
    def a2c(self) -> A2CHyperparameters:
        """A2C's settings."""
        return A2CHyperparameters(environments=self.environments)
