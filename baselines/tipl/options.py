"""TIPL's options; defaults are Decision Transformer's, as the paper builds on its code."""

from __future__ import annotations

from pydantic import Field, model_validator

from ...utils.fields import later
from ..predictor import Options


class BackboneOptions(Options):
    """Backbone and training, one field each.

    The paper does not state d, the context, the learning rate, the basis' scope or the split; it trains for 50 x 10,000
    batches of 64. What it leaves open is Decision Transformer's default (`gym/experiment.py`), unless noted here.
    """

    layers: int = Field(3, ge=1)
    """Transformer blocks."""
    heads: int = Field(1, ge=1)
    """Attention heads."""
    width: int = Field(128, ge=1)
    """Width of a token's embedding."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values that training drops at random, on residual branches and in attention."""
    rank: int | None = Field(None, ge=1)
    """d, temporal-SVD coordinates kept; none: all that the context has, one less than its checkpoints."""
    steps: int = Field(500_000, ge=1)
    """Training batches."""
    batch: int = Field(64, ge=1)
    """Windows per batch."""
    learning_rate: float = Field(1e-4, gt=0)
    """AdamW's learning rate."""
    weight_decay: float = Field(1e-4, ge=0)
    """AdamW's weight decay."""
    warmup: int = Field(10_000, ge=0)
    """Batches of linear warm-up; constant after it, or cosine to 0 with `cosine`."""
    cosine: bool = False
    """Whether the learning rate falls to 0 as a cosine after the warm-up."""
    gradient_clip: float = Field(0.25, gt=0)
    """Limit of the gradient's norm."""
    validate_every: int = Field(1_000, ge=1)
    """Batches between evaluations on the validation trials."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> BackboneOptions:
        if self.width % self.heads:
            raise ValueError(f"option heads is {self.heads}, which does not divide option width, {self.width}.")
        return self


class TIPLOptions(BackboneOptions):
    """Those of `tipl`. What it gained after its first rows were made is off by default, so that they stay its rows."""

    ridge: bool = later(False)
    """Whether the output, zero at first, is added to the next difference of `autoregression`, not to the last token."""
    rotations: bool = later(True)
    """Whether every training window's coordinates are rotated at random."""
