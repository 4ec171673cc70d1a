"""Windows of training trials: which there are, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import tipl_bench
from helpers import synthetic
from tipl_bench.baselines.fitting import windows as module
from tipl_bench.baselines.fitting.windows import TrainingWindows
from tipl_bench.registry.trial import iteration_positions
from tipl_bench.utils.errors import PredictorError

CONTEXT, HORIZON = 20, 3


@pytest.fixture(scope="module")
def windows(walking) -> TrainingWindows:
    """All windows of five random walks."""
    return TrainingWindows.of(walking.trials(walking.manifest.split.train), CONTEXT, HORIZON)


def test_the_sampling_is_public():
    assert tipl_bench.TrainingWindows is TrainingWindows


def test_when_windows_are_listed_then_each_has_a_whole_context_and_horizon(windows, walking):
    assert len(windows) == 5 * (81 - CONTEXT - HORIZON + 1)
    pairs = list(zip(windows.trial, windows.origin, strict=True))
    assert pairs == [(trial, origin) for trial in range(5) for origin in range(CONTEXT - 1, 81 - HORIZON)]
    for row in (0, 61, len(windows) - 1):
        trial, origin = windows.trials[windows.trial[row]], windows.origin[row]
        whole = trial.weights()
        np.testing.assert_array_equal(windows.weights(row), whole[origin - CONTEXT + 1 : origin + 1 + HORIZON])
        columns = np.array([7, 3, 7])
        np.testing.assert_array_equal(windows.weights(row, columns), windows.weights(row)[:, columns])
        assert windows.position[row] == iteration_positions(trial.columns["epoch"])[origin]
        differences = np.diff(windows.weights(row)[:CONTEXT].astype(float), axis=0)
        assert windows.squared_step[row] == pytest.approx(np.square(differences).sum(axis=1).mean(), rel=1e-12)


def test_when_a_trial_is_read_in_pieces_then_the_steps_are_the_same(windows, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_CHECKPOINTS", 7)
    again = TrainingWindows.of(windows.trials, CONTEXT, HORIZON)
    np.testing.assert_allclose(again.squared_step, windows.squared_step, rtol=1e-14)


def test_when_the_seed_is_the_same_then_the_windows_are(windows):
    first, second, other = (windows.sample(50, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first == second).all()
    assert (first != other).any()


def test_when_windows_are_drawn_then_it_is_in_proportion_to_their_squared_step(windows):
    drawn = np.bincount(windows.sample(200_000, np.random.default_rng(0)), minlength=len(windows))
    share = windows.squared_step / windows.squared_step.sum()
    error = (drawn - 200_000 * share) / np.sqrt(200_000 * share)
    assert np.abs(error).max() < 5


def test_when_nothing_moves_or_trials_are_too_short_then_it_is_said(tmp_path):
    still = synthetic.write_dataset(tmp_path / "still", [np.ones((26, 32))] * 3).trials([0])
    with pytest.raises(PredictorError, match="no weight of trial 0 ever moves"):
        TrainingWindows.of(still, CONTEXT, HORIZON).sample(1, np.random.default_rng(0))
    with pytest.raises(PredictorError, match=r"has the 40 checkpoints .*; the longest has 26"):
        TrainingWindows.of(still, CONTEXT, 20)
