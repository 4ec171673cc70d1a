"""The protocol: one frozen object whose fields are the key of every result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..utils.errors import ProtocolError, UnknownNameError
from ..utils.fields import later


class Protocol(BaseModel):
    """Everything that decides what a number means; changing any field is a new version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    """Its number."""
    context: int
    """Checkpoints of the past that every origin leaves at least, the origin included."""
    horizon: int
    """H, the forecast checkpoints."""
    origins_per_phase: int
    """Origins in each phase of each test trial, of version 2 in its learning phase; fewer where a phase is short."""
    smoothing: int
    """How many returns are averaged to decide the phase: trailing checkpoints of the training return, or PPO iterations
    around each of the return of the true policies."""
    learned_fraction: float
    """A trial is converged once its smoothed return has come this far from its first to its best value."""
    evaluation_seeds: tuple[int, ...]
    """Reset seeds of J's episodes, the same for every policy."""
    noise_seeds: tuple[int, ...]
    """The other reset seeds, for the reset noise."""
    resamples: int
    """Bootstrap resamples."""
    confidence: float
    """Level of every interval."""
    bootstrap_seed: int
    """The seed of the bootstrap."""
    phases: Literal["training return", "true return"] = later("training return")
    """The return that decides the phase: of the training episodes, or J of the stored policies themselves."""
    origins_per_position: tuple[int, int] | None = later(None)
    """Origins at each position within the PPO iteration, in the learning and in the converged phase; None for origins
    of which only the whole phase's number is fixed."""
    moving_fraction: float | None = later(None)
    """A window's true return moves if it differs from the origin's by at least this part of the trial's range; None
    where moving windows are not told apart, and the perfect forecast is not evaluated."""

    @property
    def suffix(self) -> str:
        """What the names of run folders end in, so that runs of two versions never meet: none for version 1."""
        return "" if self.version == 1 else f"-p{self.version}"


PROTOCOLS = {
    1: Protocol(
        version=1,
        context=20,
        horizon=10,
        origins_per_phase=10,
        smoothing=25,
        learned_fraction=0.95,
        evaluation_seeds=(10_001, 10_002, 10_003, 10_004, 10_005),
        noise_seeds=(20_001, 20_002, 20_003, 20_004, 20_005),
        resamples=9_999,
        confidence=0.95,
        bootstrap_seed=1,
    ),
}
PROTOCOLS[2] = PROTOCOLS[1].model_copy(
    update={
        "version": 2,
        "origins_per_phase": 20,
        "smoothing": 3,
        "phases": "true return",
        "origins_per_position": (4, 1),
        "moving_fraction": 0.02,
    }
)
CURRENT = PROTOCOLS[2]
ROW_SEEDS = (0, 1, 2)
"""The predictor's seeds of a leaderboard row: always these, so that nobody picks the best of many."""


def protocol(version: Protocol | int) -> Protocol:
    """The protocol of a version, or itself; raises `UnknownNameError` if there is none."""
    if isinstance(version, Protocol):
        return version
    if type(version) is not int or version not in PROTOCOLS:
        raise UnknownNameError("protocol version", repr(version), map(str, PROTOCOLS))
    return PROTOCOLS[version]


def check_known(stated: Protocol) -> None:
    """A protocol that a record states is one of this package's, field by field; raises `ProtocolError`."""
    known = PROTOCOLS.get(stated.version)
    if known is None:
        raise ProtocolError(
            f"of protocol version {stated.version}, which this package does not know (it knows "
            f"{', '.join(map(str, PROTOCOLS))}); such a run cannot be compared."
        )
    other = [name for name, value in stated if value != getattr(known, name)]
    if other:
        raise ProtocolError(
            f"its protocol has the number {stated.version} but another {', '.join(other)}; such a run cannot "
            "be compared."
        )
