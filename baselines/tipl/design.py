"""Where the suite's TIPL departs from the published one: one switch for each departure."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ..predictor import Options


class Design(Options):
    """How weights become tokens, and how the Transformer is trained and rolled out; as published by default."""

    basis: Literal["pooled", "context"] = "pooled"
    """Whose SVD makes the tokens: all training trials', or the window's own context's."""
    centred: bool = False
    """Whether tokens are relative to the origin, in the window's mean steps; what the basis lacks is carried along."""
    differences: bool = False
    """Whether a token holds its last displacement beside its coordinates."""
    displacement: bool = False
    """Whether the network's output, zero at first, is added to the last token."""
    window_time: bool = False
    """Whether timesteps count from the window's start, else from the trial's."""
    position: bool = False
    """Whether a token's place within its PPO iteration is embedded."""
    rotations: bool = False
    """Whether every training window's coordinates are rotated at random."""
    by_step: bool = False
    """Whether windows are sampled in proportion to their squared step, else uniformly."""
    growing: bool = False
    """Whether the roll-out keeps the whole context, and training sees as many tokens, else the last K."""
    skip_first: bool = False
    """Whether tokens with next to no past are left out of the loss."""
    select: bool = False
    """Whether the state best on the validation trials is kept, else the last."""

    @model_validator(mode="after")
    def _fits_together(self) -> Design:
        for name, wanted in (("basis", self.basis == "context"), ("rotations", self.rotations)):
            if wanted and not self.centred:
                raise ValueError(f"option {name}={getattr(self, name)} needs centred=true.")
        return self


SUITE = Design(
    basis="context",
    centred=True,
    differences=True,
    displacement=True,
    window_time=True,
    position=True,
    rotations=True,
    by_step=True,
    growing=True,
    skip_first=True,
    select=True,
)
"""All departures: what `tipl` is."""
