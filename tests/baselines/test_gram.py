"""Inner products of differences, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines.fitting.gram import CHUNK_ORIGINS, context_grams, window_grams


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A trial of more windows than one piece holds."""
    weights = [synthetic.random_walk(i, 2 * CHUNK_ORIGINS + 29, 32) for i in range(3)]
    return synthetic.write_dataset(tmp_path_factory.mktemp("long") / "set", weights).trial(0)


def brute_force(weights, first: int, count: int):
    """Inner products of `count` successive differences from `first` on, one by one in float64."""
    steps = [weights[i + 1].astype(np.float64) - weights[i].astype(np.float64) for i in range(first, first + count)]
    return [[float(np.sum(a * b)) for b in steps] for a in steps]


@pytest.mark.parametrize(("past", "future"), [(19, 10), (1, 1), (3, 0), (19, 3)])
def test_when_windows_are_multiplied_out_then_every_product_is_a_plain_sum(past, future, long):
    grams = window_grams(long, past, future)
    weights = long.weights()
    assert grams.shape == (len(long) - past - future, past + future, past + future)
    for row in (0, 1, CHUNK_ORIGINS - 1, CHUNK_ORIGINS, CHUNK_ORIGINS + 1, len(grams) - 1):
        np.testing.assert_allclose(grams[row], brute_force(weights, row, past + future), rtol=1e-12, atol=1e-12)


def test_when_windows_are_numbered_then_each_stands_at_its_origin(long):
    # the window at origin t holds d_{t - past} .. d_{t + future - 1}
    weights = long.weights().astype(np.float64)
    grams = window_grams(long, 4, 2)
    for origin in (4, 100, len(long) - 3):
        last = weights[origin] - weights[origin - 1]
        following = weights[origin + 1] - weights[origin]
        assert grams[origin - 4, 3, 4] == pytest.approx(float(last @ following), rel=1e-12)


def test_when_a_trial_is_too_short_then_there_are_no_windows(smooth):
    trial = smooth.trial(0)
    assert window_grams(trial, 60, 21).shape == (0, 81, 81)
    assert window_grams(trial, 60, 20).shape == (1, 80, 80)


def test_when_contexts_are_multiplied_out_then_every_product_is_a_plain_sum(smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 33, 60))
    for weights, gram in zip(contexts.weights, context_grams(contexts.weights), strict=True):
        np.testing.assert_allclose(gram, brute_force(weights, 0, 19), rtol=1e-12, atol=1e-15)


def test_when_differences_are_tiny_beside_the_weights_then_the_products_run_in_float64():
    weights = np.full((1, 3, 4), 1000.0, dtype=np.float32)
    weights[0, 1] += np.float32(2.0**-13)
    weights[0, 2] += np.float32(2.0**-12)
    np.testing.assert_array_equal(context_grams(weights)[0], np.full((2, 2), 4 * 2.0**-26))
