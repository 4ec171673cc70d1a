"""Synthetic boards: per-trial sums whose true skill is known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from tipl_bench.leaderboard.statistics.pairs import Differences, paired, stratum

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


def equal_entries(stream, entries, trials, **sampled):
    """A board's frame of equal entries, as paired comparisons take it; see `equal_boards`."""
    board = _equal(stream, 1, entries, trials, **sampled)
    return board.assign(entry="entry" + board["entry"].astype(str))


def equal_boards(stream, boards, entries, trials, **sampled):
    """The differences of every two entries of many boards of equal entries, all boards at once; a row a board.

    Log error ratios of the trials are as in `sums`, or, "heavy", of a standard deviation of 1 (their sums over 6 trials
    are mostly one trial's), or ratios are, "student", of Student's t of 2 degrees of freedom, which have no variance.
    Seeds differ by `seed_spread` of the ratio, and a little in each trial; the first entry is better by `gain`.
    """
    found = stratum(_equal(stream, boards, entries, trials, **sampled))
    offset = np.arange(boards)[:, None] * entries
    first, second = (offset + one for one in np.triu_indices(entries, 1))
    pairs = paired([found], first.ravel(), second.ravel(), level=SETTINGS["level"])
    return Differences(*(one.reshape(boards, -1) for one in pairs))


def _equal(stream, boards, entries, trials, seeds=1, tail="normal", seed_spread=0.0, gain=0.0):
    shape = (boards, entries, seeds, trials)
    baseline = np.broadcast_to(np.exp(stream.normal(0.0, 0.245, (boards, 1, 1, trials))), shape)
    if tail == "student":
        draw = partial(stream.standard_t, 2)
        ratio = 0.6 * (1 + 0.1 * draw((boards, entries, 1, trials)) + 0.02 * draw(shape))
    else:
        draw = partial(stream.normal, 0.0, {"normal": 0.12, "heavy": 1.0}[tail])
        common, own = draw((boards, 1, 1, trials)), draw((boards, entries, 1, trials))
        ratio = 0.6 * np.exp(0.5 * common + own + 0.2 * draw(shape))
    ratio = ratio * (1 + seed_spread * stream.normal(size=(boards, entries, seeds, 1)))
    ratio[:, 0] *= 1 - gain
    board, number, seed, trial = np.indices(shape).reshape(4, -1)
    columns = {"entry": board * entries + number, "seed": seed, "trial": trial, "horizon": 1}
    return pd.DataFrame(columns | {"numerator": (baseline * (1 - ratio)).ravel(), "denominator": baseline.ravel()})


def coverage(table, truth):
    """The share of intervals that hold the truth."""
    return float(((table["low"] <= truth) & (truth <= table["high"])).mean())
