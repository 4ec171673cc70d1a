"""Two independent samples of trials: the difference of a ratio, and how often its interval is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tipl_bench.leaderboard.statistics.two_samples import Sample, permutation_test, two_samples
from tipl_bench.leaderboard.store.confirmation import MAX_CHANCE, PERMUTATIONS, RECORDS_PER_SET, RULE

SETTINGS = {"resamples": 999, "level": 0.95, "seed": 1}
EXACT = {"resamples": 999, "seed": 1}
LEVEL = 0.025


def sample(stream, trials, ratio=0.6, horizons=3):
    """Baselines that vary over trials, and errors of about `ratio` of them, as InvertedPendulum's do."""
    baseline = stream.lognormal(0.0, 0.5, (trials, horizons))
    error = ratio * baseline * stream.lognormal(-0.02, 0.2, (trials, 1))
    return Sample(baseline - error, baseline)


def test_each_value_is_the_mean_over_horizons_of_a_ratio_of_sums():
    stream = np.random.default_rng(0)
    first, second = sample(stream, 15), sample(stream, 6)
    one, other, difference = two_samples(first, second, **SETTINGS)
    for found, (numerator, denominator) in ((one, first), (other, second)):
        assert found.value == pytest.approx(
            np.mean([n.sum() / d.sum() for n, d in zip(numerator.T, denominator.T, strict=True)])
        )
        assert found.low < found.value < found.high
    assert difference.value == pytest.approx(other.value - one.value)
    assert difference.high - difference.low > max(one.high - one.low, other.high - other.low)


def test_the_interval_of_a_difference_of_means_is_welchs_up_to_resampling():
    stream = np.random.default_rng(3)
    first, second = (Sample(stream.normal(1, s, (n, 1)), np.ones((n, 1))) for n, s in ((15, 0.3), (6, 0.1)))
    *_, difference = two_samples(first, second, resamples=20_000, level=0.95, seed=1)
    welch = stats.ttest_ind(second.numerator[:, 0], first.numerator[:, 0], equal_var=False).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((welch.low, welch.high), abs=0.03)


def test_samples_without_spread_differ_by_exactly_what_they_differ_by():
    same = Sample(np.zeros((8, 2)), np.ones((8, 2)))
    assert two_samples(same, Sample(np.zeros((6, 2)), np.full((6, 2), 3.0)), **SETTINGS)[2] == (0.0, 0.0, 0.0)


def test_the_permutation_test_is_that_of_scipy():
    stream = np.random.default_rng(7)
    first, second = (Sample(stream.lognormal(0, 1, (n, 1)), np.ones((n, 1))) for n in (5, 4))
    found = permutation_test(first, second, resamples=20_000, seed=1)
    for chance, side in zip(found, ("less", "greater"), strict=True):
        exact = stats.permutation_test(
            (second.numerator[:, 0], first.numerator[:, 0]), lambda x, y: x.mean() - y.mean(), alternative=side
        )
        assert chance == pytest.approx(exact.pvalue)
    drawn = permutation_test(first, second, resamples=20_000, seed=1, exact=False)
    assert drawn == pytest.approx(found, abs=0.01)


def test_equal_trials_are_never_significant():
    same = Sample(np.full((6, 2), 0.1), np.ones((6, 2)))
    assert permutation_test(same, same, resamples=99, seed=1) == (1.0, 1.0)


@pytest.mark.parametrize("trials", [(2, 15), (6, 15), (15, 15)], ids=str)
@pytest.mark.parametrize("kind", ["skill", "heavy"])
def test_an_honest_claim_seems_worse_on_fresh_trials_as_rarely_as_stated(kind, trials):
    """In at most 1 of 40 cases; `heavy` are log-normal sums, as REPW's, of which intervals are too short."""
    stream, refuted, repeats = np.random.default_rng(5), 0, 400

    def draw(count):
        heavy = Sample(stream.lognormal(0, 0.83, (count, 1)), np.ones((count, 1)))
        return sample(stream, count) if kind == "skill" else heavy

    for _ in range(repeats):
        lower, higher = permutation_test(*map(draw, trials), resamples=399, seed=1)
        refuted += (lower if kind == "skill" else higher) <= LEVEL
    assert refuted <= stats.binom.ppf(0.999, repeats, LEVEL), refuted / repeats


@pytest.mark.parametrize("alike", [0.0, 0.9], ids=["apart", "alike"])
def test_a_set_refutes_any_of_the_honest_records_that_share_it_as_rarely_as_stated(alike):
    """Twenty records by two scores each, whose errors vary with the shared trials, in at most 5% of sets."""
    stream, refuted, repeats = np.random.default_rng(11), 0, 300

    def errors(common):
        own = stream.normal(size=common.shape)
        return Sample(np.exp(alike * common + np.sqrt(1 - alike**2) * own), np.ones_like(common))

    for _ in range(repeats):
        trials = [stream.normal(size=(6, 1)) for _ in range(2)]
        scores = (permutation_test(*map(errors, trials), **EXACT)[1] for _ in range(2 * RECORDS_PER_SET))
        refuted += any(chance <= MAX_CHANCE[RULE] for chance in scores)
    assert refuted <= stats.binom.ppf(0.999, repeats, 0.05), refuted / repeats


@pytest.mark.slow
@pytest.mark.parametrize("trials", [6, 15])
def test_how_often_an_overstated_claim_is_refuted(trials):
    """The figures of docs/confirmation.md; printed by `-rP`."""
    found = []
    for factor in (1.4, 1.6, 2.0, 3.0):
        stream, refuted = np.random.default_rng(13), 0
        for _ in range(400):
            public, fresh = (
                Sample(f * stream.lognormal(0, 0.3, (trials, 1)), np.ones((trials, 1))) for f in (1, factor)
            )
            refuted += permutation_test(public, fresh, resamples=PERMUTATIONS, seed=1)[1] <= MAX_CHANCE[RULE]
        found.append(refuted / 400)
    print(trials, found)
    assert found == sorted(found)
    assert found[-1] > 0.8


def test_a_claim_that_does_not_hold_is_seen_with_few_trials():
    stream = np.random.default_rng(9)
    for public, fresh in ((6, 6), (6, 15), (15, 15)):
        claimed, true = sample(stream, public, ratio=0.3), sample(stream, fresh, ratio=0.8)
        assert permutation_test(claimed, true, resamples=9_999, seed=1)[0] <= MAX_CHANCE[RULE]
        assert two_samples(claimed, true, **SETTINGS)[2].high < 0
