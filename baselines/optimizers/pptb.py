"""PPTB: trim the minor directions of the policy's path and push on along the major ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ...rl import Checkpoint, OuterRule
from ...rl.optimizer import SETTINGS, State


@dataclass(frozen=True, config=SETTINGS)
class PPTB(OuterRule):
    """Policy path trimming and boosting (Tang et al. 2024, arXiv 2303.01391), as we read it.

    The paper's period, rank and coefficient were found in no text, and it reports no PPO. Here: every `period`
    iterations the actor's path since the window's start is decomposed by its singular vectors. Of the window's change,
    what lies in the first `rank` of them is major, the rest minor. Trimming takes the minor change back, boosting adds
    a share of the major one.
    """

    name: ClassVar[str] = "pptb"
    summary: ClassVar[str] = "Trim minor and boost major directions of the path (our reading)"

    rank: Annotated[int, Field(ge=1)] = 4
    """Directions that are major."""
    window: Annotated[int, Field(ge=2, le=1000)] = 26
    """Checkpoints of the path."""
    period: Annotated[int, Field(ge=1)] = 5
    """PPO iterations between two changes."""
    trim: bool = True
    """Whether the minor change is taken back."""
    boost: Annotated[float, Field(ge=0)] = 0.0
    """The share of the major change that is added."""

    @property
    def history(self) -> int:  # type: ignore[override]
        """The window."""
        return self.window

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`; a trial whose path is not finite is left as it is."""
        if trajectory[-1].iteration % self.period or len(trajectory) < self.window:
            return parameters
        path = np.stack([one.weights for one in trajectory], axis=1).astype(np.float64)  # [N, window, P]
        path -= path[:, :1].copy()
        finite = np.flatnonzero(np.isfinite(path).all(axis=(1, 2)))
        path = path[finite]
        directions = np.linalg.svd(path, full_matrices=False)[2][:, : self.rank]  # [N, rank, P]
        change = path[:, -1]
        major = np.einsum("nrp,nr->np", directions, np.einsum("nrp,np->nr", directions, change))
        added = self.boost * major - (change - major if self.trim else 0.0)
        parameters[torch.from_numpy(finite), : added.shape[1]] += torch.from_numpy(added.astype(np.float32))
        return parameters
