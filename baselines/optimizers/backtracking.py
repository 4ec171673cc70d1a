"""Backtracking: what other outer rules changed is halved until the iteration's own steps do not speak against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ...rl import Checkpoint, IterationSteps, OuterRule
from ...rl.optimizer import SETTINGS, State


@dataclass(frozen=True, config=SETTINGS)
class Backtracking(OuterRule):
    """A backtracking line search (Armijo 1966) along what the outer rules before it changed, trial by trial.

    Judged by PPO's clipped objective on the iteration's steps, which costs no environment step: a change that would
    leave less than `share` of what the epochs gained there is halved, at most `halvings` times, and else not made.
    TRPO (Schulman et al. 2015) guards its steps so. The rules before it may be an outer step, a jump or both.
    """

    name: ClassVar[str] = "backtracking"
    summary: ClassVar[str] = "Halve what outer rules changed until PPO's objective allows it"
    wants_steps = True

    share: Annotated[float, Field(le=1)] = 0.0
    """Part of the epochs' gain of the objective that must remain; 0: no worse than the policy that took the steps."""
    halvings: Annotated[int, Field(ge=0, le=20)] = 3
    """How often a change is halved before it is given up."""

    def end_of_iteration(
        self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint], steps: IterationSteps | None = None
    ) -> Tensor:
        """See `OuterRule.end_of_iteration`."""
        assert steps is not None, "wants_steps"
        change = parameters - steps.parameters
        bar = self.share * steps.objective(steps.parameters)
        chosen = steps.parameters.clone()
        waiting = torch.ones(len(parameters), dtype=torch.bool)
        for halving in range(self.halvings + 1):
            tried = steps.parameters + change * 0.5**halving if halving else parameters
            accepted = waiting & (steps.objective(tried) >= bar)
            chosen[accepted] = tried[accepted]
            waiting &= ~accepted
        return chosen
