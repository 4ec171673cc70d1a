"""Phases and windows: the origins of a test trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...registry.dataset import Dataset
from ...registry.trial import Trial, iteration_positions
from ...utils.errors import ProtocolError
from ..protocol import Protocol

Phase = Literal["learning", "converged"]
PHASES: tuple[Phase, ...] = ("learning", "converged")


@dataclass(frozen=True)
class EvaluationWindow:
    """A context and its targets at one origin of one trial."""

    trial: int
    origin: int
    phase: Phase
    position: int
    """The origin's place among its PPO iteration's checkpoints, from 0."""


def converged_from(episodic_return: npt.NDArray[Any], smoothing: int, fraction: float) -> int:
    """The first checkpoint of the converged phase.

    Parameters
    ----------
    episodic_return
        The trial's training return [T]; NaN where unknown.
    smoothing
        Width of the trailing mean, in checkpoints; unknown values are left out of it.
    fraction
        How far from the first smoothed value to the best one counts as learned.

    Returns
    -------
    int
        The first checkpoint whose smoothed return has come that far; T if there is no return at all.
    """
    values = np.asarray(episodic_return, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        return len(values)
    total = np.cumsum(np.where(known, values, 0.0))
    count = np.cumsum(known)
    total[smoothing:] -= total[:-smoothing].copy()
    count[smoothing:] -= count[:-smoothing].copy()
    with np.errstate(invalid="ignore"):
        smoothed = np.where(count > 0, total / count, np.nan)
    first = smoothed[np.isfinite(smoothed)][0]
    best = np.nanmax(smoothed)
    # The slack is rounding's: sums of equal returns need not be equal.
    threshold = first + fraction * (best - first) - 1e-9 * max(abs(first), abs(best))
    return int(np.flatnonzero(smoothed >= threshold)[0])


def spread_origins(low: int, high: int, positions: npt.NDArray[np.int64], count: int) -> list[int]:
    """Choose origins in low..high-1, even over the range and over the positions within a PPO iteration.

    Parameters
    ----------
    low, high
        The range of permitted origins.
    positions
        Every checkpoint's place within its iteration, [T].
    count
        How many are wanted; all are taken where there are fewer.
    """
    free = list(range(low, high))
    count = min(count, len(free))
    kinds = sorted(set(positions[low:high].tolist()))
    chosen: list[int] = []
    for i in range(count):
        wanted = low + (i + 0.5) * (high - low) / count
        same = [t for t in free if positions[t] == kinds[i % len(kinds)]] or free
        best = min(same, key=lambda t: abs(t - wanted))
        free.remove(best)
        chosen.append(best)
    return sorted(chosen)


def trial_windows(trial: Trial, protocol: Protocol) -> list[EvaluationWindow]:
    """The windows of one test trial, by origin."""
    positions = iteration_positions(trial.columns["epoch"])
    boundary = converged_from(trial.columns["episodic_return"], protocol.smoothing, protocol.learned_fraction)
    first, stop = protocol.context - 1, len(trial) - protocol.horizon
    ranges: dict[Phase, tuple[int, int]] = {
        "learning": (first, min(boundary, stop)),
        "converged": (max(first, boundary), stop),
    }
    return [
        EvaluationWindow(trial.index, origin, phase, int(positions[origin]))
        for phase, (low, high) in ranges.items()
        for origin in spread_origins(low, max(low, high), positions, protocol.origins_per_phase)
    ]


def test_windows(dataset: Dataset, protocol: Protocol) -> list[EvaluationWindow]:
    """All windows of a dataset's test trials.

    Raises
    ------
    ProtocolError
        If the trials are too short for a single window.
    """
    windows = [w for trial in dataset.trials(dataset.manifest.split.test) for w in trial_windows(trial, protocol)]
    if not windows:
        raise ProtocolError(
            f"{dataset.name} has {dataset.manifest.checkpoints} checkpoints a trial; protocol {protocol.version} needs "
            f"at least {protocol.context + protocol.horizon}."
        )
    return windows


test_windows.__test__ = False  # type: ignore[attr-defined]  # a name for users, not a pytest test
