"""Inner products of checkpoints: all that forecasts in the span of their context need (the Gram trick).

Fits and window SVDs then cost the same for 122 parameters as for 70,000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...registry.trial import Trial, iteration_positions
from ...utils.errors import PredictorError

Float64 = npt.NDArray[np.float64]

CHUNK_ORIGINS = 256


def check_lengths(trials: Sequence[Trial], checkpoints: int) -> None:
    """Refuse trials none of which has the checkpoints of a context and its horizon, with a `PredictorError`."""
    longest = max(map(len, trials), default=0)
    if longest < checkpoints:
        raise PredictorError(
            f"no trial has the {checkpoints} checkpoints of a context and its horizon; the longest has {longest}."
        )


def window_grams(trial: Trial, past: int, future: int) -> Float64:
    """Inner products of the differences around every origin of a trial.

    With d_i = phi_{i+1} - phi_i, the window at origin t holds d_{t-past} .. d_{t+future-1}, oldest first.

    Parameters
    ----------
    trial
        The trial, streamed in pieces.
    past, future
        Differences before and after the origin.

    Returns
    -------
    ndarray
        [origins, past + future, past + future] float64 for origins past .. T - 1 - future; the sums run in float64.
    """
    width = past + future
    count = len(trial) - width
    grams = np.empty((max(count, 0), width, width))
    for start in range(0, count, CHUNK_ORIGINS):
        stop = min(start + CHUNK_ORIGINS, count)
        weights = trial.weights(start, stop + width).astype(np.float64)
        differences = np.diff(weights, axis=0)
        products = differences @ differences.T
        for row in range(stop - start):
            grams[start + row] = products[row : row + width, row : row + width]
    return grams


def context_grams(weights: npt.NDArray[np.float32]) -> Float64:
    """Inner products of the differences within contexts [B, L, P], as [B, L - 1, L - 1] float64."""
    grams = np.empty((len(weights), weights.shape[1] - 1, weights.shape[1] - 1))
    for row, context in enumerate(weights):
        differences = np.diff(context.astype(np.float64), axis=0)
        grams[row] = differences @ differences.T
    return grams


def solved(penalised: Float64, targets: Float64) -> Float64:
    """Coefficients [..., F, K] of penalised normal equations [..., F, F] with right sides [..., F, K].

    Raises
    ------
    PredictorError
        If they have no one solution; the penalty is the predictor's option ridge.
    """
    try:
        return np.linalg.solve(penalised, targets).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        raise PredictorError(
            "differences in the training windows depend on each other; set option ridge above 0."
        ) from None


@dataclass(frozen=True)
class Moments:
    """Sums over the windows of some trials, by position q of the origin within its PPO iteration.

    Parameters
    ----------
    features
        Inner products of a context's differences, oldest first, [Q, lags, lags].
    targets
        Of the displacement at each horizon with those differences, [Q, H, lags].
    displacement
        Of that displacement with itself, [Q, H].
    """

    features: Float64
    targets: Float64
    displacement: Float64

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(mine + others for mine, others in zip(vars(self).values(), vars(other).values(), strict=True)))


def difference_moments(
    trials: Sequence[Trial],
    lags: int,
    horizon: int,
    progress: Callable[[int, int, str], None] = lambda done, total, word: None,
) -> Moments:
    """What a least-squares fit of displacements on past differences needs.

    Parameters
    ----------
    trials
        Streamed in pieces, each once.
    lags, horizon
        Differences before, and checkpoints after, each origin.
    progress
        Receives trials done and trials in all.

    Raises
    ------
    PredictorError
        If no trial is long enough.
    """
    check_lengths(trials, lags + 1 + horizon)
    total: Moments | None = None
    for done, trial in enumerate(trials):
        grams = window_grams(trial, lags, horizon)
        places = iteration_positions(trial.columns["epoch"])
        positions = places[lags : lags + len(grams)]
        sums = np.stack([grams[positions == place].sum(axis=0) for place in range(int(places.max()) + 1)])
        ahead = np.cumsum(np.cumsum(sums[:, lags:, lags:], axis=1), axis=2)
        part = Moments(
            sums[:, :lags, :lags], np.cumsum(sums[:, lags:, :lags], axis=1), np.einsum("qhh->qh", ahead).copy()
        )
        total = part if total is None else total + part
        progress(done + 1, len(trials), "inner products")
    assert total is not None
    return total
