"""The forecast of the observation normaliser, against a normaliser that goes on observing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines.running_moments import continue_normaliser
from tipl_bench.rl.normalizer import ObservationNormalizer
from tipl_bench.utils.errors import PredictorError


def observed(batches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and count after each iteration's observations, five checkpoints each, the untouched ones first."""
    normaliser, rows = ObservationNormalizer(1, 4), []
    for batch in [np.zeros((0, 4)), *batches]:
        for observation in batch:
            normaliser(np.array([0]), observation[None], np.zeros((1, 4), np.float32))
        rows.append((normaliser.mean[0].copy(), normaliser.variance[0].copy(), normaliser.count[0]))
    return tuple(np.repeat(np.stack(column), 5, axis=0)[4:] for column in zip(*rows, strict=True))


@pytest.mark.parametrize("origin", [25, 26, 28, 30])
def test_when_iterations_observe_the_same_again_then_the_normaliser_is_foretold(origin, smooth):
    stream = np.random.default_rng(0)
    batches = [stream.normal(stream.normal(size=4), 2.0, size=(64, 4)) for _ in range(5)]
    mean, variance, count = observed([*batches, *[stream.normal(3, 0.5, size=(64, 4))] * 5])
    contexts = synthetic.contexts_of(smooth, 6, [origin])
    past = slice(origin - 19, origin + 1)
    contexts = replace(
        contexts,
        observation_mean=mean[None, past],
        observation_variance=variance[None, past],
        observation_count=count[None, past],
    )
    if origin == 25:  # the fifth iteration's last checkpoint: what comes is what the fifth observed, not the sixth
        mean, variance, _ = observed([*batches, *batches[-1:] * 5])
    found = continue_normaliser(contexts, 10)[0]
    np.testing.assert_allclose(found[:, 0], mean[origin + 1 : origin + 11], rtol=1e-9)
    np.testing.assert_allclose(found[:, 1], variance[origin + 1 : origin + 11], rtol=1e-9)
    assert np.unique(found[:, 0, 0]).size == (2 if origin in (25, 30) else 3)


def test_when_contexts_hold_no_whole_iteration_then_their_least_length_is_named(smooth):
    contexts = synthetic.contexts_of(smooth, 6, [30], synthetic.SMALL.model_copy(update={"context": 5}))
    with pytest.raises(PredictorError, match="from at least 6 checkpoints"):
        continue_normaliser(contexts, 3)


def test_a_window_without_rising_counts_stands_still_and_disturbs_no_other(smooth):
    contexts = synthetic.contexts_of(smooth, 6, [30, 40])
    count = np.stack([np.arange(20.0) // 5 * 64 + 64, np.full(20, 64.0)])
    mean = np.random.default_rng(0).normal(size=contexts.observation_mean.shape)
    contexts = replace(contexts, observation_mean=mean, observation_count=count)
    together = continue_normaliser(contexts, 10)
    assert (together[1, :, 0] == mean[1, -1]).all()
    for row in range(2):
        alone = continue_normaliser(contexts.take(np.array([row])), 10)
        np.testing.assert_array_equal(together[row], alone[0])
    assert (together[0, -1, 0] != mean[0, -1]).all()
