"""Environments against plain Gymnasium ones: same seeds, same actions, equal bits over whole episodes."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from tipl_bench.rl.environments import TASKS, BatchedEnvironment, VectorizedEnvironment, make
from tipl_bench.rl.environments.models import load_model, model_path
from tipl_bench.rl.environments.tasks import task
from tipl_bench.utils.errors import TiplBenchError, UnknownNameError

SEEDS = [3, 11, 2**32 + 5]


def joint_springs(joints, stiffness, damping):
    """The feedback of a legged robot that pulls every joint back to 0, [O, A]."""
    gains = np.zeros((2 * joints + 5, joints))
    for joint in range(joints):
        gains[2 + joint, joint], gains[5 + joints + joint, joint] = -stiffness, -damping
    return gains


def standing_walker():
    gains = joint_springs(6, 1.5, 0.13)
    gains[0] = 0.1, -0.08, 0.15, 0.15, -0.14, -0.01  # one foot in front; the height is about 1.25
    gains[1, [2, 5]], gains[1, [0, 3]] = -1.4, -1.1  # ankles and hips against the torso's lean
    gains[10, [2, 5]], gains[10, [0, 3]] = -0.15, -0.07
    gains[8, [2, 5]] = 0.04
    return gains


FEEDBACK = {
    "InvertedPendulum": np.array([[1.0], [15.0], [1.0], [2.0]]),
    "InvertedDoublePendulum": np.array([[-0.08, -0.8, -4.06, 0, 0, -0.15, -0.54, -0.6, 0, 0, 0]]).T,
    "Hopper": joint_springs(3, 2.0, 0.2),
    "Walker2d": standing_walker(),
}
"""What keeps the tasks that end early up until their time limit: action = observation @ feedback."""

FIRST = ["InvertedPendulum-v4", "InvertedDoublePendulum-v4", "HalfCheetah-v4", "Hopper-v4", "Swimmer-v4", "Walker2d-v4"]
SHORT = {"Reacher": 160, "Ant": 250, "Humanoid": 160}
"""Steps of the ordinary tests for tasks of short episodes and for those whose physics is slow."""


def feedback_of(environment_id):
    return FEEDBACK.get(environment_id.rpartition("-v")[0])


def steps_of(environment_id, steps):
    return SHORT.get(environment_id.rpartition("-v")[0], steps)


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
        reward = np.array(reward, dtype=np.float64)  # InvertedPendulum-v5 gives whole numbers
        return np.array(observation, dtype=np.float64), reward, np.array(terminated), np.array(truncated)


def drive(environment, low, high, steps, *, feedback=None, steadied=(), partial=False, saturated=False):
    """Step with random float32 actions, resetting what ends, and note all that comes back.

    Streams in `steadied` act a tenth as much, and on top follow the feedback if there is one; with `partial` a random
    part of the streams advances each time; with `saturated` every action is at a bound.
    """
    stream, size = np.random.default_rng(0), len(SEEDS)
    observation = environment.reset()
    resets, returned, ends = [observation.copy()], [], np.zeros((2, size), dtype=int)
    for _ in range(steps):
        action = stream.uniform(low, high, (size, len(low)))
        if saturated:
            action = np.where(action < (low + high) / 2, low, high)
        for i in steadied:
            held = 0.0 if feedback is None else observation[i] @ feedback[: len(observation[i])]
            action[i] = np.clip(0.1 * action[i] + held, low, high)
        action = action.astype(np.float32)
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


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_equal_bits(ours, oracle):
    assert len(ours[0]) == len(oracle[0])
    assert all(map(same_bits, ours[0], oracle[0])), "resets differ"
    for step, (mine, theirs) in enumerate(zip(ours[1], oracle[1], strict=True)):
        for what, a, b in zip(("observation", "reward", "terminated", "truncated"), mine, theirs, strict=True):
            assert same_bits(a, b), f"{what} of step {step}: {a} against {b}"


def run_both(environment_id, steps, threads=1, **options):
    environment = make(environment_id, SEEDS, threads=threads)
    bounds = (environment.action_low, environment.action_high)
    ours = drive(environment, *bounds, steps, **options)
    oracle = drive(PlainGymnasium(environment_id, SEEDS), *bounds, steps, **options)
    return ours, oracle


def run_steadied(environment_id, steps, threads, **options):
    return run_both(environment_id, steps, threads, feedback=feedback_of(environment_id), **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("environment_id", FIRST)
def test_a_batched_task_equals_gymnasium_over_failed_and_full_episodes(environment_id, threads):
    ours, oracle = run_steadied(environment_id, 2050, threads, steadied=[1])
    assert_equal_bits(ours, oracle)
    failed, full = ours[2]
    assert full[1] == 2, "the steadied stream should run to its time limit"
    if feedback_of(environment_id) is not None:
        assert (failed[[0, 2]] > 20).all()
    else:
        assert failed.tolist() == [0, 0, 0]


@pytest.mark.parametrize("environment_id", [name for name in TASKS if name not in FIRST])
def test_another_version_or_robot_equals_gymnasium_over_failed_and_full_episodes(environment_id):
    falls = environment_id.startswith(("Ant", "Humanoid"))  # whatever is done
    driven = {"saturated": True} if falls else {"steadied": [1]}
    ours, oracle = run_steadied(environment_id, steps_of(environment_id, 1010), threads=2, **driven)
    assert_equal_bits(ours, oracle)
    failed, full = ours[2]
    assert failed.sum() > 0 if falls else full[1] > 0, "neither a failure nor a whole episode was seen"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"saturated": True}, {"partial": True, "steadied": [0]}, {"steadied": [0, 1, 2]}])
@pytest.mark.parametrize("environment_id", [name for name in TASKS if name not in FIRST])
def test_another_version_or_robot_equals_gymnasium_however_it_is_driven(environment_id, options):
    ours, oracle = run_steadied(environment_id, 2050, 2, **options)
    assert_equal_bits(ours, oracle)
    assert (ours[2].sum(axis=0) > 0).all(), "some stream saw no whole episode"


@pytest.mark.parametrize("environment_id", FIRST)
def test_when_actions_saturate_then_a_batched_task_still_equals_gymnasium(environment_id):
    ours, oracle = run_both(environment_id, 1050, threads=2, saturated=True)
    assert_equal_bits(ours, oracle)
    assert (ours[2].sum(axis=0) > 0).all(), "some stream saw no whole episode"


@pytest.mark.parametrize("environment_id", FIRST)
def test_when_only_some_streams_advance_then_each_still_equals_gymnasium(environment_id):
    ours, oracle = run_steadied(environment_id, 1600, threads=2, steadied=[0], partial=True)
    assert_equal_bits(ours, oracle)
    assert ours[2][1, 0] == 1, "the steadied stream should run to its time limit"
    assert (ours[2].sum(axis=0) > 0).all(), "some stream saw no whole episode"


@pytest.mark.parametrize(
    "environment_id", ["Hopper-v4", "Walker2d-v4", "Hopper-v5", "Walker2d-v5", "Ant-v4", "Humanoid-v5"]
)
def test_a_robot_is_unhealthy_exactly_where_gymnasium_says(environment_id):
    kind, plain = task(environment_id), PlainGymnasium(environment_id, [0]).environments[0].unwrapped
    # At the robots' bounds, on either side of them, and where nothing is finite.
    bounds = [x for bound in (0.2, 0.7, 0.8, 1.0, 2.0, 100.0) for x in (bound, np.nextafter(bound, 0))]
    extremes = [0.0, *bounds, *np.negative(bounds), np.inf, -np.inf, np.nan]
    qpos, qvel = plain.init_qpos, plain.init_qvel
    cases = [(place, value) for place in range(1, qpos.size + qvel.size) for value in extremes]
    rows = np.tile(np.concatenate([qpos, qvel]), (len(cases), 1))
    for row, (place, value) in zip(rows, cases, strict=True):
        row[place] = value
    expected = []
    for row in rows:
        plain.data.qpos[:], plain.data.qvel[:] = np.split(row, [qpos.size])
        expected.append(not plain.is_healthy)
    state = {"qpos": rows[:, : qpos.size], "qvel": rows[:, qpos.size :]}
    assert 0 < sum(expected) < len(expected)
    assert kind.terminated(state, rows).tolist() == expected


@pytest.mark.parametrize("environment_id", ["InvertedDoublePendulum-v4", "InvertedDoublePendulum-v5"])
def test_the_double_pendulums_reward_is_squared_as_gymnasium_squares(environment_id):
    # Large velocities and distances, so that a square's last bit is not lost beside the reward's 10.
    plain = PlainGymnasium(environment_id, [0]).environments[0].unwrapped
    plain.frame_skip = 0  # step() then judges the state it is given
    stream = np.random.default_rng(0)
    qvel, site_xpos = 100 * stream.standard_normal((6000, 3)), 100 * stream.standard_normal((6000, 1, 3))
    action = np.zeros((6000, 1), dtype=np.float32)
    expected = np.empty(6000)
    for row in range(6000):
        plain.data.qvel[:], plain.data.site_xpos[:] = qvel[row], site_xpos[row]
        expected[row] = plain.step(action[row])[1]
    state, kind = {"qvel": qvel, "site_xpos": site_xpos}, task(environment_id)
    assert same_bits(kind.reward({}, state, action, 0.05, kind.terminated(state, qvel)), expected)


@pytest.mark.parametrize("environment_id", TASKS)
def test_a_batched_tasks_constants_are_those_gymnasium_registers(environment_id):
    kind, plain = task(environment_id), PlainGymnasium(environment_id, [0]).environments[0].unwrapped
    assert kind.environment_id == environment_id
    assert kind.time_limit == gymnasium.registry[environment_id].max_episode_steps
    assert kind.frame_skip == plain.frame_skip
    assert Path(plain.fullpath).samefile(model_path(kind.model_file))


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(("environment_id", "steps"), [("Pendulum-v1", 650), ("Pusher-v5", 350)])
def test_any_other_continuous_environment_equals_gymnasium(environment_id, steps, partial):
    assert isinstance(make(environment_id, SEEDS), VectorizedEnvironment)
    ours, oracle = run_both(environment_id, steps, partial=partial)
    assert_equal_bits(ours, oracle)
    assert (ours[2].sum(axis=0) > 1).all(), "some stream saw less than two whole episodes"


@pytest.mark.parametrize("environment_id", [*TASKS, "Pendulum-v1", "Pusher-v5"])
def test_sizes_and_bounds_are_those_of_the_gymnasium_spaces(environment_id):
    environment = make(environment_id, SEEDS)
    plain = PlainGymnasium(environment_id, [0]).environments[0]
    assert len(environment) == len(SEEDS)
    assert (environment.observation_size,) == plain.observation_space.shape
    assert (environment.action_size,) == plain.action_space.shape
    assert np.array_equal(environment.action_low, plain.action_space.low)
    assert np.array_equal(environment.action_high, plain.action_space.high)


@pytest.mark.parametrize("environment_id", [*FIRST, "Reacher-v4", "Ant-v5", "Humanoid-v5"])
def test_a_restored_state_continues_as_the_original_did(environment_id):
    original = BatchedEnvironment(task(environment_id), SEEDS)
    bounds = (original.action_low, original.action_high)
    drive(original, *bounds, 90)
    state = original.state()
    streams = [stream.bit_generator.state for stream in original.streams]
    stream = np.random.default_rng(1)
    shape, steps = (3, original.action_size), steps_of(environment_id, 930)
    actions = [stream.uniform(*bounds, shape).astype(np.float32) for _ in range(steps)]

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
        assert all(map(same_bits, a, b))


class ManyChoices(gymnasium.Env):
    """An environment of several discrete actions at once."""

    action_space = gymnasium.spaces.MultiDiscrete([2, 3])
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)


def test_when_actions_are_of_another_kind_then_the_error_says_what_works():
    gymnasium.register("ManyChoices-v0", ManyChoices)
    try:
        with pytest.raises(TiplBenchError, match=r"action space MultiDiscrete.*continuous \(Box\).*single discrete"):
            make("ManyChoices-v0", [1])
    finally:
        gymnasium.registry.pop("ManyChoices-v0")


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


LOAD_AT_ONCE = """
import threading
from tipl_bench.rl.environments.models import load_model
from tipl_bench.rl.environments.tasks import TASKS

for _ in range(30):
    load_model.cache_clear()
    together = threading.Barrier(4)
    load = lambda: (together.wait(), load_model(TASKS["HalfCheetah-v4"].model_file))
    threads = [threading.Thread(target=load) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


def test_threads_that_load_a_model_at_once_neither_abort_nor_leave_a_log_file(tmp_path):
    # MuJoCo's handler of warnings is the process's: replaced by one thread while another's model warned, it aborted
    (tmp_path / "here").mkdir()
    subprocess.run([sys.executable, "-c", LOAD_AT_ONCE], cwd=tmp_path / "here", check=True)
    assert list((tmp_path / "here").iterdir()) == []


class Broken(gymnasium.Env):
    """An environment that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no model\nfor this machine")


def test_an_environment_whose_constructor_raises_is_one_sentence_that_says_why():
    gymnasium.register("Broken-v0", Broken)
    try:
        with pytest.raises(
            TiplBenchError, match=r"^Environment 'Broken-v0' cannot be made here \(RuntimeError: no mod"
        ) as told:
            make("Broken-v0", [0])
    finally:
        gymnasium.registry.pop("Broken-v0")
    assert "\n" not in str(told.value)
    assert str(told.value).endswith("Install what it asks for, or choose another.")


@pytest.mark.parametrize("environment", ["Pusher-v4", "Ant-v3"])
def test_an_environment_of_former_packages_is_refused_likewise(environment):
    with pytest.raises(TiplBenchError, match=rf"^Environment '{environment}' cannot be made here \(ImportError: "):
        make(environment, [0])


@pytest.mark.parametrize(("environment", "message"), [
    ("CliffWalking-v1", "has no time limit, .* max_episode_steps"),
    ("Blackjack-v1", "has no time limit"),
])  # fmt: skip
def test_an_environment_whose_episodes_may_never_end_is_refused(environment, message):
    with pytest.raises(TiplBenchError, match=message):
        make(environment, [1])
