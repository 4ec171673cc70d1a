"""Where a dataset's trials come from: a collection's configuration, or what is stated of imported ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from ..rl import PPOHyperparameters, TrainingConfig
from ..rl.policy import OBSERVATION_CLIP
from ..utils.errors import DatasetError
from ..utils.fields import Text

if TYPE_CHECKING:
    from ..rl import Adam


class CollectionMethod(BaseModel):
    """What turns gradients into weights, where that is not Adam at its published rate; see the training track."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: str = "adam"
    """An optimizer of the training track."""
    outer: tuple[str, ...] = ()
    """Outer rules that act between iterations, in their order."""
    settings: tuple[str, ...] = ()
    """`name=value` of the optimizer, `rule.name=value` of an outer rule."""

    @property
    def label(self) -> str:
        """The method with its settings, as a line of text."""
        return " ".join((" + ".join((self.optimizer, *self.outer)), *self.settings))


class CollectionConfig(BaseModel):
    """One collection: an environment, a network, an algorithm's settings, how long and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    """Gymnasium environment id."""
    hidden_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """Hidden widths of actor and critic."""
    environment_steps: int = Field(ge=1)
    """Steps of each trial; whole PPO iterations are taken, the remainder dropped, as in CleanRL."""
    trials: int = Field(ge=1)
    """Number of trials; trial i has seed `first_seed + i`."""
    first_seed: int = Field(1, ge=0)
    checkpoint_every_epochs: int = Field(2, ge=1)
    """A checkpoint every so many update epochs. 2 gives the paper's roughly 2k and 5k policies a trial; the paper does
    not say how its count came about, and this is our reading."""
    algorithm: Literal["ppo"] = "ppo"
    hyperparameters: PPOHyperparameters = PPOHyperparameters()
    version: Literal[1, 2, 3] = 1
    """How the numbers are computed. 1: blocks of up to 64 trials, on all threads of the process. 2: blocks that a
    processor's cache holds, each on one thread, with a fused Adam; faster, and the same whatever the number of threads.
    3: as 2, with instructions that all x86-64 processors have; the same bytes on every one with AVX2 and FMA, which the
    C library uses. Documents of version 1 do not name it, so that published digests stay."""
    method: CollectionMethod | None = None
    """The method that trains, from version 3 on; Adam at the published rate if there is none, and then unnamed."""
    iterations_trained: int | None = Field(None, ge=1)
    """PPO iterations after which training ends, before its schedule does; all if it is not named."""

    @model_validator(mode="after")
    def _consistent(self) -> CollectionConfig:
        whole = self.training.iterations  # raises ValueError for numbers that do not fit together
        if self.iterations_trained is not None and self.iterations_trained > whole:
            raise ValueError(f"iterations_trained is {self.iterations_trained}, and the steps make {whole} iterations")
        if self.method and not self.any_processor:
            raise ValueError("a method needs version 3")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later are named only where they say something: published digests stay."""
        fields: dict[str, Any] = serialize(self)
        later = {"version": 1, "method": None, "iterations_trained": None}
        for name in later:
            if getattr(self, name) == later[name]:
                fields.pop(name, None)
        return fields

    def adam(self) -> Adam:
        """The optimizer of its trials; raises `DatasetError` if another method trains them."""
        if self.method:
            raise DatasetError(
                f"This collection's trials are trained with {self.method.label}, not with Adam at its published rate: "
                "they can be collected by name or configuration, but not continued or extended here."
            )
        return self.training.adam(fused=self.version > 1)

    @property
    def any_processor(self) -> bool:
        """Whether its bytes do not depend on the processor."""
        return self.version >= 3

    @property
    def absent(self) -> tuple[str, ...]:
        """What of the trials was not recorded."""
        return ()

    @property
    def observation_clip(self) -> float | None:
        """Where the policies cut normalised observations."""
        return OBSERVATION_CLIP

    @property
    def spacing(self) -> str:
        """How far training goes from one checkpoint to the next, in words."""
        settings = self.hyperparameters
        return (
            f"every {self.checkpoint_every_epochs} epochs, steps_per_iteration {settings.steps_per_iteration}, "
            f"epochs {settings.epochs}, minibatches {settings.minibatches}"
        )

    @property
    def other_bytes(self) -> str:
        """What gives other bytes than an earlier collection, in words."""
        if self.any_processor:
            return "with other package versions, or where AVX2, FMA or torch's MKL is missing"
        return "on another processor or with other package versions"

    @property
    def training(self) -> TrainingConfig:
        """What each trial trains."""
        return TrainingConfig(
            self.environment,
            self.hidden_sizes,
            self.environment_steps,
            self.checkpoint_every_epochs,
            self.hyperparameters,
        )

    @property
    def trained_steps(self) -> int:
        """Environment steps of each trial: those that are stated, or those until training ends before."""
        if self.iterations_trained is None:
            return self.environment_steps
        return self.iterations_trained * self.hyperparameters.steps_per_iteration

    @property
    def iterations(self) -> int:
        """PPO iterations of each trial."""
        return self.iterations_trained or self.training.iterations

    @property
    def checkpoints(self) -> int:
        """T, checkpoints of each trial, the initialisation included."""
        return 1 + self.iterations * self.training.checkpoints_per_iteration

    @property
    def seeds(self) -> list[int]:
        """Every trial's seed."""
        return [self.first_seed + trial for trial in range(self.trials)]


Absent = Literal["iteration", "learning_rate", "episodic_return", "observation_normaliser", "observation_count", "seed"]
"""What imported trials may lack."""


class ImportedCollection(BaseModel):
    """What is stated of trials that were trained elsewhere and imported."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    environment: str
    """Gymnasium environment id."""
    hidden_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """Hidden widths of the actor."""
    environment_steps: int = Field(ge=0)
    """Steps of the longest trial up to its last checkpoint."""
    trials: int = Field(ge=1)
    """Number of trials."""
    algorithm: Literal["external"] = "external"
    description: Text
    """How the policies were trained, in free text: library, algorithm, settings."""
    observation_clip: float | None = Field(gt=0)
    """Where the policies cut normalised observations; null if they do not."""
    absent: tuple[Absent, ...] = ()
    """What was not recorded. `iteration`: each checkpoint counts as an iteration of its own. `learning_rate`,
    `episodic_return`, `observation_count`: these columns are NaN. `observation_normaliser`: the policies act on raw
    observations, and the stored moments are those that leave an observation as it is. `seed`: trials are numbered."""

    @model_validator(mode="after")
    def _lists_each_once(self) -> ImportedCollection:
        if list(self.absent) != sorted({*self.absent}):
            raise ValueError("absent must list each name once, in alphabetical order")
        return self

    @property
    def any_processor(self) -> bool:
        """Whether its bytes do not depend on the processor: they are what was recorded."""
        return True

    @property
    def other_bytes(self) -> str:
        """What gives other bytes than an earlier import, in words."""
        return "from other checkpoints"

    @property
    def trained_steps(self) -> int:
        """Environment steps of each trial."""
        return self.environment_steps

    @property
    def spacing(self) -> str:
        """How far training goes from one checkpoint to the next, in words."""
        return f"as recorded of {self.description!r}"


def _by_algorithm(value: Any, _: Any) -> CollectionConfig | ImportedCollection:
    """Validate by the one model that the algorithm stands for, so that errors name the field and no model."""
    if isinstance(value, CollectionConfig | ImportedCollection):
        return value
    external = isinstance(value, dict) and value.get("algorithm") == "external"
    return (ImportedCollection if external else CollectionConfig).model_validate(value)


Collection = Annotated[CollectionConfig | ImportedCollection, WrapValidator(_by_algorithm)]
"""Where the trials of a dataset come from."""
