"""What a meta-training run is, and what came out of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from ...utils.fields import Count, Document, Finite, Seconds, Seed, Sha256, Text
from ..provenance import Provenance

LOG = Annotated[tuple[Finite, ...], Field(max_length=10_000_000)]


class MetaKey(Document):
    """What decides a meta-training run."""

    optimizer: Text
    """What is meta-trained."""
    version: Count
    """Its version."""
    options: dict[Text, Any]
    """How it is meta-trained."""
    seed: Seed
    """The meta-seed."""
    device: Text = "cpu"
    """The type of device that it is computed on: a GPU rounds otherwise."""


class Validation(Document):
    """The reward of a step, a mean over the second halves of the lives of each validation agent."""

    iteration: Count
    """Meta-iterations before it."""
    rewards: LOG
    """Of each agent, gridworld by gridworld."""

    @property
    def mean(self) -> float:
        """Over all agents."""
        return sum(self.rewards) / len(self.rewards)


class MetaRecord(Document):
    """A finished meta-training run."""

    format: Count
    """The format of these records."""
    key: MetaKey
    """What was run."""
    rewards: LOG
    """Mean reward of a step of the training agents, meta-iteration by meta-iteration."""
    validations: tuple[Validation, ...]
    """Of the meta-parameters as training began, and every so often; the best later ones are kept."""
    selected: Count
    """The meta-iteration whose meta-parameters are kept."""
    environment_steps: Count
    """Steps of all agents that trained, and of those that validated."""
    cpu_seconds: Seconds
    """CPU seconds."""
    artifacts: dict[Text, Sha256]
    """The sha256 of the meta-parameters."""
    provenance: Provenance
    """Where and with what it was made."""

    @model_validator(mode="after")
    def _complete(self) -> MetaRecord:
        known = {one.iteration for one in self.validations if one.rewards}
        if not {0, self.selected} <= known or not self.selected:
            raise ValueError("validations lacks the beginning, or the meta-iteration that is kept")
        return self

    def validation(self, iteration: int) -> Validation:
        """The measurement after so many meta-iterations."""
        return next(one for one in self.validations if one.iteration == iteration)
