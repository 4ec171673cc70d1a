"""Recording checkpoints in a training loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tipl_bench import TiplBenchError, TrajectoryRecorder
from torch import nn


class Agent(nn.Module):
    def __init__(self, hidden=5, activation=nn.Tanh):
        super().__init__()
        self.actor_mean = nn.Sequential(nn.Linear(4, hidden), activation(), nn.Linear(hidden, 1))
        self.critic = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1))
        self.actor_logstd = nn.Parameter(torch.zeros(1, 1))


def changed(agent, value):
    with torch.no_grad():
        agent.actor_mean[0].bias[2] = value
    return agent


def test_what_is_saved_is_what_was_recorded_though_the_agent_trains_on(tmp_path):
    agent, recorder = Agent(), TrajectoryRecorder(tmp_path / "runs" / "one.safetensors", seed=7)
    expected = []
    for steps in (0, 2048):
        recorder.record(
            agent, environment_steps=steps, observation_mean=np.arange(4.0), observation_variance=np.ones(4),
            learning_rate=3e-4, episodic_return=None if steps == 0 else 17.5,
        )  # fmt: skip
        expected.append(agent.actor_mean[0].weight.detach().numpy().copy())
        with torch.no_grad():
            agent.actor_mean[0].weight += 1
    tensors = load_file(recorder.save())
    assert np.array_equal(tensors["layer0.weight"], expected)
    assert tensors["layer1.bias"].shape == (2, 1)
    assert tensors["log_std"].shape == (2, 1)
    assert tensors["environment_steps"].tolist() == [0, 2048]
    assert np.array_equal(tensors["observation_mean"], [np.arange(4.0)] * 2)
    assert np.array_equal(tensors["episodic_return"], [np.nan, 17.5], equal_nan=True)
    assert tensors["seed"].tolist() == [7]
    assert tensors.keys().isdisjoint({"iteration", "observation_count", "critic.0.weight"})
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one.safetensors"]


def test_layers_of_any_name_are_recorded_if_they_are_named(tmp_path):
    recorder = TrajectoryRecorder(tmp_path / "a.safetensors", layers=("body", "head"), log_std="deviation")
    arrays = {"body.weight": np.ones((2, 4)), "body.bias": np.zeros(2), "head.weight": np.ones((1, 2)),
              "head.bias": np.zeros(1), "deviation": np.zeros(1), "other": np.zeros(9)}  # fmt: skip
    recorder.record(arrays, environment_steps=0)
    assert load_file(recorder.save())["layer1.weight"].tolist() == [[[1, 1]]]


MOMENTS = {"observation_mean": np.zeros(4), "observation_variance": np.ones(4)}
REFUSED = {
    "earlier": (Agent(), {"environment_steps": 5}, "not after the one before it, at 10 .* put them in order"),
    "the same": (Agent(), {"environment_steps": 10}, "state iteration and epoch of checkpoints between which"),
    "negative steps": (Agent(), {"environment_steps": -1}, "environment_steps is -1; it is a whole number"),
    "no number": (Agent(), {"environment_steps": "x"}, "environment_steps is no number"),
    "another width": (Agent(6), {}, r"has shape \[6, 4\], in the first checkpoint \[5, 4\]"),
    "NaN": (changed(Agent(), float("nan")), {}, "0.bias' holds a value that is not a finite number"),
    "infinity": (changed(Agent(), float("inf")), {}, "0.bias' holds a value that is not a finite number"),
    "float64": (changed(Agent().double(), 0.1), {}, "float64 and no float32 has its values"),
    "no moments": (Agent(), {"observation_mean": None, "observation_variance": None}, "states no observation_mean"),
    "half of the moments": (Agent(), {"observation_mean": None}, "only one of observation_mean"),
    "a negative variance": (Agent(), {"observation_variance": -np.ones(4)}, "variance, below 0"),
    "moments of others": (Agent(), {"observation_mean": np.zeros(3)}, "policy has 4 observations"),
    "an epoch alone": (Agent(), {"epoch": 1}, "epoch alone; state both"),
    "an epoch from 0": (Agent(), {"iteration": 1, "epoch": 0}, "both count from 1"),
    "another structure": (nn.Linear(4, 1), {}, "no tensor"),
    "an algorithm": (object(), {}, "model.policy"),
    "a negative rate": (Agent(), {"learning_rate": -1.0}, "learning_rate is -1.0, below 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_checkpoint_that_does_not_follow_is_refused_and_not_recorded(tmp_path, what):
    policy, changes, message = REFUSED[what]
    recorder = TrajectoryRecorder(tmp_path / "a.safetensors")
    recorder.record(Agent(), environment_steps=10, **MOMENTS)
    with pytest.raises(TiplBenchError, match=rf"(checkpoint 1: .*{message}|{message})"):
        recorder.record(policy, **({"environment_steps": 20} | MOMENTS | changes))
    assert len(recorder) == 1


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Agent(activation=nn.ReLU), "'actor_mean.1' of the policy is a ReLU; .* tanh"),
        (nn.Linear(4, 1), "no policy among weight, bias; known names are layer0.weight"),
        ({"actor_mean.0.weight": np.ones((1, 4))}, "no tensor 'actor_mean.0.bias'"),
        ({**Agent().state_dict(), "encoder.weight": np.ones(2)}, "encoder.weight is no part of a CleanRL MLP policy"),
        ({**Agent().state_dict(), "layer0.weight": np.ones(2)}, "by tipl-bench and CleanRL, of which only one"),
        ({k: v for k, v in Agent().state_dict().items() if "log" not in k}, "state-independent log-std"),
        ({**Agent().state_dict(), "actor_logstd": np.ones((5, 1))}, r"'actor_logstd' has shape \[5, 1\]"),
        ({**Agent().state_dict(), "actor_mean.2.weight": np.ones((1, 3))}, "has 5 outputs, and .* 3 inputs"),
    ],
)  # fmt: skip
def test_a_policy_that_the_format_cannot_hold_is_refused_with_the_way_out(tmp_path, policy, message):
    with pytest.raises(TiplBenchError, match=message):
        TrajectoryRecorder(tmp_path / "a.safetensors").record(policy, environment_steps=0)


def test_several_checkpoints_of_an_iteration_are_told_apart(tmp_path):
    recorder = TrajectoryRecorder(tmp_path / "a.safetensors")
    for steps, iteration, epoch in ((0, 0, 0), (64, 1, 1), (64, 1, 2), (128, 2, 1)):
        recorder.record(Agent(), environment_steps=steps, iteration=iteration, epoch=epoch)
    assert load_file(recorder.save())["epoch"].tolist() == [0, 1, 2, 1]
    with pytest.raises(TiplBenchError, match="steps, then iteration, then epoch must rise"):
        recorder.record(Agent(), environment_steps=128, iteration=2, epoch=1)


@pytest.mark.parametrize(
    ("path", "seed", "message"), [("a.pt", None, "ends in .safetensors"), ("a.safetensors", -1, "from 0")]
)
def test_a_recorder_of_no_use_is_refused_at_once(path, seed, message):
    with pytest.raises(TiplBenchError, match=message):
        TrajectoryRecorder(path, seed=seed)


def test_nothing_recorded_is_nothing_saved(tmp_path):
    with pytest.raises(TiplBenchError, match="no checkpoint was recorded"):
        TrajectoryRecorder(tmp_path / "a.safetensors").save()
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("seed", ["a", 1.5, True, -1])
def test_a_seed_is_a_whole_number(tmp_path, seed):
    with pytest.raises(TiplBenchError, match="a trial's seed is a whole number from 0"):
        TrajectoryRecorder(tmp_path / "t.safetensors", seed=seed)


def test_what_is_no_array_is_named_and_not_recorded(tmp_path):
    recorder = TrajectoryRecorder(tmp_path / "t.safetensors")
    with pytest.raises(TiplBenchError, match="observation_mean is no array"):
        recorder.record(Agent(), environment_steps=0, observation_mean=[1, [2]], observation_variance=np.ones(4))
    assert len(recorder) == 0
