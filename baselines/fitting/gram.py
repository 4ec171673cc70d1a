"""Inner products of checkpoints: all that forecasts in the span of their context need (the Gram trick).

Fits and window SVDs then cost the same for 122 parameters as for 70,000.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...registry.trial import Trial

Float64 = npt.NDArray[np.float64]

CHUNK_ORIGINS = 256


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
