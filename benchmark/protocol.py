"""The protocol: one frozen object whose fields are the key of every result."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ..utils.errors import ProtocolError, UnknownNameError


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
    """Origins in each phase of each test trial, fewer where a phase is short."""
    smoothing: int
    """Checkpoints in the trailing mean of the training return that decides the phase."""
    learned_fraction: float
    """A trial is converged once its smoothed return has come this far from its first to its best value."""
    evaluation_seeds: tuple[int, ...]
    """Reset seeds of J's episodes, the same for every policy."""
    noise_seeds: tuple[int, ...]
    """The other reset seeds, for the noise floor."""
    resamples: int
    """Bootstrap resamples."""
    confidence: float
    """Level of every interval."""
    bootstrap_seed: int
    """The seed of the bootstrap."""


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
    )
}
CURRENT = PROTOCOLS[1]
ROW_SEEDS = (0, 1, 2)
"""The predictor's seeds of a leaderboard row: always these, so that nobody picks the best of many."""


def protocol(version: int) -> Protocol:
    """The protocol of a version; raises `UnknownNameError` if there is none."""
    if version not in PROTOCOLS:
        raise UnknownNameError("protocol version", str(version), map(str, PROTOCOLS))
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
