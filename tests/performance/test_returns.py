"""J(pi) beside the same physics with precomputed actions, a plain Gymnasium loop, and gymnasium.vector."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from mujoco.batch import Batch
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.registry.loading import load_dataset
from tipl_bench.rl.environments.batched import BatchedEnvironment
from tipl_bench.rl.environments.models import load_model
from tipl_bench.rl.environments.tasks import task
from tipl_bench.rl.evaluation import Policies, evaluate_returns, usable_threads
from tipl_bench.rl.forward import evaluation_actions
from tipl_bench.rl.policy import PolicyLayout

pytestmark = pytest.mark.performance
SEEDS = CURRENT.evaluation_seeds
EPISODE = 1000


def balancing_policies():
    """Late policies of the bundled dataset whose episodes run to the time limit."""
    dataset = load_dataset("inverted-pendulum/ppo-head-v1", download=False)
    found = []
    for trial in dataset.trials():
        rows = [trial.read(name, 396, 401) for name in ("weights", "observation_mean", "observation_variance")]
        found.append(rows)
    policies = Policies(*(np.concatenate(part) for part in zip(*found, strict=True)))
    returns = evaluate_returns(dataset.environment, dataset.layout, policies, SEEDS)
    return dataset.layout, policies[np.flatnonzero(returns == EPISODE)]


def running_policies(count=40):
    """2 x 256 policies with random weights large enough to throw the cheetah about."""
    layout = PolicyLayout(17, (256, 256), 6)
    stream = np.random.default_rng(0)
    weights = np.empty((count, layout.parameter_count), dtype=np.float32)
    for name, part in layout.slices.items():
        shape = layout.shapes[name]
        weights[:, part] = stream.standard_normal((count, part.stop - part.start)) / np.sqrt(shape[-1])
    return layout, Policies(weights, np.zeros((count, 17)), np.full((count, 17), 4.0))


CASES = {"InvertedPendulum-v4": balancing_policies, "HalfCheetah-v4": running_policies}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    layout, policies = CASES[request.param]()
    return request.param, layout, policies


def recorded_actions(environment, layout, policies, steps):
    """The actions that the policies take, [steps, N * E, A]."""
    simulation = BatchedEnvironment(task(environment), list(SEEDS) * len(policies), threads=usable_threads())
    weights, sizes = layout.as_kernel(policies.weights), np.array(layout.sizes)
    ids = np.arange(len(simulation))
    actions = np.empty((steps, len(simulation), layout.action_size), dtype=np.float32)
    observation = simulation.reset()
    for action in actions:
        evaluation_actions(
            weights, sizes, policies.mean, policies.variance, layout.observation_bound,
            simulation.action_low, simulation.action_high, len(SEEDS), ids, observation, action,
        )  # fmt: skip
        observation, *_ = simulation.step(action)
    return actions


@pytest.mark.benchmark(group="J: environment steps")
def test_limit_physics_with_precomputed_actions(case, timed):
    environment, layout, policies = case
    actions = recorded_actions(environment, layout, policies, EPISODE)
    kind = task(environment)
    batch = Batch(load_model(kind.model_file), actions.shape[1], nthread=usable_threads())
    control = batch.bind("ctrl")
    start = BatchedEnvironment(kind, list(SEEDS) * len(policies))
    start.reset()
    state = start.state()["physics"]

    def work():
        batch.state[:] = state
        for action in actions:
            control[:] = action
            batch.step(nstep=kind.frame_skip)

    timed(f"{environment}: physics, precomputed actions (limit)", work, actions.shape[0] * actions.shape[1], "steps/s")


@pytest.mark.benchmark(group="J: environment steps")
def test_evaluate_returns(case, timed):
    environment, layout, policies = case
    steps = len(policies) * len(SEEDS) * EPISODE
    timed(
        f"{environment}: evaluate_returns",
        lambda: evaluate_returns(environment, layout, policies, SEEDS),
        steps,
        "steps/s",
    )


def torch_policy(layout, policies):
    """The first policy as a torch module on raw observations."""
    weights = torch.from_numpy(policies.weights[0])
    parts = {name: weights[part].view(layout.shapes[name]) for name, part in layout.slices.items()}
    mean, std = torch.from_numpy(policies.mean[0]), torch.from_numpy(np.sqrt(policies.variance[0] + 1e-8))
    last = len(layout.sizes) - 2

    def act(observation):
        with torch.no_grad():
            x = ((torch.from_numpy(observation) - mean) / std).clamp(-10, 10).float()
            for layer in range(last + 1):
                x = torch.nn.functional.linear(x, parts[f"layer{layer}.weight"], parts[f"layer{layer}.bias"])
                x = torch.tanh(x) if layer < last else x
        return x.numpy()

    return act


@pytest.mark.benchmark(group="J: environment steps")
def test_peer_plain_gymnasium_and_torch(case, timed):
    environment, layout, policies = case
    act = torch_policy(layout, policies)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make(environment)

    def work():
        for seed in SEEDS[:2]:
            observation, _ = env.reset(seed=seed)
            ended = False
            while not ended:
                action = np.clip(act(observation), env.action_space.low, env.action_space.high)
                observation, _, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated

    timed(f"{environment}: one gymnasium environment and torch (peer)", work, 2 * EPISODE, "steps/s")


@pytest.mark.benchmark(group="J: environment steps")
def test_peer_gymnasium_vector_sync(case, timed):
    environment, layout, policies = case
    act = torch_policy(layout, policies)
    count, steps = 32, 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make_vec(environment, num_envs=count, vectorization_mode="sync")

    def work():
        observation, _ = env.reset(seed=0)
        for _ in range(steps):
            observation, *_ = env.step(np.clip(act(observation), env.action_space.low, env.action_space.high))

    timed(f"{environment}: gymnasium.vector sync and torch (peer)", work, count * steps, "steps/s")


@pytest.mark.parametrize(("environment", "share"), [("InvertedPendulum-v4", 0.9), ("HalfCheetah-v4", 0.6)])
def test_returns_come_near_the_physics_alone(environment, share, reaches):
    reaches(f"{environment}: evaluate_returns", share, f"{environment}: physics, precomputed actions (limit)")


@pytest.mark.parametrize("environment", CASES)
def test_returns_are_five_times_a_plain_loop(environment, reaches):
    reaches(f"{environment}: evaluate_returns", 5, f"{environment}: one gymnasium environment and torch (peer)")
