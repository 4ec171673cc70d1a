"""A block in training: its checkpoints' columns, its trials' independence, and saved states that continue exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.small_collections import tiny_config
from tipl_bench.rl import Adam, PPOHyperparameters, PPOTraining, TrainingConfig, TrainingState, ppo


def checkpoints_of(block, iterations, start=True):
    checkpoints = [block.start()] if start else []
    for _ in range(iterations):
        checkpoints += block.iterate()
    return checkpoints


def final_weights(seeds, **changes):
    return checkpoints_of(PPOTraining(tiny_config(**changes).training, seeds, threads=1), 2)[-1].weights


def assert_same_bits(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for name, value in vars(a).items():
            assert np.array_equal(value, getattr(b, name), equal_nan=name == "episodic_return"), (a.row, name)


def through_json(state):
    """A saved state as a file would give it back."""
    return TrainingState(dict(state.arrays), json.loads(json.dumps(state.metadata)))


def test_row_zero_is_the_initialisation_before_anything_was_observed():
    block = PPOTraining(tiny_config().training, [1, 2], threads=1)
    initial = block.agent.policies.numpy().copy()
    (row,) = checkpoints_of(block, 0)
    assert (row.row, row.iteration, row.epoch, row.environment_steps) == (0, 0, 0, 0)
    assert np.array_equal(row.weights, initial)
    assert np.isnan(row.episodic_return).all()
    assert not row.observation_mean.any()
    assert (row.observation_variance == 1).all()
    assert (row.observation_count == 1e-4).all()


def test_columns_tell_where_in_training_each_checkpoint_was_taken():
    config = tiny_config(checkpoint_every_epochs=5)
    rows = checkpoints_of(PPOTraining(config.training, [1], threads=1), 3)
    assert [c.row for c in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert [c.iteration for c in rows] == [0, 1, 1, 2, 2, 3, 3]
    assert [c.epoch for c in rows] == [0, 5, 10, 5, 10, 5, 10]
    assert [c.environment_steps for c in rows] == [0, 256, 256, 512, 512, 768, 768]


def test_the_observation_count_is_steps_and_resets_seen_by_the_policy():
    rows = checkpoints_of(PPOTraining(tiny_config().training, [1], threads=1), 1)
    counts = {float(c.observation_count[0]) for c in rows[1:]}
    assert len(counts) == 1, "the normaliser moves while steps are collected, not while policies are updated"
    resets = counts.pop() - 256 - 1e-4
    assert resets > 10
    assert resets == pytest.approx(round(resets), abs=1e-6)


def test_the_learning_rate_falls_linearly_to_its_last_step():
    rows = checkpoints_of(PPOTraining(tiny_config().training, [1], threads=1), 4)
    assert [c.learning_rate for c in rows[1::5]] == pytest.approx([3e-4, 2.25e-4, 1.5e-4, 0.75e-4], rel=1e-12)
    assert all(rows[i].learning_rate == rows[i - 1].learning_rate for i in range(2, 21) if (i - 1) % 5)


def test_without_annealing_the_learning_rate_stays():
    settings = {"steps_per_iteration": 256, "minibatches": 4, "anneal_learning_rate": False}
    rows = checkpoints_of(PPOTraining(tiny_config(hyperparameters=settings).training, [1], threads=1), 2)
    assert {c.learning_rate for c in rows} == {3e-4}


def test_a_trial_does_not_depend_on_the_trials_of_its_block_beyond_rounding():
    together, reordered = final_weights([1, 2, 3]), final_weights([3, 9, 2, 1, 4])
    alone = final_weights([2])
    assert np.abs(together[1] - together[0]).max() > 0.1, "trials should differ"
    np.testing.assert_allclose(together[1], alone[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(reordered[2], alone[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(reordered[0], together[2], rtol=0, atol=1e-6)


def test_training_gives_the_same_bits_every_time_and_with_any_number_of_physics_threads():
    first, second = (checkpoints_of(PPOTraining(tiny_config().training, [1, 2, 3], threads=n), 2) for n in (1, 2))
    assert_same_bits(first, second)


@pytest.mark.parametrize(
    ("environment", "steps"),
    [
        ("InvertedPendulum-v4", 256),
        ("InvertedDoublePendulum-v4", 256),
        ("HalfCheetah-v4", 500),
        ("Hopper-v4", 256),
        ("Swimmer-v4", 500),
        ("Walker2d-v4", 256),
    ],
)
def test_a_saved_state_continues_with_the_same_bits(environment, steps):
    # Of 500 steps: episodes that never end early have their first end before the save, their second after it.
    settings = {"steps_per_iteration": steps, "minibatches": 4}
    config = tiny_config(environment=environment, environment_steps=4 * steps, hyperparameters=settings)
    original = PPOTraining(config.training, [1, 2], threads=1)
    checkpoints_of(original, 2)
    saved = original.state()
    expected = checkpoints_of(original, 2, start=False)
    restored = PPOTraining(config.training, [1, 2], threads=2)
    restored.restore(through_json(saved))
    assert restored.iteration == 2
    assert_same_bits(checkpoints_of(restored, 2, start=False), expected)


def saved_after_one_iteration():
    original = PPOTraining(tiny_config().training, [1, 2], threads=1)
    checkpoints_of(original, 1)
    return through_json(original.state())


@pytest.mark.parametrize(
    ("what", "seeds", "changes", "optimizer"),
    [
        ("seeds", [1, 3], {}, None),
        ("config", [1, 2], {"environment_steps": 2048}, None),
        ("optimizer", [1, 2], {}, Adam(1e-3)),
    ],
)
def test_a_saved_state_of_another_training_is_refused(what, seeds, changes, optimizer):
    other = PPOTraining(tiny_config(**changes).training, seeds, optimizer, threads=1)
    with pytest.raises(ValueError, match=f"another {what}"):
        other.restore(saved_after_one_iteration())


def test_a_saved_state_of_another_format_is_refused():
    saved = saved_after_one_iteration()
    former = TrainingState(saved.arrays, {**saved.metadata, "format": 1})
    with pytest.raises(ValueError, match="another format"):
        PPOTraining(tiny_config().training, [1, 2]).restore(former)


@pytest.mark.parametrize("name", ["parameters", "optimizer.second_moment", "reward_mean", "environment.physics"])
def test_a_saved_state_without_an_array_or_with_another_shape_is_refused(name):
    saved = saved_after_one_iteration()
    training = PPOTraining(tiny_config().training, [1, 2])
    without = {key: array for key, array in saved.arrays.items() if key != name}
    for arrays in (without, without | {name: saved.arrays[name][:1]}):
        with pytest.raises(ValueError, match=f"array {name} is missing or not float"):
            training.restore(TrainingState(arrays, saved.metadata))


@pytest.mark.parametrize("done", [5, 7, 10])  # the edge of an iteration, within one, another edge
@pytest.mark.parametrize("fused", [False, True])
def test_a_trial_restarted_at_a_checkpoint_with_its_own_streams_goes_on_with_the_same_bits(done, fused):
    config = tiny_config().training
    original = PPOTraining(config, [1, 2], config.adam(fused=fused), threads=1)
    original.start()
    for _ in range(done):
        original.advance()
    branched = original.branch(1, 2)
    for _ in range(7):
        expected, found = original.advance(), branched.advance()
        assert (found.row, found.iteration, found.epoch) == (expected.row, expected.iteration, expected.epoch)
        for name in ("weights", "observation_mean", "observation_variance", "observation_count", "episodic_return"):
            # Place and number of trials are the same too: a fused kernel rounds the last elements otherwise.
            assert np.array_equal(getattr(found, name)[1], getattr(expected, name)[1], equal_nan=True), name


def test_fresh_streams_keep_the_batch_of_a_branch_and_part_its_copies():
    original = PPOTraining(tiny_config().training, [1, 2], threads=1)
    original.start()
    for _ in range(6):
        last = original.advance()
    branched, again, other = (original.branch(0, 3, np.random.SeedSequence(seed)) for seed in (7, 7, 8))
    assert np.array_equal(branched.agent.policies.numpy(), last.weights[[0, 0, 0]])
    own = original.advance()
    first, same, different = branched.advance(), again.advance(), other.advance()
    assert_same_bits([first], [same])
    everything = np.concatenate([first.weights, different.weights, own.weights[:1]])
    assert len(np.unique(everything, axis=0)) == 7
    # Four checkpoints of this iteration are left: until its end all copies have seen the same steps.
    assert (first.observation_mean == last.observation_mean[0]).all()
    for _ in range(4):
        first = branched.advance()
    assert first.iteration == 3
    assert len(np.unique(first.observation_mean, axis=0)) == 3


def test_a_branch_has_the_past_checkpoints_that_its_optimizer_is_given():
    class Average(Adam):
        history = 3

        def end_of_iteration(self, parameters, state, trajectory):
            policies = torch.from_numpy(np.mean([checkpoint.weights for checkpoint in trajectory], axis=0))
            parameters[:, : policies.shape[1]] = policies
            return parameters

    original = PPOTraining(tiny_config().training, [1, 2], Average(), threads=1)
    original.start()
    for _ in range(7):
        original.advance()
    branched = original.branch(1, 2)
    ours, theirs = ([training.advance().weights for _ in range(5)] for training in (branched, original))
    assert np.array_equal(ours[-1][0], theirs[-1][1])


def test_only_batched_physics_can_be_saved():
    assert PPOTraining(tiny_config().training, [1]).resumable
    assert not PPOTraining(tiny_config(environment="Pendulum-v1").training, [1]).resumable


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 127])
@pytest.mark.parametrize("environment", ["InvertedPendulum-v4", "Pendulum-v1"])
def test_every_bit_of_a_seed_reaches_every_random_stream(bit, environment):
    """Torch's own generator takes 32 bits of a seed, so that trials of longer ones would begin alike."""
    seed = 0x9E3779B97F4A7C15F39CC0605CEDC834
    pair = PPOTraining(tiny_config(environment=environment).training, [seed, seed ^ (1 << bit)], threads=1)
    initial = pair.agent.parameters
    assert not torch.equal(initial[0], initial[1])
    pair.start()
    observation = pair.rollout.observation
    assert not np.array_equal(observation[0], observation[1])
    for streams in (pair.noise_streams, pair.order_streams):
        first, second = (stream.bit_generator.state for stream in streams)
        assert first != second


@pytest.mark.parametrize("shape", [(8, 4), (4, 8), (64, 64)], ids=str)
def test_a_seed_of_32_bits_initialises_as_torch_does_and_a_longer_one_orthogonally_too(shape):
    for seed in (1, 2**32 - 1):
        expected = torch.empty(shape)
        torch.nn.init.orthogonal_(expected, 2.0, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(ppo._orthogonal(ppo._normal_stream(seed)(*shape), 2.0), expected)
    weight = ppo._orthogonal(ppo._normal_stream(2**127)(*shape), 2.0)
    product = weight @ weight.T if shape[0] < shape[1] else weight.T @ weight
    torch.testing.assert_close(product, 4 * torch.eye(len(product)))


@pytest.mark.parametrize(("changes", "message"), [
    ({"checkpoint_every_epochs": 0}, "must divide"),
    ({"hyperparameters": PPOHyperparameters(steps_per_iteration=8, minibatches=8)}, "have one step each"),
])  # fmt: skip
def test_numbers_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig("InvertedPendulum-v4", (3,), 64, **changes)


def test_a_state_without_a_stream_changes_nothing():
    config = TrainingConfig(
        "InvertedPendulum-v4", (3,), 128, hyperparameters=PPOHyperparameters(steps_per_iteration=64)
    )
    first, second = (PPOTraining(config, [1, 2], threads=1) for _ in range(2))
    first.start()
    second.start()
    first.iterate()
    state = first.state()
    streams = {name: group[:1] for name, group in state.metadata["streams"].items()}
    before = second.agent.parameters.clone()
    with pytest.raises(ValueError, match="the random stream of a trial, is missing"):
        second.restore(TrainingState(state.arrays, {**state.metadata, "streams": streams}))
    assert (second.agent.parameters == before).all()
