"""The table that attacks are entered into."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from helpers.submission_workspace import SubmissionWorkspace

REFUSED, FLAGGED = "REFUSED: run", "NEEDS REVIEW: run"
WHOLE = "Error: "  # the submission as a whole, before any run of it
Apply = Callable[[SubmissionWorkspace], object]


@dataclass(frozen=True)
class Attack:
    """What is done to a good submission, the verdict it must get, and words that the reason must hold."""

    apply: Apply
    verdict: str
    reason: str


ATTACKS: list[Attack] = []


def expect(reason: str, verdict: str = REFUSED) -> Callable[[Apply], Apply]:
    """Enter an attack into the table, with what `leaderboard check` must say of it.

    What is only flagged is done to the run of a guest: one of this package's own predictors would be run again.
    """

    def enter(apply: Apply) -> Apply:
        ATTACKS.append(Attack(_by_guest(apply) if verdict == FLAGGED else apply, verdict, reason))
        return apply

    return enter


def _by_guest(apply: Apply) -> Apply:
    @functools.wraps(apply)
    def both(workspace: SubmissionWorkspace) -> object:
        workspace.as_guest()
        return apply(workspace)

    return both
