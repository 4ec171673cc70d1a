"""TIPL's options; defaults are Decision Transformer's, as the paper builds on its code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TIPLOptions:
    """Backbone and training, one field each.

    The paper does not state d, the context, the learning rate, the basis' scope or the split; it trains for 50 x 10,000
    batches of 64. What is not there is Decision Transformer's default (`gym/experiment.py`), or as said here.
    """

    layers: int = 3
    """Transformer blocks."""
    heads: int = 1
    """Attention heads."""
    width: int = 128
    """Width of a token's embedding."""
    dropout: float = 0.1
    """On residual branches and attention."""
    rank: int = 19
    """d, temporal-SVD coordinates kept; 19 is all that a context of 20 checkpoints has."""
    steps: int = 500_000
    """Training batches."""
    batch: int = 64
    """Windows a batch."""
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    warmup: int = 10_000
    """Batches of linear warm-up; constant after it, or cosine to 0 with `cosine`."""
    cosine: bool = False
    gradient_clip: float = 0.25
    validate_every: int = 1_000
    """Batches between looks at the validation trials; the best state seen is kept."""

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "width", "rank", "steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.rank > 19:
            raise ValueError(f"rank is {self.rank}; a context of 20 checkpoints has at most 19 coordinates.")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must lie in [0, 1).")
