"""Continuation: PPO from the origin's policy on, with an environment and streams of its own."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from tipl_bench.baselines.continuation import Continuation, ContinuationOptions
from tipl_bench.baselines.fitting.windows import TrainingWindows
from tipl_bench.baselines.predictor import Contexts, FitTask
from tipl_bench.registry.loading import load_dataset
from tipl_bench.rl.environments.batched import BatchedEnvironment
from tipl_bench.utils.errors import PredictorError

HORIZON, CONTEXT = 4, 20
EDGE, WITHIN = 40, 42
"""Origins between two PPO iterations of five checkpoints, and inside one."""


@pytest.fixture(scope="module")
def trials():
    dataset = load_dataset("inverted-pendulum/ppo-head-v1")
    return dataset.trials(dataset.manifest.split.train[:3])


def fitted(trials, seed=0, **options):
    predictor = Continuation(ContinuationOptions(**options))
    predictor.fit(FitTask(trials, [], HORIZON, CONTEXT, seed=seed))
    return predictor


def joined(*contexts):
    first = contexts[0]
    names = ("weights", "observation_mean", "observation_variance", "observation_count", "origin")
    arrays = {name: np.concatenate([getattr(one, name) for one in contexts]) for name in names}
    columns = {name: np.concatenate([one.columns[name] for one in contexts]) for name in first.columns}
    return Contexts(**arrays, columns=columns, layout=first.layout)


def at(trial, origin):
    windows = TrainingWindows.of([trial], CONTEXT, HORIZON)
    return windows.contexts(int(np.flatnonzero(windows.origin == origin)[0]))


def test_the_schedule_is_what_the_trials_columns_show(trials):
    schedule = fitted(trials, windows=0).schedule
    assert schedule == (pytest.approx(3e-4), 390, 2048, 10, 2), "a head's learning rate falls as the whole training's"


def test_the_next_iteration_is_forecast_better_than_by_persistence(trials):
    predictor = fitted(trials, windows=0, warmup=4)
    origins = [(trial, EDGE) for trial in trials]
    contexts = joined(*(at(*origin) for origin in origins))
    last = contexts.weights[:, -1:]
    moved = predictor.predict(contexts, HORIZON) - last
    truth = np.stack([trial.weights(origin + 1, origin + 1 + HORIZON) for trial, origin in origins]) - last
    skill = 1 - np.square(truth - moved).sum(axis=(0, 2)) / np.square(truth).sum(axis=(0, 2))
    assert (skill > 0.1).all(), skill


def test_a_forecast_depends_on_its_window_and_the_seed_alone(trials):
    contexts = joined(at(trials[0], EDGE), at(trials[1], WITHIN))
    predictor = fitted(trials, windows=0, copies=2, warmup=1)
    both = predictor.predict(contexts, HORIZON)
    again = Continuation(predictor.options)
    again.load_state(predictor.state())
    np.testing.assert_array_equal(again.predict(contexts.take(np.array([1])), HORIZON)[0], both[1])
    other = fitted(trials, seed=1, windows=0, copies=2, warmup=1).predict(contexts, HORIZON)
    assert (np.abs(other - both).max(axis=(1, 2)) > 0).all()


@pytest.mark.parametrize(("origin", "iterations"), [(EDGE, 1), (WITHIN, 2)])
def test_it_takes_the_environment_steps_that_it_says(origin, iterations, trials, monkeypatch):
    taken = []
    step = BatchedEnvironment.step

    def counted(self, *arguments):
        taken.append(len(self))
        return step(self, *arguments)

    predictor = fitted(trials, windows=0, copies=3, warmup=2)
    monkeypatch.setattr(BatchedEnvironment, "step", counted)
    predictor.predict(at(trials[0], origin), HORIZON)
    assert sum(taken) == (2 + 3 * iterations) * 2048


def test_the_scale_is_that_of_least_squares_on_training_windows(trials):
    plain, scaled = (fitted(trials, windows=windows, copies=2, warmup=1) for windows in (0, 2))
    assert (plain.scale == 1).all()
    contexts = joined(at(trials[0], EDGE), at(trials[1], WITHIN))
    last = contexts.weights[:, -1:]
    expected = (plain.predict(contexts, HORIZON) - last) * scaled.scale[:, None]
    np.testing.assert_allclose(scaled.predict(contexts, HORIZON) - last, expected, atol=1e-6)
    windows, rng = TrainingWindows.of(trials, CONTEXT, HORIZON), np.random.default_rng(0)
    rows = [int(rng.integers(len(windows))) for _ in range(2)]
    contexts = joined(*map(windows.contexts, rows))
    moved = plain.predict(contexts, HORIZON) - contexts.weights[:, -1:]
    truth = np.stack([windows.weights(row)[CONTEXT:] for row in rows]) - contexts.weights[:, -1:]
    for h in range(HORIZON):
        (factor,), *_ = np.linalg.lstsq(moved[:, h].reshape(-1, 1), truth[:, h].ravel())
        assert scaled.scale[h] == pytest.approx(factor, rel=1e-3)


def test_an_environment_of_other_policies_is_refused(trials):
    predictor = fitted(trials, windows=0, environment="Hopper-v4")
    with pytest.raises(PredictorError, match=r"a policy of Hopper-v4 has 198 parameters, these have 122: set environ"):
        predictor.predict(at(trials[0], EDGE), HORIZON)


def test_an_environment_whose_state_cannot_be_copied_is_refused(trials):
    entry = gymnasium.registry["InvertedPendulum-v5"]
    gymnasium.register("OwnPendulum-v0", entry.entry_point, max_episode_steps=entry.max_episode_steps)
    try:
        predictor = fitted(trials, windows=0, environment="OwnPendulum-v0")
        with pytest.raises(PredictorError, match="the state of OwnPendulum-v0 cannot be copied, only that of Inv"):
            predictor.predict(at(trials[0], EDGE), HORIZON)
    finally:
        gymnasium.registry.pop("OwnPendulum-v0")
