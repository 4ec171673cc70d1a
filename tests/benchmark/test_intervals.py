"""Intervals: whole trials are resampled, errors and baselines together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from tipl_bench.benchmark.intervals import UNDEFINED, Estimate, bootstrap, ratio, skill
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.utils.bootstrap import bounds, expanded_tail

STUDENT = {2: 12.7062, 3: 4.3027, 6: 2.5706, 15: 2.1448}
"""Two-sided 95% points of Student's t with one degree of freedom less than trials, as printed in tables."""
SEEDED = CURRENT.model_copy(update={"bootstrap_seed": 2})


def tail(trials: int) -> float:
    """Where an expanded percentile interval ends (Hesterberg 2015), by the error function alone."""
    return math.erfc(math.sqrt(trials / (trials - 1)) * STUDENT[trials] / math.sqrt(2)) / 2


def sums(seed: int, trials: int = 15):
    """Correlated per-trial sums of errors and of a baseline's."""
    stream = np.random.default_rng(seed)
    baseline = stream.gamma(3.0, size=trials)
    return baseline * stream.uniform(0.3, 1.2, size=trials), baseline


@pytest.mark.parametrize("trials", [2, 3, 15])
def test_when_a_ratio_is_estimated_then_scipys_paired_bootstrap_gives_the_same_interval(trials):
    error, baseline = sums(0, trials)
    theirs = stats.bootstrap(
        (error, baseline),
        lambda e, b, axis=-1: e.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=CURRENT.resamples,
        confidence_level=1 - 2 * tail(trials),
        method="percentile",
        rng=np.random.default_rng(CURRENT.bootstrap_seed),
    ).confidence_interval
    ours = ratio(error, baseline, CURRENT)
    assert ours.value == pytest.approx(error.sum() / baseline.sum(), rel=1e-14)
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], rel=1e-5)  # the printed t has five digits


@pytest.mark.parametrize("trials", STUDENT)
def test_the_tail_of_few_trials_is_the_one_of_the_tables(trials):
    assert expanded_tail(0.95, trials) == pytest.approx(tail(trials), rel=1e-3, abs=1e-12)


def test_the_tail_of_many_trials_is_the_nominal_one():
    assert expanded_tail(0.95, 10**7) == pytest.approx(0.025, rel=1e-5)


def test_the_tail_of_equal_strata_counts_their_degrees_of_freedom_together():
    # four strata of 6: variances short by 5 / 6, 4 x 5 degrees of freedom, t(20) = 2.0860
    expected = math.erfc(math.sqrt(6 / 5) * 2.0860 / math.sqrt(2)) / 2
    assert expanded_tail(0.95, [6, 6, 6, 6], [2.0, 2.0, 2.0, 2.0]) == pytest.approx(expected, rel=1e-3)
    assert expanded_tail(0.95, [6, 15], [1.0, 0.0]) == pytest.approx(expanded_tail(0.95, 6))
    assert expanded_tail(0.95, [6, 15], [[0.0, 0.0], [1.0, 1.0]]).shape == (2,)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40), st.floats(0.0, 0.5))
def test_bounds_are_numpys_quantiles_with_undefined_draws_set_aside(values, share):
    low, high = bounds(np.array([*values, math.nan, math.inf]), share)
    expected = np.quantile(values, [share, 1 - share])
    assert [low, high] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_when_trials_are_drawn_by_a_plain_loop_then_its_quantiles_bracket_the_bounds():
    error, baseline = sums(1)
    stream = np.random.default_rng(123)
    drawn = []
    for _ in range(20_000):
        chosen = [stream.integers(len(error)) for _ in error]
        drawn.append(1 - sum(error[i] for i in chosen) / sum(baseline[i] for i in chosen))
    ours = skill(error, baseline, CURRENT)
    for bound, quantile in ((ours.low, tail(15)), (ours.high, 1 - tail(15))):
        # five standard errors of each of the two empirical quantiles
        slack = 5 * sum(math.sqrt(quantile * (1 - quantile) / count) for count in (len(drawn), CURRENT.resamples))
        least, most = np.quantile(drawn, [max(quantile - slack, 0), min(quantile + slack, 1)])
        assert least <= bound <= most


def test_when_the_seed_is_the_same_then_the_interval_is_the_same_and_else_another():
    error, baseline = sums(2)
    assert skill(error, baseline, CURRENT) == skill(error, baseline, CURRENT)
    other = skill(error, baseline, SEEDED)
    assert other.value == skill(error, baseline, CURRENT).value
    assert (other.low, other.high) != (skill(error, baseline, CURRENT).low, skill(error, baseline, CURRENT).high)


def test_when_numpys_global_stream_moves_then_the_interval_stays():
    error, baseline = sums(3)
    before = skill(error, baseline, CURRENT)
    np.random.seed(99)  # the very stream that must not matter
    assert skill(error, baseline, CURRENT) == before


@given(st.lists(st.floats(1e-12, 1e12), min_size=2, max_size=15))
def test_when_the_error_is_the_baselines_own_then_skill_and_interval_are_exactly_zero(baseline):
    values = np.array(baseline)
    assert skill(values, values.copy(), CURRENT.model_copy(update={"resamples": 99})) == Estimate(0.0, 0.0, 0.0)


def test_when_the_error_is_zero_then_skill_is_exactly_one():
    _, baseline = sums(4)
    assert skill(np.zeros_like(baseline), baseline, CURRENT) == Estimate(1.0, 1.0, 1.0)


def test_when_there_is_one_trial_then_there_are_no_bounds():
    assert ratio(np.array([1.0]), np.array([4.0]), CURRENT) == Estimate(0.25, None, None)
    assert skill(np.array([1.0]), np.array([4.0]), CURRENT) == Estimate(0.75, None, None)


@pytest.mark.parametrize("error", [0.0, 2.0])
@pytest.mark.parametrize("trials", [1, 4])
def test_when_the_baseline_is_zero_everywhere_then_the_ratio_is_undefined(error, trials):
    errors, nothing = np.full(trials, error), np.zeros(trials)
    assert ratio(errors, nothing, CURRENT) == skill(errors, nothing, CURRENT) == UNDEFINED


@pytest.mark.filterwarnings("error")
def test_when_some_resamples_have_no_baseline_then_the_others_decide():
    error, baseline = np.array([0.0, 0.0, 3.0]), np.array([0.0, 0.0, 4.0])
    assert ratio(error, baseline, CURRENT) == Estimate(0.75, 0.75, 0.75)


def test_when_trials_weigh_differently_then_the_mean_is_over_windows():
    totals, counts = np.array([10.0, 90.0]), np.array([1.0, 3.0])
    estimate = ratio(totals, counts, CURRENT)
    assert estimate.value == 25.0
    assert (estimate.low, estimate.high) == (10.0, 30.0)


def test_when_two_predictors_are_compared_then_a_trial_is_drawn_with_both_of_its_errors():
    _, baseline = sums(5)
    constant = bootstrap(lambda i: (baseline + 1.0)[i].mean(-1) - baseline[i].mean(-1), len(baseline), CURRENT)
    assert constant.low == pytest.approx(1.0, rel=1e-12)
    assert constant.high == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_when_an_estimate_is_not_finite_then_it_is_refused(value):
    with pytest.raises(ValidationError, match="finite"):
        Estimate(value, None, None)
