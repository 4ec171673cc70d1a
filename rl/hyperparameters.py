"""PPO's hyperparameters, with CleanRL's published values as defaults."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PPOHyperparameters(BaseModel):
    """What CleanRL's `ppo_continuous_action` calls its `Args`; source: its published file, MIT licence."""

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
    max_gradient_norm: float = Field(0.5, gt=0)
    """Clip of the gradient's norm over actor and critic jointly."""
    adam_epsilon: float = Field(1e-5, gt=0)
    """Adam's epsilon."""
