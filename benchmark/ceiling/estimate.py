"""The estimator of the branching ceiling, from the sums of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..forecast.windows import Phase
from ..intervals import Estimate, bootstrap, skill
from ..protocol import Protocol
from .document import CeilingDocument

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BranchingCeiling:
    """The branching ceiling in one phase; H horizons, K test trials.

    The forecast of least squared error is the weights' mean given all that is known. Given the whole training state at
    the origin (weights, normalisers, critic, the optimizer's moments, the environment's state and, within an iteration,
    its steps), that is the mean of all continuations of the training, and its error is their variance. From N
    continuations x_1 ... x_N of a window with origin x_0, all squares being means over parameters:

        variance      s2(h) = sum_i |x_i(h) - mean(h)|^2 / (N - 1)
        displacement  d2(h) = sum_i |x_i(h) - x_0|^2 / N
        ceiling(h)    = 1 - sum over windows of s2(h) / sum over windows of d2(h)

    Both sums are unbiased: s2 for the error of the exact mean on a held-out continuation, d2 for persistence's error on
    it. The mean of N - 1 continuations varies itself: on the held-out one its error is N / (N - 1) times s2, which is
    what N continuations achieve, not what is possible. The bias of the ratio of the sums falls with the windows.

    Intervals resample whole test trials with their sums, as every interval of the protocol does. A row is scored on one
    continuation of each window, the stored one, so its skill varies about what it would be over all of them.

    Parameters
    ----------
    phase
        "learning" or "converged".
    copies
        N.
    windows, trials
        How many windows, and K.
    mean
        The mean over horizons.
    by_horizon
        One checkpoint ahead to H ahead.
    positions
        By position within the PPO iteration, the mean over horizons and by horizon: [positions], [H, positions].
    stored
        The skill of the mean of the N continuations as a forecast of the stored trials, mean over horizons: what the
        estimate should give apart from chance, as the stored future is one more continuation.
    gained, displacement
        Sums of d2 - s2 and of d2 over each trial's windows, [K, H]; trials in ascending order.
    """

    phase: Phase
    copies: int
    windows: int
    trials: int
    mean: Estimate
    by_horizon: tuple[Estimate, ...]
    positions: tuple[tuple[float | None, ...], tuple[tuple[float | None, ...], ...]]
    stored: Estimate
    gained: Float64
    displacement: Float64


def estimate_ceiling(document: CeilingDocument, phase: Phase, protocol: Protocol) -> BranchingCeiling | None:
    """The ceiling in one phase, as `BranchingCeiling` defines it; None without windows of that phase."""
    chosen = np.array([window.phase == phase for window in document.windows], dtype=bool)
    if not chosen.any():
        return None
    trial = np.array([window.trial for window in document.windows])[chosen]
    position = np.array([window.position for window in document.windows])[chosen]
    variance, displacement, error, moved = (
        document.sums(name)[chosen] for name in ("variance", "displacement", "stored_error", "stored_displacement")
    )
    error = error / (1 + 1 / document.copies)  # the mean of N varies by a part 1 / N of the variance itself
    above, below = _summed(variance, trial), _summed(displacement, trial)  # [K, H]
    places = [_ceilings(variance[position == one], displacement[position == one]) for one in np.unique(position)]
    return BranchingCeiling(
        phase,
        document.copies,
        len(trial),
        len(above),
        _mean_over_horizons(above, below, protocol),
        tuple(skill(above[:, h], below[:, h], protocol) for h in range(above.shape[1])),
        (tuple(_mean(values) for values in places), tuple(zip(*places, strict=True))),
        _mean_over_horizons(_summed(error, trial), _summed(moved, trial), protocol),
        below - above,
        below,
    )


def _summed(values: Float64, trial: npt.NDArray[np.int64]) -> Float64:
    """Sums over windows, by trial: [K, H] from [W, H]."""
    return np.array([values[trial == one].sum(axis=0) for one in np.unique(trial)])


def _mean_over_horizons(error: Float64, baseline: Float64, protocol: Protocol) -> Estimate:
    return bootstrap(lambda i: (1 - error[i].sum(-2) / baseline[i].sum(-2)).mean(-1), len(error), protocol)


def _ceilings(variance: Float64, displacement: Float64) -> list[float | None]:
    """By horizon, from [W, H]; None where nothing moved."""
    above, below = variance.sum(axis=0), displacement.sum(axis=0)
    return [float(1 - a / b) if b > 0 else None for a, b in zip(above, below, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
