"""The table that attacks are entered into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helpers.submission_workspace import Desk

REFUSED, FLAGGED = "REFUSED: run", "NEEDS REVIEW: run"
WHOLE = "Error: "  # the submission as a whole, before any run of it


@dataclass(frozen=True)
class Attack:
    """What is done to a good submission, the verdict it must get, and words that the reason must hold."""

    harm: Callable[[Desk], object]
    verdict: str
    reason: str


ATTACKS: list[Attack] = []


def told(reason: str, verdict: str = REFUSED) -> Callable[[Callable[[Desk], object]], Callable[[Desk], object]]:
    """Enter an attack into the table, with what `leaderboard check` must say of it."""

    def enter(harm: Callable[[Desk], object]) -> Callable[[Desk], object]:
        ATTACKS.append(Attack(harm, verdict, reason))
        return harm

    return enter
