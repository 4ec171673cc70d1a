"""Phases and windows: the origins at which a trial is forecast, and which of them a run takes."""

from __future__ import annotations

from collections.abc import Sequence
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
Split = Literal["test", "validation"]
GOLDEN_RATIO = 0.6180339887498949


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
    """The windows of one trial, by origin."""
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


def evaluation_windows(
    dataset: Dataset, protocol: Protocol, split: Split = "test", limit: int | None = None
) -> list[EvaluationWindow]:
    """The windows of a run, by trial, phase and origin.

    Parameters
    ----------
    dataset, protocol
        What is forecast, under which protocol.
    split
        The trials that are forecast.
    limit
        How many windows to take, spread evenly over phases, trials and origins; all by default.

    Raises
    ------
    ProtocolError
        If the trials are too short for a single window.
    """
    trials = dataset.trials(getattr(dataset.manifest.split, split))
    windows = [w for trial in trials for w in trial_windows(trial, protocol)]
    if not windows:
        raise ProtocolError(
            f"{dataset.name} has {dataset.manifest.checkpoints} checkpoints a trial; protocol {protocol.version} needs "
            f"at least {protocol.context + protocol.horizon}."
        )
    return windows if limit is None else spread_windows(windows, limit)


def test_windows(dataset: Dataset, protocol: Protocol) -> list[EvaluationWindow]:
    """All windows of a dataset's test trials; raises as `evaluation_windows`."""
    return evaluation_windows(dataset, protocol)


test_windows.__test__ = False  # type: ignore[attr-defined]  # a name for users, not a pytest test


def spread_windows(windows: Sequence[EvaluationWindow], count: int) -> list[EvaluationWindow]:
    """Choose windows, evenly over the phases, over the trials of each, and over the origins of each trial.

    Parameters
    ----------
    windows
        By trial, phase and origin; the choice is in the same order.
    count
        How many are wanted; all are taken where there are fewer.
    """
    groups = [[w for w in windows if w.phase == phase] for phase in PHASES]
    chosen: list[EvaluationWindow] = []
    for group, wanted in zip(groups, _shares(count, [len(group) for group in groups]), strict=True):
        trials = [[w for w in group if w.trial == trial] for trial in dict.fromkeys(w.trial for w in group)]
        for number, (own, share) in enumerate(zip(trials, _shares(wanted, [*map(len, trials)]), strict=True)):
            # Each trial starts at another origin, so that the places within the iteration even out over trials.
            start = (number + 1) * GOLDEN_RATIO % 1
            chosen += [own[int((place + start) * len(own) / share)] for place in range(share)]
    return sorted(chosen, key=windows.index)


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """Divide a count as evenly as the sizes of the groups allow; what is left over goes to groups far apart."""
    shares = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        free = [group for group, size in enumerate(sizes) if shares[group] < size]
        for place in range(min(left, len(free))):
            shares[free[place * len(free) // min(left, len(free))]] += 1
        left -= min(left, len(free))
    return shares
