"""Phases: from which checkpoint on a trial counts as converged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.benchmark.forecast.windows import converged_from, read_curve
from tipl_bench.benchmark.protocol import PROTOCOLS

CURRENT, BY_TRUE_RETURN = PROTOCOLS[1], PROTOCOLS[2]

# Multiples of 1/256 add up exactly, so that a brute-force mean is the same number whatever the order of its sum.
returns = st.lists(st.just(math.nan) | st.integers(-(2**20), 2**20).map(lambda n: n / 256), min_size=1, max_size=80)


def brute_force(values: list[float], smoothing: int, fraction: float) -> int:
    smoothed = []
    for t in range(len(values)):
        known = [value for value in values[max(0, t + 1 - smoothing) : t + 1] if math.isfinite(value)]
        smoothed.append(math.fsum(known) / len(known) if known else math.nan)
    known = [value for value in smoothed if math.isfinite(value)]
    if not known:
        return len(values)
    threshold = known[0] + fraction * (max(known) - known[0])
    return next(t for t, value in enumerate(smoothed) if value >= threshold)


@given(returns, st.integers(1, 30), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_when_returns_are_smoothed_then_the_boundary_is_that_of_a_plain_loop(values, smoothing, fraction):
    assert converged_from(np.array(values), smoothing, fraction) == brute_force(values, smoothing, fraction)


@given(returns)
def test_when_returns_are_stored_as_float32_then_the_boundary_is_the_same(values):
    stored = np.array(values, dtype=np.float32)
    assert converged_from(stored, 25, 0.95) == brute_force([float(value) for value in stored], 25, 0.95)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 1000.0, -3.5, 0.1])
def test_when_the_return_never_changes_then_the_whole_trial_is_converged(value, dtype):
    assert converged_from(np.full(400, value, dtype=dtype), CURRENT.smoothing, CURRENT.learned_fraction) == 0


def test_when_the_first_returns_are_unknown_then_the_search_begins_at_the_first_known_one():
    values = np.array([np.nan, np.nan, np.nan, 7.0, 7.0, 7.0])
    assert converged_from(values, 2, 0.95) == 3


def test_when_no_return_is_known_then_nothing_is_converged():
    assert converged_from(np.full(30, np.nan), 25, 0.95) == 30


def test_when_a_single_lucky_return_stands_out_then_the_mean_over_the_window_decides():
    values = np.full(100, 10.0)
    values[5] = 1000.0
    values[60:] = 990.0
    assert converged_from(values, 1, 0.95) == 5
    assert converged_from(values, 25, 0.95) == brute_force(values.tolist(), 25, 0.95) == 83


def test_when_the_return_only_falls_then_the_trial_is_converged_from_its_start():
    assert converged_from(np.linspace(100.0, 0.0, 60), 25, 0.95) == 0


@given(st.lists(st.integers(-(2**20), 2**20).map(lambda n: n / 256), min_size=1, max_size=60))
def test_when_phases_go_by_the_true_return_then_the_boundary_is_that_of_a_plain_loop(values):
    smoothed = []
    for t in range(len(values)):
        around = values[max(0, t - 1) : t + 2]
        smoothed.append(math.fsum(around) / len(around))
    threshold = smoothed[0] + 0.95 * (max(smoothed) - smoothed[0])
    first = next(t for t, value in enumerate(smoothed) if value >= threshold - 1e-9 * abs(threshold))
    found = read_curve(np.array(values), 5 * np.arange(len(values)), BY_TRUE_RETURN)
    assert found.converged_from == 5 * first
    assert found.range == pytest.approx(max(smoothed) - smoothed[0])


def test_a_single_lucky_iteration_does_not_end_the_learning_phase():
    curve = np.array([10.0, 10.0, 1000.0, 10.0, 400.0, 700.0, 1000.0, 1000.0, 1000.0])
    assert read_curve(curve, np.arange(9), BY_TRUE_RETURN).converged_from == 7


def test_when_the_true_return_never_rises_then_the_trial_is_converged_from_its_start():
    found = read_curve(np.array([30.0, 20.0, 10.0]), np.array([0, 5, 10]), BY_TRUE_RETURN)
    assert (found.converged_from, found.range) == (0, 0.0)
