"""Normalisers of many trials, against Gymnasium's own wrappers and running moments: equal bits."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from gymnasium.wrappers.utils import RunningMeanStd
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.rl.environments import make
from tipl_bench.rl.normalizer import ObservationNormalizer, RewardNormalizer

SEEDS = [1, 2, 3]
STEPS = 400


def gymnasium_wrappers():
    """One environment under both wrappers, its moments in float64 as in the Gymnasium that CleanRL pins.

    Gymnasium 1.x starts the observation's moments in float32, which moves the first values by a rounding.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normalized = NormalizeObservation(gymnasium.make("InvertedPendulum-v4"))
    normalized.obs_rms = RunningMeanStd(shape=(4,), dtype=np.float64)
    return NormalizeReward(normalized, gamma=0.97)


@pytest.fixture(scope="module")
def walked():
    """Raw results of three InvertedPendulum streams under random actions, and what the wrappers make of them."""
    raw = make("InvertedPendulum-v4", SEEDS)
    wrapped = [gymnasium_wrappers() for _ in SEEDS]
    actions = np.random.default_rng(0).uniform(-3, 3, (STEPS, len(SEEDS), 1)).astype(np.float32)
    events = [("reset", np.arange(3), raw.reset(), [w.reset(seed=s)[0] for w, s in zip(wrapped, SEEDS, strict=True)])]
    for action in actions:
        observation, reward, terminated, truncated = raw.step(action)
        theirs = [w.step(a) for w, a in zip(wrapped, action, strict=True)]
        events.append(("step", (observation, reward, terminated), theirs))
        ids = np.flatnonzero(terminated | truncated)
        if len(ids):
            events.append(("reset", ids, raw.reset(ids), [wrapped[i].reset()[0] for i in ids]))
    return events, wrapped


def test_observations_are_normalised_as_gymnasium_does(walked):
    events, wrapped = walked
    normalizer, out = ObservationNormalizer(3, 4), np.zeros((3, 4), dtype=np.float32)
    for kind, *event in events:
        if kind == "reset":
            ids, observation, theirs = event
            normalizer(ids, observation, out)
            assert np.array_equal(out[ids], np.clip(theirs, -10, 10))
        else:
            (observation, _, _), theirs = event
            normalizer(np.arange(3), observation, out)
            assert np.array_equal(out, np.clip([result[0] for result in theirs], -10, 10))
    for n, wrapper in enumerate(wrapped):
        moments = wrapper.env.obs_rms
        assert np.array_equal(normalizer.mean[n], moments.mean)
        assert np.array_equal(normalizer.variance[n], moments.var)
        assert normalizer.count[n] == moments.count


def test_rewards_are_scaled_as_gymnasium_does(walked):
    events, wrapped = walked
    normalizer, out = RewardNormalizer(3, gamma=0.97), np.zeros(3, dtype=np.float32)
    for kind, *event in events:
        if kind == "step":
            (_, reward, terminated), theirs = event
            normalizer(reward, terminated, out)
            expected = np.array([result[1] for result in theirs], dtype=np.float64).reshape(3)
            assert np.array_equal(out, np.clip(expected, -10, 10).astype(np.float32))
    for n, wrapper in enumerate(wrapped):
        moments = wrapper.return_rms
        assert (normalizer.mean[n], normalizer.variance[n]) == (moments.mean, moments.var)
        assert normalizer.count[n] == moments.count


finite = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=30))
def test_moments_of_any_numbers_are_those_of_gymnasium(rows):
    normalizer, out, oracle = (
        ObservationNormalizer(1, 2),
        np.zeros((1, 2), dtype=np.float32),
        RunningMeanStd(shape=(2,)),
    )
    for row in np.array(rows):
        normalizer(np.zeros(1, dtype=np.int64), row[None], out)
        oracle.update(row[None])
        assert np.array_equal(normalizer.mean[0], oracle.mean)
        assert np.array_equal(normalizer.variance[0], oracle.var)
        expected = np.clip((row - oracle.mean) / np.sqrt(oracle.var + 1e-8), -10, 10).astype(np.float32)
        assert np.array_equal(out[0], expected)


def test_an_outlier_is_clipped_at_ten_deviations():
    observations, scaled = ObservationNormalizer(1, 1), np.zeros((1, 1), dtype=np.float32)
    rewards, scaled_reward = RewardNormalizer(1, gamma=0.0), np.zeros(1, dtype=np.float32)
    for value in [*[0.001, -0.001] * 500, 1e5]:
        observations(np.zeros(1, dtype=np.int64), np.array([[value]]), scaled)
        rewards(np.array([value]), np.array([False]), scaled_reward)
    assert scaled[0, 0] == 10
    assert scaled_reward[0] == 10


def test_only_the_trials_that_observed_something_are_updated():
    normalizer, out = ObservationNormalizer(3, 2), np.full((3, 2), 7, dtype=np.float32)
    normalizer(np.array([0, 2]), np.array([[1.0, 2.0], [3.0, 4.0]]), out)
    assert normalizer.count.tolist() == [1 + 1e-4, 1e-4, 1 + 1e-4]
    assert normalizer.mean[1].tolist() == [0, 0]
    assert normalizer.variance[1].tolist() == [1, 1]
    assert out[1].tolist() == [7, 7]
    assert np.allclose(normalizer.mean[2], [3, 4], rtol=1e-3)
