"""Synthetic boards: per-trial sums whose true skill is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

COVARIANCE = np.array([[0.06, -0.03], [-0.03, 0.06]])
"""Of log baseline and log error ratio over trials: what the boards of InvertedPendulum have at one step."""
CORRECTION = float(np.exp(COVARIANCE[1, 1] / 2 + COVARIANCE[0, 1]))
"""E[error] / E[baseline] for a ratio of 1."""
SETTINGS = {"resamples": 1999, "level": 0.95, "seed": 1}


def sums(stream, shape, ratio):
    """Errors and baselines of a shape whose skill is 1 - ratio in the limit of many trials."""
    logs = stream.multivariate_normal([0.0, 0.0], COVARIANCE, size=shape)
    baseline = np.exp(logs[..., 0])
    return baseline * np.exp(logs[..., 1]) * ratio / CORRECTION, baseline


def frame(error, baseline, repw=None, *, seed=0, names=None):
    """A board's frame from sums [N, K, H]; baselines are [N, K, H] or of all entries [K, H]."""
    entries, trials, horizons = error.shape
    names = names or [f"entry{number:04d}" for number in range(entries)]
    index = pd.MultiIndex.from_product(
        [names, [seed], range(trials), range(1, horizons + 1)], names=["entry", "seed", "trial", "horizon"]
    )
    columns = {"error": error.ravel(), "baseline": np.broadcast_to(baseline, error.shape).ravel()}
    columns |= {"repw": error.ravel() if repw is None else repw.ravel(), "windows": np.full(error.size, 10.0)}
    return pd.DataFrame(columns, index=index).reset_index()


def coverage(table, truth):
    """The share of intervals that hold the truth."""
    return float(((table["low"] <= truth) & (truth <= table["high"])).mean())
