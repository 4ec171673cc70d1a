"""What is trained and for how long, and PPO's hyperparameters, with CleanRL's published values as defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

if TYPE_CHECKING:
    from .optimizer import Adam


class PPOHyperparameters(BaseModel):
    """What CleanRL's `ppo_continuous_action` calls its `Args`; source: its published file, MIT licence.

    The defaults are the same for discrete actions; what its `ppo` has otherwise is for a collection to state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(3e-4, gt=0)
    """Adam's learning rate at the first iteration."""
    anneal_learning_rate: bool = True
    """Lower the learning rate linearly to 0 over the iterations."""
    steps_per_iteration: int = Field(2048, ge=2)
    """Environment steps of each trial between updates."""
    minibatches: int = Field(32, ge=1)
    """Minibatches an epoch."""
    epochs: int = Field(10, ge=1)
    """Passes over each iteration's steps."""
    gamma: float = Field(0.99, ge=0, le=1)
    """Discount, also of the reward normaliser."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    clip: float = Field(0.2, gt=0)
    """Clip range of the policy's ratio and of the value."""
    value_coefficient: float = Field(0.5, ge=0)
    """Weight of the value loss."""
    entropy_coefficient: float = Field(0.0, ge=0)
    """Weight of the entropy bonus, which `ppo_continuous_action` does without; CleanRL's `ppo` has 0.01."""
    max_gradient_norm: float = Field(0.5, gt=0)
    """Clip of the gradient's norm over actor and critic jointly."""
    adam_epsilon: float = Field(1e-5, gt=0)
    """Adam's epsilon."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that came later is named only where it says something: published digests stay."""
        fields: dict[str, Any] = serialize(self)
        if not self.entropy_coefficient:
            fields.pop("entropy_coefficient", None)
        return fields


@dataclass(frozen=True)
class TrainingConfig:
    """What is trained and for how long; raises `ValueError` for numbers that do not fit together.

    Parameters
    ----------
    environment
        Gymnasium environment id.
    hidden_sizes
        Hidden widths of actor and critic.
    environment_steps
        Steps of each trial; whole PPO iterations are taken, the remainder dropped, as in CleanRL.
    checkpoint_every_epochs
        Update epochs between two checkpoints.
    hyperparameters
        PPO's settings.
    """

    environment: str
    hidden_sizes: tuple[int, ...]
    environment_steps: int
    checkpoint_every_epochs: int = 2
    hyperparameters: PPOHyperparameters = field(default_factory=PPOHyperparameters)

    def __post_init__(self) -> None:
        settings = self.hyperparameters
        if self.checkpoint_every_epochs < 1 or settings.epochs % self.checkpoint_every_epochs:
            raise ValueError(
                f"checkpoint_every_epochs {self.checkpoint_every_epochs} must divide {settings.epochs} epochs"
            )
        if settings.steps_per_iteration % settings.minibatches:
            raise ValueError(f"{settings.minibatches} minibatches must divide {settings.steps_per_iteration} steps")
        if settings.steps_per_iteration == settings.minibatches:
            raise ValueError(
                f"{settings.minibatches} minibatches of {settings.steps_per_iteration} steps have one step each; "
                "advantages are normalised within a minibatch, which takes two at least"
            )
        if self.iterations < 1:
            iteration = settings.steps_per_iteration
            raise ValueError(f"environment_steps {self.environment_steps} is less than one iteration of {iteration}")

    @property
    def iterations(self) -> int:
        """PPO iterations of each trial."""
        return self.environment_steps // self.hyperparameters.steps_per_iteration

    @property
    def checkpoints_per_iteration(self) -> int:
        """Checkpoints of each PPO iteration; the last one follows its last epoch."""
        return self.hyperparameters.epochs // self.checkpoint_every_epochs

    @property
    def checkpoints(self) -> int:
        """T, checkpoints of each trial, the initialisation included."""
        return 1 + self.iterations * self.checkpoints_per_iteration

    def adam(self, *, fused: bool = False) -> Adam:
        """The optimizer that CleanRL's hyperparameters stand for, plain or as one fused kernel."""
        from .optimizer import Adam, FusedAdam  # a configuration need not wait for torch

        kind = FusedAdam if fused else Adam
        return kind(self.hyperparameters.learning_rate, self.hyperparameters.adam_epsilon)
