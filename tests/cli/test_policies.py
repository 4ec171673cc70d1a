"""`tipl-bench policy` and `watch`: what a person sees, and films."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.training_records import training_run
from PIL import Image
from safetensors.numpy import load_file
from tipl_bench.benchmark.policies.video import side_by_side
from tipl_bench.benchmark.run import run
from tipl_bench.cli import main
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.policies import policies_of_window
from tipl_bench.registry.loading import load_dataset
from tipl_bench.rl import PolicyLayout, rendering
from tipl_bench.rl.network import PolicyNetwork
from tipl_bench.rl.rendering import choose_renderer, rendered_episode
from tipl_bench.utils.errors import OptionError, TiplBenchError

NAME = "inverted-pendulum/ppo-head-v1"


def invoke(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def plain(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def renderer():
    """Films need OpenGL, which CI installs."""
    try:
        choose_renderer()
    except TiplBenchError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A run of a few windows."""
    return run("linear", NAME, out=tmp_path_factory.mktemp("runs") / "linear", limit=4, returns=False)


def test_a_policy_is_shown_with_what_it_needs():
    shown = invoke("policy", "show", NAME, 0, 400)
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    for text in ("trial 0 (seed 1)", "4 - 8 - 8 - 1", "cut to +-10", "[-3, 3]", "163840"):
        assert text in shown.output
    found = json.loads(invoke("policy", "show", NAME, 0, 400, "--json").output)
    assert found["parameters"] == 122
    first = json.loads(invoke("policy", "show", NAME, 0, 0, "--json").output, parse_constant=pytest.fail)
    assert first["episodic return"] is None
    assert len(found["observation mean"]) == 4


def test_a_policys_evaluation_is_that_of_the_protocol():
    found = json.loads(invoke("policy", "evaluate", NAME, 0, 30, "--json").output)
    derived = load_dataset(NAME).trial(0).policy(30).evaluate(range(10_001, 10_006))
    assert found["seeds"] == [10_001, 10_005]
    assert found["mean"] == pytest.approx(derived)
    lines = invoke("policy", "evaluate", NAME, 0, 30, "--episodes", 2, "--seed", 10_002).output.splitlines()
    assert [line.split()[0] for line in lines] == ["10002", "10003", "mean"]
    assert float(lines[0].split()[1]) == pytest.approx(found["returns"][1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", NAME, 50, 0], "has trials 0 to 49; there is no trial 50"),
        (["evaluate", NAME, 0, 401], "has checkpoints 0 to 400; there is no checkpoint 401"),
        (["export", NAME, 0, 0, "--out", "policy.pth"], "ends in .onnx or .safetensors"),
        (["record", NAME, 0, 0, "--out", "policy.avi"], "ends in .gif or .mp4"),
    ],
)
def test_what_is_not_there_is_one_sentence(words, message):
    refused = invoke("policy", *words)
    assert refused.exit_code == 2
    assert message in plain(refused.output)


def test_a_policy_is_exported(tmp_path):
    path = tmp_path / "policy.safetensors"
    assert invoke("policy", "export", NAME, 0, 30, "--out", path).exit_code == 0
    assert load_file(path)["layer0.weight"].shape == (8, 4)


def test_a_film_lasts_as_long_as_its_episode(renderer, tmp_path):
    path = tmp_path / "policy.gif"
    shown = invoke("policy", "record", NAME, 0, 5, "--out", path, "-q")
    assert shown.exit_code == 0, shown.output
    (value,) = json.loads(invoke("policy", "evaluate", NAME, 0, 5, "--episodes", 1, "--json").output)["returns"]
    assert f"return {value:.2f}" in shown.output
    with Image.open(path) as film:
        assert film.n_frames == value  # a reward of 1 a step, 25 steps a second
        assert film.info["duration"] == 40
        assert film.size == (480, 504)
        assert np.asarray(film.convert("RGB"))[30:].std() > 5, "something is to be seen"
    short = tmp_path / "policy.mp4"
    assert invoke("policy", "record", NAME, 0, 400, "--out", short, "--steps", 3, "-q").exit_code == 0
    assert short.read_bytes()[4:8] == b"ftyp"


def test_policies_filmed_side_by_side_do_not_draw_over_each_other(renderer):
    """Each has a context of OpenGL of its own, and the one that was current last is not another's."""
    policy = load_dataset(NAME).trial(0).policy(400)
    (alone,) = (next(iter(episode)).frame for episode in [rendered_episode(policy, 10_001)])
    episodes = [rendered_episode(policy, seed) for seed in (10_001, 10_002)]
    first, second = (next(episode).frame for episode in episodes)
    np.testing.assert_array_equal(first, alone)
    assert (first != second).any()
    assert first.std() > 5 < second.std()
    assert side_by_side([first, second], ["one", "two"]).shape == (504, 964, 3)


def test_a_forecast_is_filmed_beside_the_true_policy(renderer, linear, tmp_path):
    path = tmp_path / "watch.gif"
    shown = invoke("watch", linear.folder, "--window", 1, "--horizon", 4, "--steps", 2, "--out", path, "-q")
    assert shown.exit_code == 0, shown.output
    window = open_run(linear.folder).windows[1]
    assert f"true, checkpoint {window.origin + 4}" in shown.output
    with Image.open(path) as film:
        assert film.size == (3 * 480 + 2 * 4, 504)


def test_the_policies_of_a_window_are_those_that_are_scored(linear):
    opened = open_run(linear.folder)
    window = opened.windows[2]
    true, forecast, origin = policies_of_window(opened, 2, 3).values()
    trial = opened.dataset.trial(window.trial)
    np.testing.assert_array_equal(forecast.stored.weights[0], linear.forecasts[2, 2])
    np.testing.assert_array_equal(true.stored.weights, trial.weights(window.origin + 3, window.origin + 4))
    np.testing.assert_array_equal(forecast.stored.mean, origin.stored.mean)
    later = next(iter(policies_of_window(opened, 2, 10).values()))
    assert (later.stored.mean != origin.stored.mean).any(), "two iterations on, under its own normaliser"
    with pytest.raises(OptionError, match="windows 0 to 3; there is no window 4"):
        policies_of_window(opened, 4)
    with pytest.raises(OptionError, match="horizons 1 to 10, not 11"):
        policies_of_window(opened, 0, 11)


def test_a_training_run_has_nothing_to_watch(tmp_path):
    training_run(tmp_path / "adam", 1.0)
    refused = invoke("watch", tmp_path / "adam")
    assert refused.exit_code == 2
    assert "is a run of the training track" in plain(refused.output)


def test_without_a_renderer_the_way_to_one_is_named(monkeypatch):
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rendering, "PROBE", "raise SystemExit(1)")
    with pytest.raises(TiplBenchError, match="apt-get install libegl1"):
        choose_renderer()
    assert "MUJOCO_GL" not in os.environ


def test_a_renderer_that_does_not_work_here_is_named(monkeypatch):
    for name in ("nonsense", "glfw"):
        monkeypatch.setenv("MUJOCO_GL", name)
        monkeypatch.delenv("DISPLAY", raising=False)
        with pytest.raises(TiplBenchError, match=f"MUJOCO_GL={name}. Set it to one of egl, osmesa, or leave it unset"):
            choose_renderer()


def test_a_policy_that_mujoco_does_not_play_is_filmed_with_pygame(monkeypatch):
    layout = PolicyLayout(4, (3,), 2, distribution="categorical")
    weights = np.zeros(layout.parameter_count, np.float32)
    policy = PolicyNetwork("CartPole-v1", layout, weights, np.zeros(4), np.ones(4))
    step = next(iter(rendered_episode(policy, 1)))
    assert step.reward == 1
    assert step.frame.ndim == 3
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(
        TiplBenchError, match=r"CartPole-v1 cannot be rendered here .* pip install 'tipl-bench\[video\]'"
    ):
        next(iter(rendered_episode(policy, 1)))


def test_a_run_is_no_dataset_but_can_be_watched(linear):
    refused = invoke("policy", "record", linear.folder, 0, 40)
    assert refused.exit_code == 2
    assert f"`tipl-bench watch {linear.folder}`" in plain(refused.output).replace("/ ", "/")
