"""Persistence and lines, against NumPy's polynomial fit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.baselines.linear import Linear, LinearOptions
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.persistence import Persistence
from tipl_bench.baselines.predictor import Contexts, NoOptions
from tipl_bench.utils.errors import OptionError

LAYOUT = synthetic.layout_of(synthetic.PENDULUM, (3, 3))


def walks(seed: int, batch: int = 3) -> Contexts:
    """Contexts of random walks."""
    weights = np.stack([synthetic.random_walk(seed + i, 20, LAYOUT.parameter_count) for i in range(batch)])
    moments = np.zeros((batch, 20, 4))
    count, origin = np.zeros((batch, 20)), np.full(batch, 19)
    return Contexts(weights.astype(np.float32), moments, moments + 1, count, {}, origin, LAYOUT)


@given(st.integers(0, 2**31), st.integers(2, 20), st.floats(0, 1), st.integers(1, 10))
def test_when_a_line_is_fitted_then_numpys_polyfit_gives_its_values_ahead(seed, points, damping, horizon):
    contexts = walks(seed)
    forecast = Linear(LinearOptions(points=points, damping=damping)).predict(contexts, horizon)
    for past, ahead in zip(contexts.weights.astype(np.float64), forecast, strict=True):
        slope, intercept = np.polyfit(np.arange(points), past[-points:], 1)
        line = intercept + slope * (points - 1 + np.arange(1, horizon + 1))[:, None]
        expected = past[-1] + damping * (line - past[-1])
        np.testing.assert_allclose(ahead, expected, rtol=0, atol=1e-6)


def test_when_options_are_plain_then_the_last_difference_is_repeated():
    contexts = walks(0)
    last = contexts.weights[:, -1] - contexts.weights[:, -2]
    expected = contexts.weights[:, -1:] + np.arange(1, 4)[:, None] * last[:, None]
    np.testing.assert_allclose(Linear(LinearOptions()).predict(contexts, 3), expected, rtol=0, atol=1e-6)


def test_when_weights_move_on_a_line_then_the_forecast_is_exact():
    contexts = walks(0)
    contexts.weights[:] = np.arange(20)[:, None] * np.linspace(-2, 2, LAYOUT.parameter_count) + 3
    for points in (2, 7, 20):
        forecast = Linear(LinearOptions(points=points)).predict(contexts, 10)
        expected = np.arange(20, 30)[:, None] * np.linspace(-2, 2, LAYOUT.parameter_count) + 3
        np.testing.assert_allclose(forecast, np.stack([expected] * 3), rtol=2e-6)


def test_when_damping_is_zero_then_the_line_is_persistence():
    contexts = walks(1)
    still = Persistence(NoOptions()).predict(contexts, 4)
    np.testing.assert_array_equal(Linear(LinearOptions(points=5, damping=0.0)).predict(contexts, 4), still)
    np.testing.assert_array_equal(still, contexts.weights[:, [-1] * 4])


def test_when_weights_are_large_then_their_small_differences_are_kept():
    contexts = walks(0)
    bit = 2.0**-11  # of a float32 between 4096 and 8192
    contexts.weights[:] = 6000 + bit * np.round(20 * contexts.weights)
    forecast = Linear(LinearOptions(points=20)).predict(contexts, 1)
    for past, ahead in zip(contexts.weights.astype(np.float64), forecast, strict=True):
        slope, intercept = np.polyfit(np.arange(20), past - 6000, 1)
        assert np.abs(ahead[0] - (6000 + intercept + 20 * slope)).max() <= 0.501 * bit


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("points=1", r"option points \(int\): input should be greater than or equal to 2; got '1'"),
        ("points=21", "option points is 21, but a context has 20 checkpoints"),
        ("damping=-0.1", r"option damping \(float\): input should be greater than or equal to 0; got '-0.1'"),
        ("damping=1.1", r"option damping \(float\): input should be less than or equal to 1; got '1.1'"),
    ],
)
def test_when_an_option_is_out_of_range_then_it_is_named_with_its_value(setting, complaint):
    with pytest.raises(OptionError, match=f"linear: {complaint}"):
        build_options(Linear, "quick", [setting], 20)
