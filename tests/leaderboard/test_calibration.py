"""A 95% interval holds the truth in 92% to 98% of synthetic samples; docs/intervals.md has the numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.sampled_boards import SETTINGS, coverage, frame, sums
from tipl_bench.benchmark.intervals import skill
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.leaderboard.statistics.across import overall
from tipl_bench.leaderboard.statistics.board import differences, skills, wilson

long = pytest.mark.slow
LEAST, MOST = 0.92, 0.98


def skill_coverage(trials, samples):
    """Every entry of one board is a sample of its own: they share the resampled numbers, not the trials."""
    error, baseline = sums(np.random.default_rng(trials), (samples, trials, 1), 0.6)
    return coverage(skills(frame(error, baseline), **SETTINGS), 0.4)


def pair(stream, trials, gap):
    """Two entries that share most of their noise, the second worse by `gap`, and their baseline [K, 1]."""
    error, baseline = sums(stream, (trials, 1), 0.6)
    other = error * (0.6 + gap) / 0.6 * stream.lognormal(-0.005, 0.1, size=error.shape)
    return np.stack([error, other]), baseline


def difference_coverage(trials, samples):
    stream = np.random.default_rng([1, trials])
    tables = [differences(frame(*pair(stream, trials, 0.05)), **SETTINGS).iloc[:1] for _ in range(samples)]
    return coverage(pd.concat(tables), 0.05)


def overall_coverage(environments, trials, samples, between=0.0):
    """Of the skill and of the difference; the environments' own skills differ by `between`."""
    stream = np.random.default_rng([2, environments, trials])
    fixed = np.linspace(-0.2, 0.2, environments)
    skill, difference = [], []
    for _ in range(samples):
        shifts = between * stream.normal(size=environments) if between else fixed
        parts = []
        for number, shift in enumerate(shifts):
            error, baseline = pair(stream, trials + number % 2, 0.05)
            parts.append(frame(error + shift * baseline, baseline).assign(environment=f"e{number}"))
        result = overall(pd.concat(parts), **SETTINGS)
        skill.append(result.skills.iloc[:1])
        difference.append(result.differences.iloc[:1])
    return coverage(pd.concat(skill), 0.4), coverage(pd.concat(difference), 0.05)


@pytest.mark.parametrize(
    ("trials", "samples"),
    [(15, 2000), (6, 2000), *(pytest.param(trials, 20_000, marks=long) for trials in (15, 10, 6))],
)
def test_the_interval_of_a_skill_covers_what_it_says(trials, samples):
    assert LEAST < skill_coverage(trials, samples) < MOST


@pytest.mark.parametrize(
    ("trials", "samples"), [(15, 300), (6, 300), *(pytest.param(trials, 4000, marks=long) for trials in (15, 6))]
)
def test_the_interval_of_a_paired_difference_covers_what_it_says(trials, samples):
    assert LEAST < difference_coverage(trials, samples) < MOST


@pytest.mark.parametrize(
    ("environments", "trials", "samples", "between"),
    [
        (4, 6, 150, 0.0),
        *(pytest.param(count, trials, 1000, 0.0, marks=long) for count in (2, 4, 8) for trials in (6, 15)),
        *(pytest.param(count, 6, 1000, 0.1, marks=long) for count in (10, 15)),
    ],
)
def test_the_interval_across_environments_covers_what_it_says(environments, trials, samples, between):
    assert all(LEAST < share < MOST for share in overall_coverage(environments, trials, samples, between))


@pytest.mark.parametrize("samples", [300, pytest.param(4000, marks=long)])
def test_the_intervals_of_a_record_are_the_calibrated_ones_too(samples):
    stream = np.random.default_rng(4)
    protocol = CURRENT.model_copy(update={"resamples": 1999})
    found = [skill(*sums(stream, 15, 0.6), protocol) for _ in range(samples)]
    assert LEAST < np.mean([one.low <= 0.4 <= one.high for one in found]) < MOST


@pytest.mark.parametrize("trials", [6, 15])
def test_the_interval_of_a_win_rate_covers_what_it_says_on_average_over_rates(trials):
    rates = np.random.default_rng(5).uniform(size=20_000)
    wins = np.random.default_rng(6).binomial(trials, rates).astype(float)
    low, high = wilson(wins, np.full(len(rates), float(trials)), 0.95)
    assert LEAST < np.mean((low <= rates) & (rates <= high)) < MOST
