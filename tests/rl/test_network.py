"""A stored policy as a torch module: the same actions as evaluations, in plain Gymnasium, ONNX and a file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tipl_bench
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import load_file
from tipl_bench.benchmark.policies.files import export_policy
from tipl_bench.rl import PolicyLayout
from tipl_bench.rl.network import PolicyNetwork
from tipl_bench.utils.errors import DatasetArgumentError, DatasetError, OptionError, TiplBenchError

NAME = "inverted-pendulum/ppo-head-v1"
SEEDS = (10_001, 10_002)


@pytest.fixture(scope="module")
def bundled():
    return tipl_bench.load_dataset(NAME)


@pytest.fixture(scope="module")
def policy(bundled):
    """Half way through learning: it falls, after a while that any other rounding changes."""
    return bundled.trial(0).policy(30)


def played(dataset, act, seed):
    """The return of an episode in plain Gymnasium."""
    environment = dataset.make_env()
    observation, _ = environment.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = environment.step(act(observation))
        total, ended = total + float(reward), terminated or truncated
    return total


def by_hand(tensors, observation):
    """The policy computed from the arrays of its file with numpy alone, in float64."""
    scale = np.sqrt(tensors["observation_variance"] + 1e-8)
    hidden = np.clip((observation - tensors["observation_mean"]) / scale, -10, 10)
    for layer in range(3):
        hidden = hidden @ tensors[f"layer{layer}.weight"].astype(np.float64).T + tensors[f"layer{layer}.bias"]
        hidden = np.tanh(hidden) if layer < 2 else hidden
    return np.clip(hidden, tensors["action_low"], tensors["action_high"])


def test_a_policy_in_plain_gymnasium_earns_its_evaluation(bundled, policy):
    returns = [played(bundled, policy.act, seed) for seed in SEEDS]
    assert returns == [policy.evaluate([seed]) for seed in SEEDS]
    assert policy.evaluate(SEEDS) == np.mean(returns)
    assert 10 < np.mean(returns) < 1000


@settings(max_examples=50, deadline=None)
@given(observation=arrays(np.float64, (3, 4), elements=st.floats(-1e6, 1e6)))
def test_the_module_acts_as_its_arrays_say(policy, observation):
    tensors = {name: value.detach().numpy() for name, value in policy.state_dict().items()}
    expected = by_hand(tensors, observation)
    np.testing.assert_allclose(policy(torch.from_numpy(observation)).detach(), expected, atol=2e-5)
    np.testing.assert_allclose(policy.act(observation), expected, atol=2e-5)
    np.testing.assert_array_equal(policy.act(observation[0]), policy.act(observation)[0])


def test_a_policy_can_be_trained_further_and_stored_again(bundled, policy):
    trained = bundled.trial(0).policy(30)
    trained(torch.zeros(5, 4)).sum().backward()
    assert all(parameter.grad is not None for name, parameter in trained.named_parameters() if name != "log_std")
    stored = policy.stored
    np.testing.assert_array_equal(stored.weights[0], bundled.trial(0).weights(30, 31)[0])
    with torch.no_grad():
        trained.layer2.bias += 1
    assert trained.stored.weights[0][policy.layout.slices["layer2.bias"]] == stored.weights[0][-2] + 1
    assert trained.act(np.zeros(4)) != policy.act(np.zeros(4))
    spread = policy.distribution(torch.zeros(7, 4))
    assert spread.stddev.shape == (7, 1)
    torch.testing.assert_close(spread.stddev[0], policy.log_std.exp())


def test_an_onnx_model_acts_alike(bundled, policy, tmp_path):
    export_policy(policy, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    observation = np.random.default_rng(0).normal(size=(50, 4))
    (found,) = session.run(None, {"observation": observation})
    np.testing.assert_allclose(found, policy.act(observation), atol=1e-6)
    solved = bundled.trial(0).policy(400)
    export_policy(solved, tmp_path / "solved.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "solved.onnx")
    assert played(bundled, lambda one: session.run(None, {"observation": one[None]})[0][0], SEEDS[0]) == 1000
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["policy.onnx", "solved.onnx"], "no temporary files"


def test_a_file_holds_all_that_a_policy_needs(policy, tmp_path):
    path = tmp_path / "policy.safetensors"
    export_policy(policy, path)
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {
            "environment": "InvertedPendulum-v4",
            "activation": "tanh",
            "distribution": "gaussian",
            "sizes": "[4, 8, 8, 1]",
            "normaliser_epsilon": "1e-08",
            "observation_clip": "10.0",
        }
    observation = np.array([0.1, -0.2, 0.3, 4.0])
    np.testing.assert_allclose(by_hand(load_file(path), observation), policy.act(observation), atol=1e-6)


def test_the_python_of_the_page_runs(bundled, policy, tmp_path):
    """Its episode earns its evaluation, and its policy by hand acts."""
    page = Path(__file__).parents[2] / "docs" / "policies.md"
    first, second = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(first, {})
    names = {}
    exec(second, names)
    export_policy(policy, tmp_path / "policy.safetensors")
    observation = np.array([0.1, -0.2, 0.3, 40.0])
    found = names["act"](tmp_path / "policy.safetensors", observation)
    np.testing.assert_allclose(found, policy.act(observation), atol=1e-6)


def test_what_is_no_policy_is_refused(bundled, policy, tmp_path):
    stored = policy.stored
    parts = (stored.weights[0], stored.mean[0], stored.variance[0])
    with pytest.raises(DatasetArgumentError, match="Hopper-v4 has 11 observations and 3 actions"):
        PolicyNetwork("Hopper-v4", policy.layout, *parts)
    with pytest.raises(DatasetError, match="which has P = 122 parameters"):
        PolicyNetwork("InvertedPendulum-v4", PolicyLayout(4, (8, 8), 1), parts[0][1:], *parts[1:])
    with pytest.raises(DatasetArgumentError, match=r"The mean has shape \[2\]; the policy has 4 observations"):
        PolicyNetwork("InvertedPendulum-v4", policy.layout, parts[0], parts[1][:2], parts[2])
    for wrong in (np.zeros(8), np.zeros((3, 8)), 0.0):
        with pytest.raises(DatasetArgumentError, match="the last axis must be 4"):
            policy.act(wrong)
    assert policy.act(np.empty((0, 4))).shape == (0, 1)
    with pytest.raises(OptionError, match="there is no folder"):
        export_policy(policy, tmp_path / "none" / "policy.safetensors")
    with pytest.raises(DatasetArgumentError, match="checkpoints 0 to 400; there is no checkpoint 401"):
        bundled.trial(0).policy(401)
    with pytest.raises(OptionError, match=r"ends in \.onnx or \.safetensors"):
        export_policy(policy, tmp_path / "policy.pt")


def test_the_opset_is_the_one_that_is_asked_for(policy, tmp_path):
    import onnx

    for opset in (18, 20):
        policy.to_onnx(tmp_path / "policy.onnx", opset)
        written = {one.domain: one.version for one in onnx.load(tmp_path / "policy.onnx").opset_import}
        assert written[""] == opset


@pytest.mark.parametrize("opset", [9, 17, 10_000])
def test_an_opset_that_no_exporter_writes_is_refused(policy, tmp_path, opset):
    with pytest.raises(OptionError, match=rf"Opset {opset}: .* write opsets 18 to \d+"):
        policy.to_onnx(tmp_path / "policy.onnx", opset)
    with pytest.raises(OptionError, match="only an ONNX model has an opset"):
        export_policy(policy, tmp_path / "policy.safetensors", 18)
    assert not [*tmp_path.glob("*.*")]


def test_without_onnx_the_way_to_it_is_named(policy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(TiplBenchError, match=r"pip install 'tipl-bench\[onnx\]'"):
        policy.to_onnx(tmp_path / "policy.onnx")
    assert not [*tmp_path.glob("*.*")]
