"""J: the mean return of the deterministic policy, against Gymnasium itself."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.rl import Policies, evaluate_returns, usable_threads
from tipl_bench.rl.forward import evaluation_actions
from tipl_bench.utils.errors import DatasetError, ProtocolError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SEEDS = (11, 12, 13)


def policies(layout, count: int, seed: int = 0, spread: float = 0.5) -> Policies:
    """Random policies, each with a normaliser of its own."""
    stream = np.random.default_rng(seed)
    shape = (count, layout.observation_size)
    weights = (spread * stream.normal(size=(count, layout.parameter_count))).astype(np.float32)
    return Policies(weights, 0.1 * stream.normal(size=shape), stream.uniform(0.2, 2.0, size=shape))


def balancing(layout, gain: float) -> Policies:
    """A policy that pushes the cart below the pole: it balances for the whole episode where the gain is enough."""
    weights = np.zeros((1, layout.parameter_count), dtype=np.float32)
    pieces = {name: weights[0, part].reshape(layout.shapes[name]) for name, part in layout.slices.items()}
    pieces["layer0.weight"][0] = 0.1 * np.array([0.05, 1.0, 0.1, 0.3])
    pieces["layer1.weight"][0, 0] = 1.0
    pieces["layer2.weight"][0, 0] = gain
    return Policies(weights, np.zeros((1, 4)), np.ones((1, 4)))


def gymnasium_episodes(environment: str, seeds, act) -> float:
    """The mean return of episodes stepped one by one by Gymnasium."""
    totals = []
    for seed in seeds:
        simulation = gymnasium.wrappers.FlattenObservation(gymnasium.make(environment))
        observation, _ = simulation.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = simulation.step(act(np.float64(observation)))
            total += float(reward)
            ended = terminated or truncated
        totals.append(total)
        simulation.close()
    return float(np.mean(totals))


def kernel_policy(environment: str, layout, chosen: Policies, row: int):
    """The registry's forward pass for one observation of one policy alone."""
    weights = layout.as_kernel(chosen.weights[row : row + 1])
    space = gymnasium.make(environment).action_space
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    mean, variance = chosen.mean[row : row + 1], chosen.variance[row : row + 1]

    def act(observation):
        action = np.empty((1, layout.action_size), dtype=np.float32)
        sizes, first = np.array(layout.sizes), np.zeros(1, dtype=np.int64)
        evaluation_actions(weights, sizes, mean, variance, 10.0, low, high, 1, first, observation[None], action)
        return action[0]

    return act


def float64_policy(layout, chosen: Policies, row: int, bound: float):
    """The policy as textbook NumPy in float64, matrices [out, in]."""
    pieces = {
        name: chosen.weights[row, part].astype(np.float64).reshape(layout.shapes[name])
        for name, part in layout.slices.items()
    }
    layers = len(layout.sizes) - 1

    def act(observation):
        scaled = (observation - chosen.mean[row]) / np.sqrt(chosen.variance[row] + 1e-8)
        hidden = np.clip(scaled, -10, 10)
        for layer in range(layers):
            hidden = pieces[f"layer{layer}.weight"] @ hidden + pieces[f"layer{layer}.bias"]
            hidden = np.tanh(hidden) if layer < layers - 1 else hidden
        return np.clip(hidden, -bound, bound).astype(np.float32)

    return act


@pytest.mark.parametrize(
    ("environment", "hidden", "count"),
    [
        (synthetic.PENDULUM, (8, 8), 12),
        (synthetic.PENDULUM, (5,), 4),
        (synthetic.CHEETAH, (8, 6), 2),
        ("Pendulum-v1", (4, 4), 2),
    ],
)
def test_when_gymnasium_steps_the_same_actions_one_episode_at_a_time_then_j_is_the_same_bits(
    environment, hidden, count
):
    layout = synthetic.layout_of(environment, hidden)
    chosen = policies(layout, count)
    expected = [
        gymnasium_episodes(environment, SEEDS, kernel_policy(environment, layout, chosen, row)) for row in range(count)
    ]
    np.testing.assert_array_equal(evaluate_returns(environment, layout, chosen, SEEDS), expected)


def test_when_a_policy_balances_for_the_whole_episode_then_gymnasium_agrees_to_the_last_step():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    weak, strong = balancing(layout, 10.0), balancing(layout, 30.0)
    for chosen in (weak, strong):
        expected = gymnasium_episodes(synthetic.PENDULUM, SEEDS, kernel_policy(synthetic.PENDULUM, layout, chosen, 0))
        assert evaluate_returns(synthetic.PENDULUM, layout, chosen, SEEDS).tolist() == [expected]
    assert evaluate_returns(synthetic.PENDULUM, layout, strong, SEEDS).tolist() == [1000.0]
    assert evaluate_returns(synthetic.PENDULUM, layout, weak, SEEDS)[0] < 200.0


def test_when_a_textbook_policy_in_float64_plays_short_episodes_then_they_last_as_long():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    chosen = policies(layout, 20, seed=4)
    expected = [
        gymnasium_episodes(synthetic.PENDULUM, SEEDS, float64_policy(layout, chosen, row, 3.0)) for row in range(20)
    ]
    assert max(expected) < 200  # too short for rounding to grow
    assert len(set(expected)) > 5
    assert evaluate_returns(synthetic.PENDULUM, layout, chosen, SEEDS).tolist() == expected


CASES = [(synthetic.PENDULUM, (8, 8), 24), (synthetic.CHEETAH, (8, 6), 5)]


@pytest.mark.parametrize(("environment", "hidden", "count"), CASES)
def test_when_threads_differ_then_j_is_the_same_bits(environment, hidden, count):
    layout = synthetic.layout_of(environment, hidden)
    chosen = policies(layout, count)
    usual = evaluate_returns(environment, layout, chosen, SEEDS[:2])
    for threads in (1, 2, 3, 7):
        again = evaluate_returns(environment, layout, chosen, SEEDS[:2], threads=threads)
        np.testing.assert_array_equal(again, usual)


@pytest.mark.parametrize(("environment", "hidden", "count"), CASES)
def test_when_policies_stand_in_another_order_or_alone_then_j_is_the_same_bits(environment, hidden, count):
    layout = synthetic.layout_of(environment, hidden)
    chosen = policies(layout, count)
    together = evaluate_returns(environment, layout, chosen, SEEDS[:2])
    order = np.random.default_rng(0).permutation(count)
    np.testing.assert_array_equal(evaluate_returns(environment, layout, chosen[order], SEEDS[:2]), together[order])
    for row in range(0, count, 4):
        alone = evaluate_returns(environment, layout, chosen[row : row + 1], SEEDS[:2])
        assert alone[0] == together[row]


def test_when_there_are_more_policies_than_one_chunk_holds_then_each_is_still_its_own():
    layout = synthetic.layout_of(synthetic.PENDULUM, (3, 3))
    many = policies(layout, 1100)
    together = evaluate_returns(synthetic.PENDULUM, layout, many, SEEDS[:1], threads=1)
    rows = np.array([0, 511, 512, 513, 1023, 1024, 1099])
    np.testing.assert_array_equal(evaluate_returns(synthetic.PENDULUM, layout, many[rows], SEEDS[:1]), together[rows])


def test_when_policies_repeat_then_each_gets_the_number_of_its_equal():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    distinct = policies(layout, 6)
    rows = np.array([3, 0, 3, 5, 1, 2, 4, 4, 4, 0])
    once = evaluate_returns(synthetic.PENDULUM, layout, distinct, SEEDS)
    np.testing.assert_array_equal(evaluate_returns(synthetic.PENDULUM, layout, distinct[rows], SEEDS), once[rows])


def test_when_policies_repeat_then_they_are_simulated_once_and_all_counted():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    reported: list[int] = []
    same = policies(layout, 1)[np.zeros(40, dtype=np.intp)]
    evaluate_returns(synthetic.PENDULUM, layout, same, SEEDS, threads=4, progress=reported.append)
    assert reported == [40]


def test_when_only_the_normaliser_differs_then_policies_are_not_equal():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    pair = policies(layout, 1, seed=4)[np.zeros(2, dtype=np.intp)]
    returns = evaluate_returns(
        synthetic.PENDULUM, layout, Policies(pair.weights, pair.mean * [[1], [8]], pair.variance), SEEDS
    )
    assert returns[0] != returns[1]


def test_when_only_the_log_std_differs_then_j_does_not():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    chosen = policies(layout, 8)
    louder = chosen.weights.copy()
    louder[:, layout.slices["log_std"]] += 1.0
    np.testing.assert_array_equal(
        evaluate_returns(synthetic.PENDULUM, layout, Policies(louder, chosen.mean, chosen.variance), SEEDS),
        evaluate_returns(synthetic.PENDULUM, layout, chosen, SEEDS),
    )


def test_when_resets_differ_then_j_is_the_mean_over_them():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    chosen = policies(layout, 8)
    single = [evaluate_returns(synthetic.PENDULUM, layout, chosen, [seed]) for seed in SEEDS]
    np.testing.assert_allclose(
        evaluate_returns(synthetic.PENDULUM, layout, chosen, SEEDS), np.mean(single, axis=0), rtol=1e-15
    )


def test_when_progress_is_asked_for_then_every_policy_is_counted_once():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    reported: list[int] = []
    evaluate_returns(synthetic.PENDULUM, layout, policies(layout, 17), SEEDS, threads=3, progress=reported.append)
    assert sum(reported) == 17


def test_when_there_are_no_policies_then_there_are_no_returns():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    assert evaluate_returns(synthetic.PENDULUM, layout, policies(layout, 0), SEEDS).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["weights", "mean", "variance"])
def test_when_a_number_is_not_finite_then_the_policy_is_named(part, value):
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    chosen = policies(layout, 5)
    getattr(chosen, part)[3, 1] = value
    what = "weights" if part == "weights" else "normaliser"
    with pytest.raises(ProtocolError, match=f"policy 3 of 5 has a {what} that is not finite"):
        evaluate_returns(synthetic.PENDULUM, layout, chosen, SEEDS)


def test_when_weights_are_of_another_length_then_both_lengths_are_named():
    layout, wider = (
        synthetic.layout_of(synthetic.PENDULUM, (8, 8)),
        synthetic.layout_of(synthetic.PENDULUM, (9, 8)),
    )
    with pytest.raises(DatasetError, match=r"\[2, 135\].*P = 122"):
        evaluate_returns(synthetic.PENDULUM, layout, policies(wider, 2), SEEDS)


def test_when_the_environment_is_unknown_then_the_nearest_is_suggested():
    layout = synthetic.layout_of(synthetic.PENDULUM, (8, 8))
    with pytest.raises(UnknownNameError, match="Did you mean 'InvertedPendulum-v4'"):
        evaluate_returns("InvertedPendulun-v4", layout, policies(layout, 1), SEEDS)


def test_when_threads_are_not_given_then_all_usable_cores_are_meant():
    assert usable_threads() >= 1
