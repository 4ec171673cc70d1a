"""Phases and windows: the origins at which a trial is forecast, and which of them a run takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...registry.dataset import Dataset
from ...registry.trial import Trial, converged_from, iteration_positions
from ...utils.errors import ProtocolError
from ...utils.progress import Progress, silent
from ..protocol import Protocol
from .true_returns import iteration_ends, learning_curves

Float64 = npt.NDArray[np.float64]
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


@dataclass(frozen=True)
class LearningCurve:
    """What a trial's J at `iteration_ends`, smoothed, says.

    Parameters
    ----------
    converged_from
        The first of those checkpoints whose smoothed J has come the protocol's part of the way from first to best.
    range
        The best smoothed J minus the first.
    """

    converged_from: int
    range: float


def read_curve(curve: Float64, ends: npt.NDArray[np.intp], protocol: Protocol) -> LearningCurve:
    """Smooth a trial's J [N] at its iteration ends [N] by a centred mean, shorter at both ends, and read its phases."""
    half = protocol.smoothing // 2
    smoothed = np.array([curve[max(0, place - half) : place + half + 1].mean() for place in range(len(curve))])
    first, best = smoothed[0], smoothed.max()
    # The slack is rounding's: means of equal returns need not be equal.
    threshold = first + protocol.learned_fraction * (best - first) - 1e-9 * max(abs(first), abs(best))
    return LearningCurve(int(ends[np.flatnonzero(smoothed >= threshold)[0]]), float(best - first))


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


def stratified_origins(
    low: int, high: int, positions: npt.NDArray[np.int64], count: int, *, turn: int = 0
) -> list[int]:
    """Choose `count` origins in low..high-1 at each position within a PPO iteration, even over the range.

    Parameters
    ----------
    low, high
        The range of permitted origins.
    positions
        Every checkpoint's place within its iteration, [T].
    count
        How many are wanted at each position; all are taken where there are fewer.
    turn
        Which position comes first within each part of the range. Over as many turns as there are positions, each is as
        early as any other, so that none looks easier for being later in training.
    """
    kinds = np.unique(positions)
    chosen: list[int] = []
    for place, kind in enumerate(kinds):
        same = low + np.flatnonzero(positions[low:high] == kind)
        wanted = min(count, len(same))
        start = ((place + turn) % len(kinds) + 0.5) / len(kinds)
        chosen += [int(same[int((number + start) * len(same) / wanted)]) for number in range(wanted)]
    return sorted(chosen)


def trial_windows(trial: Trial, protocol: Protocol, curve: Float64 | None = None) -> list[EvaluationWindow]:
    """The windows of one trial, by phase and origin; `curve` is J at its `iteration_ends`, if phases go by that."""
    positions = iteration_positions(trial.columns["epoch"])
    if curve is None:
        boundary = converged_from(trial.columns["episodic_return"], protocol.smoothing, protocol.learned_fraction)
    else:
        boundary = read_curve(curve, iteration_ends(trial), protocol).converged_from
    first, stop = protocol.context - 1, len(trial) - protocol.horizon
    ranges: dict[Phase, tuple[int, int]] = {
        "learning": (first, min(boundary, stop)),
        "converged": (max(first, boundary), stop),
    }

    def origins(phase: Phase, low: int, high: int) -> list[int]:
        if protocol.origins_per_position is None:
            return spread_origins(low, high, positions, protocol.origins_per_phase)
        count = protocol.origins_per_position[PHASES.index(phase)]
        return stratified_origins(low, high, positions, count, turn=trial.index)

    return [
        EvaluationWindow(trial.index, origin, phase, int(positions[origin]))
        for phase, (low, high) in ranges.items()
        for origin in origins(phase, low, max(low, high))
    ]


def evaluation_windows(
    dataset: Dataset,
    protocol: Protocol,
    split: Split = "test",
    limit: int | None = None,
    progress: Progress = silent,
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
    progress
        Receives policies done and policies in all, if phases go by J of the true policies and that is not known yet.

    Raises
    ------
    ProtocolError
        If the trials are too short for a single window.
    DatasetError
        If the phases go by derived data, and these are damaged or not those that the catalog pins.
    """
    trials = getattr(dataset.manifest.split, split)
    windows = windows_of_trials(dataset, protocol, trials, learning_curves(dataset, protocol, trials, progress))
    return windows if limit is None else spread_windows(windows, limit)


def windows_of_trials(
    dataset: Dataset, protocol: Protocol, trials: Sequence[int], curves: Mapping[int, Float64]
) -> list[EvaluationWindow]:
    """The windows of some trials, whose `learning_curves` are given; raises `ProtocolError` if they have none."""
    windows = [w for trial in dataset.trials(trials) for w in trial_windows(trial, protocol, curves.get(trial.index))]
    if not windows:
        raise ProtocolError(
            f"{dataset.name} has {dataset.manifest.checkpoints} checkpoints a trial; protocol {protocol.version} needs "
            f"at least {protocol.context + protocol.horizon}."
        )
    return windows


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
