"""What a jump's predictor is fitted on and how it jumps on the tuning trials, and what came out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...registry.collection_config import CollectionConfig, CollectionMethod
from ...utils.fields import Count, Document, Seconds, Seed, Sha256, Slug, Text
from ..intervals import Estimate
from ..provenance import Provenance
from ..record import DatasetIdentity
from ..training.protocol import MAX_CONFIGURATIONS, TrainingProtocol

JUMP = "jump"
Settings = Annotated[tuple[Text, ...], Field(max_length=100)]


class JumpFitKey(Document):
    """What decides a fit: two fits of one key give the same numbers."""

    protocol: TrainingProtocol
    """Of the training track, on one environment."""
    optimizer: Slug
    """What makes the steps."""
    outer: Annotated[tuple[Slug, ...], Field(max_length=10)]
    """Outer rules in the order in which they act, the jump among them."""
    settings: Settings
    """Those of the optimizer and of the other rules, as `train` takes them."""
    dataset: Text
    """The name of the dataset that is fitted on."""
    collection: CollectionConfig | None
    """What is collected under that name; none if it is a catalogued dataset."""
    predictor: Slug
    """What is fitted."""
    budget: Slug
    """How long."""
    options: Settings
    """The predictor's options."""
    seed: Seed
    """The predictor's seed."""
    jumps: Annotated[tuple[Settings, ...], Field(min_length=1, max_length=MAX_CONFIGURATIONS)]
    """The settings of the jump that the tuning trials decide between."""

    @property
    def plain_outer(self) -> tuple[str, ...]:
        """The outer rules without the jump."""
        return tuple(rule for rule in self.outer if rule != JUMP)

    @property
    def method(self) -> CollectionMethod:
        """The method that the jump rides on."""
        return CollectionMethod(optimizer=self.optimizer, outer=self.plain_outer, settings=self.settings)

    def difference(self, other: JumpFitKey) -> str | None:
        """Which fields are not those of another key, in words; None if all are."""
        fields = [name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)]
        return f"a fit with other {', '.join(fields)}" if fields else None


class Tuned(Document):
    """A training of the tuning trials."""

    settings: Settings
    """The settings of the jump; none without jumps."""
    folder: Text
    """Its run folder, in the folder of the fit."""
    auc: Estimate
    """Its AUC, by which settings are chosen."""
    gain: Estimate | None = None
    """What it has more than without jumps, paired by trial."""


class JumpFitRecord(Document):
    """A finished fit."""

    format: Literal[1]
    """The format of these records."""
    key: JumpFitKey
    """What was asked for."""
    dataset: DatasetIdentity
    """Which bytes were fitted on."""
    trained_with: Text
    """The method that trained them."""
    fitted_trials: Count
    """Its training trials."""
    collected_steps: Count
    """Environment steps of all its trials: the cost of the meta-training."""
    fit_seconds: Seconds
    """Seconds of fitting."""
    tuning_steps: Count
    """Environment steps of the tuning trials, of all trainings together."""
    plain: Tuned
    """Without jumps."""
    tuned: Annotated[tuple[Tuned, ...], Field(min_length=1, max_length=MAX_CONFIGURATIONS)]
    """With jumps, a training for each configuration."""
    kept: Count
    """Which of them has the highest AUC; the first such."""
    artifacts: dict[Text, Sha256]
    """The sha256 of the fitted state, `predictor`."""
    provenance: Provenance
    """Where and with what it was made."""

    @model_validator(mode="after")
    def _consistent(self) -> JumpFitRecord:
        if tuple(one.settings for one in self.tuned) != self.key.jumps:
            raise ValueError("tuned has other configurations than key.jumps")
        if self.kept != best_of(self.tuned):
            raise ValueError("kept is not the configuration with the highest AUC")
        if "predictor" not in self.artifacts:
            raise ValueError("artifacts.predictor is missing")
        return self

    @property
    def best(self) -> Tuned:
        """The configuration that is kept."""
        return self.tuned[self.kept]


def best_of(tuned: tuple[Tuned, ...]) -> int:
    """Which configuration has the highest AUC; the first such."""
    return max(range(len(tuned)), key=lambda one: (tuned[one].auc.value or 0.0, -one))
