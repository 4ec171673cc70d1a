"""Environments against plain Gymnasium ones: same seeds, same actions, equal bits over whole episodes."""

from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from tipl_bench.registry.environments import TASKS, BatchedEnvironment, VectorizedEnvironment, make
from tipl_bench.registry.environments.batched import load_model
from tipl_bench.registry.environments.task import task
from tipl_bench.registry.errors import TiplBenchError, UnknownNameError

SEEDS = [3, 11, 2**32 + 5]
BALANCE = np.array([[1.0], [15.0], [1.0], [2.0]])
"""A feedback that keeps InvertedPendulum-v4 up until its time limit."""


class PlainGymnasium:
    """The oracle: one `gymnasium.make` per stream, in a loop, with the calls of our environments."""

    def __init__(self, environment_id, seeds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.environments = [gymnasium.make(environment_id) for _ in seeds]
        self.seeds = list(seeds)

    def reset(self, ids=None):
        rows = []
        for i in range(len(self.seeds)) if ids is None else ids:
            rows.append(self.environments[i].reset(seed=self.seeds[i])[0])
            self.seeds[i] = None
        return np.array(rows, dtype=np.float64)

    def step(self, action, ids=None):
        ids = range(len(self.seeds)) if ids is None else ids
        steps = [self.environments[i].step(row)[:4] for i, row in zip(ids, action, strict=True)]
        observation, reward, terminated, truncated = zip(*steps, strict=True)
        return np.array(observation, dtype=np.float64), np.array(reward), np.array(terminated), np.array(truncated)


def drive(environment, low, high, steps, *, balanced=(), partial=False):
    """Step with random float32 actions, resetting what ends, and note all that comes back.

    Streams in `balanced` follow the feedback instead; with `partial` a random part of the streams advances each time.
    """
    stream, size = np.random.default_rng(0), len(SEEDS)
    observation = environment.reset()
    resets, returned, ends = [observation.copy()], [], np.zeros((2, size), dtype=int)
    for _ in range(steps):
        action = stream.uniform(low, high, (size, len(low))).astype(np.float32)
        for i in balanced:
            action[i] = np.clip(0.2 * action[i] + observation[i] @ BALANCE, low, high)
        ids = np.flatnonzero(stream.random(size) < 0.7) if partial else np.arange(size)
        if not len(ids):
            continue
        result = environment.step(action[ids], ids if partial else None)
        observation[ids], _, terminated, truncated = result
        returned.append([np.array(part) for part in result])
        ends[0, ids] += terminated
        ends[1, ids] += truncated
        ended = ids[terminated | truncated]
        if len(ended):
            observation[ended] = environment.reset(ended)
            resets.append(observation[ended].copy())
    return resets, returned, ends


def assert_equal_bits(ours, oracle):
    assert len(ours[0]) == len(oracle[0])
    assert all(np.array_equal(a, b) for a, b in zip(ours[0], oracle[0], strict=True)), "resets differ"
    for step, (mine, theirs) in enumerate(zip(ours[1], oracle[1], strict=True)):
        for what, a, b in zip(("observation", "reward", "terminated", "truncated"), mine, theirs, strict=True):
            assert np.array_equal(a, b), f"{what} of step {step}: {a} against {b}"


def run_both(environment_id, steps, threads=1, **options):
    environment = make(environment_id, SEEDS, threads=threads)
    bounds = (environment.action_low, environment.action_high)
    ours = drive(environment, *bounds, steps, **options)
    oracle = drive(PlainGymnasium(environment_id, SEEDS), *bounds, steps, **options)
    return ours, oracle


@pytest.mark.parametrize("threads", [1, 2])
def test_inverted_pendulum_equals_gymnasium_over_fallen_and_full_episodes(threads):
    ours, oracle = run_both("InvertedPendulum-v4", 1100, threads, balanced=[1])
    assert_equal_bits(ours, oracle)
    falls, limits = ours[2]
    assert falls[0] > 20
    assert falls[2] > 20
    assert limits[1] == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_half_cheetah_equals_gymnasium_over_several_episodes(threads):
    ours, oracle = run_both("HalfCheetah-v4", 2050, threads)
    assert_equal_bits(ours, oracle)
    assert ours[2].tolist() == [[0, 0, 0], [2, 2, 2]]


@pytest.mark.parametrize(("environment_id", "balanced"), [("InvertedPendulum-v4", [0]), ("HalfCheetah-v4", [])])
def test_when_only_some_streams_advance_then_each_still_equals_gymnasium(environment_id, balanced):
    ours, oracle = run_both(environment_id, 1600, threads=2, balanced=balanced, partial=True)
    assert_equal_bits(ours, oracle)
    assert ours[2][1].any(), "no episode reached its limit"


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("environment_id", "steps"), [("Pendulum-v1", 650), ("InvertedDoublePendulum-v4", 200), ("Reacher-v4", 200)]
)
def test_any_other_continuous_environment_equals_gymnasium(environment_id, steps, partial):
    assert isinstance(make(environment_id, SEEDS), VectorizedEnvironment)
    ours, oracle = run_both(environment_id, steps, partial=partial)
    assert_equal_bits(ours, oracle)
    assert (ours[2].sum(axis=0) > 1).all(), "some stream saw less than two whole episodes"


@pytest.mark.parametrize("environment_id", [*TASKS, "Pendulum-v1", "Reacher-v4"])
def test_sizes_and_bounds_are_those_of_the_gymnasium_spaces(environment_id):
    environment = make(environment_id, SEEDS)
    plain = PlainGymnasium(environment_id, [0]).environments[0]
    assert len(environment) == len(SEEDS)
    assert (environment.observation_size,) == plain.observation_space.shape
    assert (environment.action_size,) == plain.action_space.shape
    assert np.array_equal(environment.action_low, plain.action_space.low)
    assert np.array_equal(environment.action_high, plain.action_space.high)


@pytest.mark.parametrize("environment_id", TASKS)
def test_a_restored_state_continues_as_the_original_did(environment_id):
    original = BatchedEnvironment(task(environment_id), SEEDS)
    bounds = (original.action_low, original.action_high)
    drive(original, *bounds, 90)
    state = original.state()
    streams = [stream.bit_generator.state for stream in original.streams]
    stream = np.random.default_rng(1)
    actions = [stream.uniform(*bounds, (3, original.action_size)).astype(np.float32) for _ in range(930)]

    def continue_with(environment):
        returned = []
        for action in actions:
            returned.append([part.copy() for part in environment.step(action)])
            ended = np.flatnonzero(returned[-1][2] | returned[-1][3])
            if len(ended):
                returned.append([environment.reset(ended)])
        return returned

    expected = continue_with(original)
    restored = BatchedEnvironment(task(environment_id), [7, 8, 9])
    restored.reset()
    restored.restore(**state)
    for fresh, saved in zip(restored.streams, streams, strict=True):
        fresh.bit_generator.state = saved
    continued = continue_with(restored)
    assert len(continued) == len(expected) > len(actions), "no episode ended after the restore"
    for a, b in zip(continued, expected, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_when_actions_are_discrete_then_the_error_says_what_works():
    with pytest.raises(TiplBenchError, match=r"CartPole-v1 has action space Discrete\(2\).*continuous \(Box\)"):
        make("CartPole-v1", [1])


def test_when_an_environment_is_unknown_then_the_nearest_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'HalfCheetah-v4'") as caught:
        make("HalfCheeta-v4", [1])
    assert "InvertedPendulum-v4" in caught.value.choices


@pytest.mark.parametrize("environment_id", ["HalfCheetah-v4", "HalfCheetah-v5"])
def test_making_an_environment_leaves_no_log_file_in_the_working_directory(environment_id, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    load_model.cache_clear()
    quiet = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(None)
    try:
        make(environment_id, [1]).reset()
    finally:
        mujoco.set_mju_user_warning(quiet)
    assert list(Path.cwd().iterdir()) == []
