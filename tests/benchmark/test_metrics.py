"""WPE, whole and by layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import synthetic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tipl_bench.benchmark.forecast.weight_errors import layer_errors, weight_prediction_error

LAYOUT = synthetic.layout_of(synthetic.PENDULUM, (3, 3))
numbers = st.floats(-1e3, 1e3, width=32)
pairs = st.integers(1, 4).flatmap(
    lambda steps: st.tuples(*[arrays(np.float32, (steps, LAYOUT.parameter_count), elements=numbers)] * 2)
)


def brute_force(true, forecast) -> float:
    """Mean squared difference in exactly rounded float64 sums."""
    return math.fsum((float(a) - float(b)) ** 2 for a, b in zip(true, forecast, strict=True)) / len(true)


@given(pairs)
def test_when_weights_differ_then_wpe_is_the_mean_of_the_squared_differences(pair):
    true, forecast = pair
    expected = [brute_force(*rows) for rows in zip(true, forecast, strict=True)]
    np.testing.assert_allclose(weight_prediction_error(true, forecast), expected, rtol=1e-13, atol=0)


@given(pairs)
def test_when_layers_are_averaged_by_size_then_they_make_the_whole(pair):
    true, forecast = pair
    layers = layer_errors(true, forecast, LAYOUT)
    weighted = sum(layers[name] * math.prod(shape) for name, shape in LAYOUT.shapes.items())
    whole = weight_prediction_error(true, forecast)
    np.testing.assert_allclose(weighted / LAYOUT.parameter_count, whole, rtol=1e-13, atol=0)


@given(pairs)
def test_when_a_layer_is_scored_then_only_its_own_parameters_count(pair):
    true, forecast = pair
    start = 0
    for name, error in layer_errors(true, forecast, LAYOUT).items():
        stop = start + math.prod(LAYOUT.shapes[name])
        expected = [brute_force(a[start:stop], b[start:stop]) for a, b in zip(true, forecast, strict=True)]
        np.testing.assert_allclose(error, expected, rtol=1e-13, atol=0)
        start = stop
    assert start == LAYOUT.parameter_count


def test_when_float32_neighbours_differ_by_a_bit_then_the_error_keeps_it():
    true = np.array([[1.0, 16384.0]], dtype=np.float32)
    forecast = np.nextafter(true, np.float32(np.inf))
    assert weight_prediction_error(true, forecast)[0] == (2.0**-46 + 2.0**-18) / 2


def test_when_one_origin_is_compared_with_many_targets_then_it_is_broadcast():
    stream = np.random.default_rng(0)
    targets, origin = stream.normal(size=(3, 32)), stream.normal(size=32)
    expected = [brute_force(target, origin) for target in targets]
    assert weight_prediction_error(targets, origin) == pytest.approx(expected, rel=1e-13)


def test_when_the_forecast_is_the_truth_then_wpe_is_zero():
    true = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    assert weight_prediction_error(true, true.copy()).tolist() == [0.0, 0.0, 0.0]
