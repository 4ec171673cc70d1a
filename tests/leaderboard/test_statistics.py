"""The statistics of a board against plain loops and SciPy, and what must hold for any board."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.sampled_boards import SETTINGS, frame, sums
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from tipl_bench.benchmark.intervals import skill as record_skill
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.leaderboard import statistics
from tipl_bench.leaderboard.statistics.board import (
    board_sums,
    differences,
    draw_counts,
    interval_verdicts,
    ranks,
    resampled_ratio,
    seed_skills,
    skills,
    win_rates,
)

FEW = {"resamples": 99, "level": 0.95, "seed": 1}
briefly = settings(max_examples=20)
"""Each example makes tables of a board, which takes tens of milliseconds."""


def board(seed=0, entries=3, trials=8, horizons=2, ratios=(0.5, 0.8, 1.2)):
    """Independent entries of the given error ratios on one baseline."""
    stream = np.random.default_rng(seed)
    _, baseline = sums(stream, (trials, horizons), 1.0)
    ratio = np.resize(ratios, entries)[:, None, None]
    return baseline * ratio * stream.lognormal(0.0, 0.2, size=(entries, trials, horizons)), baseline


def verdicts(table):
    return interval_verdicts(differences(table, **SETTINGS))


errors = arrays(np.float64, (3, 6, 2), elements=st.floats(1e-6, 1e3))
baselines = arrays(np.float64, (6, 2), elements=st.floats(1e-6, 1e3))


def plain_skill(error, baseline, trials):
    """Mean over horizons of 1 - sum / sum, one addition after the other."""
    total = 0.0
    for horizon in range(error.shape[1]):
        above = sum(float(error[trial, horizon]) for trial in trials)
        below = sum(float(baseline[trial, horizon]) for trial in trials)
        total += 1 - above / below
    return total / error.shape[1]


def test_skill_and_every_resample_are_those_of_a_plain_loop():
    error, baseline = board()
    found = board_sums(frame(error, baseline))
    counts = draw_counts(8, 50, 7)
    drawn = resampled_ratio(found.gained, found.baseline, counts)
    chosen = np.random.default_rng(7).integers(0, 8, (50, 8))
    for entry in range(3):
        expected = [plain_skill(error[entry], baseline, numbers) for numbers in chosen]
        assert drawn[entry] == pytest.approx(expected, rel=1e-12)
    table = skills(frame(error, baseline), **SETTINGS)
    assert list(table["value"]) == pytest.approx([plain_skill(one, baseline, range(8)) for one in error], rel=1e-12)


@pytest.mark.parametrize("horizon", [None, 2])
def test_the_interval_is_scipys_percentile_interval_at_the_expanded_level(horizon):
    error, baseline = board(trials=15)
    columns = slice(None) if horizon is None else slice(horizon - 1, horizon)

    def statistic(numbers, axis=-1):
        return (1 - error[0][numbers][..., columns].sum(-2) / baseline[numbers][..., columns].sum(-2)).mean(-1)

    tail = math.erfc(math.sqrt(15 / 14) * 2.1448 / math.sqrt(2)) / 2  # 2.1448: Student's t of 14, 97.5%
    theirs = stats.bootstrap(
        (np.arange(15),), statistic, vectorized=True, n_resamples=20_000, confidence_level=1 - 2 * tail,
        method="percentile", rng=np.random.default_rng(99),
    )  # fmt: skip
    ours = skills(frame(error, baseline), horizon, resamples=20_000, level=0.95, seed=1).iloc[0]
    slack = 5 * math.sqrt(2 * tail * (1 - tail) / 20_000)  # of two empirical quantiles
    for bound, share in ((ours["low"], tail), (ours["high"], 1 - tail)):
        least, most = np.quantile(theirs.bootstrap_distribution, [max(share - slack, 0), min(share + slack, 1)])
        assert least <= bound <= most


def test_the_interval_of_one_seed_at_one_horizon_is_the_records_own():
    error, baseline = board(horizons=1, trials=15)
    table = skills(frame(error, baseline), 1, resamples=CURRENT.resamples, level=0.95, seed=CURRENT.bootstrap_seed)
    for number, (_, row) in enumerate(table.iterrows()):
        theirs = record_skill(error[number, :, 0], baseline[:, 0], CURRENT)
        assert [row["value"], row["low"], row["high"]] == pytest.approx([theirs.value, theirs.low, theirs.high])


def test_a_difference_is_paired_by_trial():
    error, baseline = board(entries=1, trials=12)
    better = error * 0.98
    table = differences(frame(np.concatenate([error, better]), baseline), **SETTINGS)
    assert table.loc[("entry0001", "entry0000"), "low"] > 0
    own = skills(frame(error, baseline), **SETTINGS).iloc[0]
    assert own["high"] - own["low"] > 10 * (table["high"] - table["low"]).iloc[0]


def test_win_rates_count_trials_and_ties_half():
    baseline = np.ones((8, 1))
    one = np.array([0.1, 0.1, 0.1, 0.1, 0.5, 0.5, 0.9, 0.9])[:, None]
    other = np.full((8, 1), 0.5)
    rates = win_rates(frame(np.stack([one, other]), baseline), level=0.95)
    assert rates.loc[("entry0000", "entry0001"), "value"] == (4 + 2 / 2) / 8
    theirs = stats.binomtest(5, 8).proportion_ci(0.95, method="wilson")
    assert tuple(rates.loc[("entry0000", "entry0001"), ["low", "high"]]) == pytest.approx((theirs.low, theirs.high))


def test_when_every_trial_is_won_then_the_interval_still_leaves_room():
    error, baseline = board(entries=2, ratios=(0.1, 5.0))
    rates = win_rates(frame(error, baseline), level=0.95)
    assert rates.loc[("entry0000", "entry0001"), "value"] == 1.0
    assert 0.5 < rates.loc[("entry0000", "entry0001"), "low"] < 0.8


def test_seeds_are_averaged_and_their_spread_told():
    error, baseline = board(entries=1)
    shifted = [error * factor for factor in (0.9, 1.0, 1.2)]
    table = pd.concat([frame(one, baseline, seed=seed) for seed, one in enumerate(shifted)])
    row = skills(table, **SETTINGS).iloc[0]
    each = [plain_skill(one[0], baseline, range(8)) for one in shifted]
    assert row["value"] == pytest.approx(np.mean(each))
    assert row["spread"] == pytest.approx(np.std(each, ddof=1))
    assert list(seed_skills(table)) == pytest.approx(each)
    assert math.isnan(skills(frame(error, baseline), **SETTINGS)["spread"].iloc[0])


def test_ranks_follow_intervals_that_exclude_zero_and_ties_are_the_others():
    error, baseline = board(entries=3, trials=12, ratios=(0.3, 0.3, 1.5))
    table = ranks(["entry0000", "entry0001", "entry0002"], verdicts(frame(error, baseline)))
    assert list(table["rank"]) == [1, 1, 3]
    assert list(table["tied"]) == [["entry0001"], ["entry0000"], []]


def test_a_board_of_one_entry_has_a_rank_and_no_pairs():
    error, baseline = board(entries=1)
    pairs = differences(frame(error, baseline), **SETTINGS)
    assert len(pairs) == 0
    assert list(ranks(["entry0000"], interval_verdicts(pairs))["rank"]) == [1]


def test_a_board_of_one_trial_has_values_without_bounds():
    error, baseline = board(trials=1)
    table = skills(frame(error, baseline), **SETTINGS)
    assert table["value"].notna().all()
    assert table[["low", "high"]].isna().all().all()
    pairs = differences(frame(error, baseline), **SETTINGS)
    assert pairs["value"].notna().all()
    assert pairs[["low", "high"]].isna().all().all()


@pytest.mark.filterwarnings("error")
def test_when_the_baseline_is_zero_everywhere_then_everything_is_undefined_and_nobody_wins():
    error = board()[0]
    table = frame(error, np.zeros((8, 2)))
    assert skills(table, **SETTINGS)[["value", "low", "high"]].isna().all().all()
    assert win_rates(table, level=0.95).isna().all().all()
    pairs = differences(table, **SETTINGS)
    assert pairs.isna().all().all()
    assert list(ranks(["entry0000", "entry0001", "entry0002"], interval_verdicts(pairs))["rank"]) == [1, 1, 1]


def test_when_entries_differ_in_trials_then_pairing_them_is_refused():
    error, baseline = board()
    whole = frame(error, baseline)
    for wrong in (
        whole[~((whole["entry"] == "entry0000") & (whole["trial"] == 3))],
        pd.concat([whole, frame(error[:, :5], baseline[:5], seed=1)]),
    ):
        with pytest.raises(ValueError, match="cannot be paired"):
            skills(wrong, **SETTINGS)


def test_when_a_row_is_there_twice_then_the_frame_is_refused():
    whole = frame(*board())
    with pytest.raises(ValueError, match="twice"):
        differences(pd.concat([whole, whole.iloc[:1]]), **SETTINGS)


@briefly
@given(errors, baselines, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(error, baseline, random):
    ordered = frame(error, baseline)
    places = list(range(len(ordered)))
    random.shuffle(places)
    shuffled = ordered.iloc[places]
    pd.testing.assert_frame_equal(skills(shuffled, **FEW), skills(ordered, **FEW))
    pd.testing.assert_frame_equal(differences(shuffled, **FEW), differences(ordered, **FEW))
    pd.testing.assert_frame_equal(win_rates(shuffled, level=0.95), win_rates(ordered, level=0.95))


@briefly
@given(errors, baselines, st.permutations(range(3)))
def test_the_names_of_entries_change_nothing_but_names(error, baseline, order):
    ordered = differences(frame(error, baseline, names=["a", "b", "c"]), **FEW)
    names = ["abc"[place] for place in order]
    renamed = differences(frame(error, baseline, names=names), **FEW)
    for one in range(3):
        for other in set(range(3)) - {one}:
            before, after = ordered.loc[("abc"[one], "abc"[other])], renamed.loc[(names[one], names[other])]
            assert list(after) == pytest.approx(list(before), rel=1e-9, abs=1e-9 * np.abs(ordered).to_numpy().max())


@briefly
@given(errors, baselines, st.permutations(range(6)))
def test_the_order_of_trials_does_not_move_values(error, baseline, order):
    moved = skills(frame(error[:, list(order)], baseline[list(order)]), **FEW)["value"]
    assert list(moved) == pytest.approx(list(skills(frame(error, baseline), **FEW)["value"]), rel=1e-9, abs=1e-9)


@briefly
@given(errors, baselines)
def test_differences_are_antisymmetric_and_win_rates_of_a_pair_sum_to_one(error, baseline):
    pairs, rates = differences(frame(error, baseline), **FEW), win_rates(frame(error, baseline), level=0.95)
    for one, other in pairs.index:
        there, back = pairs.loc[(one, other)], pairs.loc[(other, one)]
        assert [there["value"], there["low"], there["high"]] == [-back["value"], -back["high"], -back["low"]]
        assert rates.loc[(one, other), "value"] + rates.loc[(other, one), "value"] == 1.0
        assert rates.loc[(one, other), "low"] == pytest.approx(1 - rates.loc[(other, one), "high"], abs=1e-12)


@briefly
@given(baselines, st.sampled_from([1, 3]))
def test_the_skill_of_persistence_is_exactly_zero_with_its_interval(baseline, seeds):
    copies = [frame(np.stack([baseline, baseline * 0.5]), baseline, seed=seed) for seed in range(seeds)]
    row = skills(pd.concat(copies), **FEW).iloc[0]
    assert (row["value"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
    assert row["spread"] == 0.0 if seeds > 1 else math.isnan(row["spread"])


@briefly
@given(errors, baselines, st.floats(1e-6, 1e6))
def test_the_unit_of_the_errors_does_not_matter(error, baseline, factor):
    before, after = (skills(frame(error * by, baseline * by), **FEW) for by in (1.0, factor))
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(before)))


@briefly
@given(errors, baselines)
def test_entries_with_the_same_numbers_are_tied_and_share_their_rank(error, baseline):
    doubled = np.concatenate([error, error])
    table = frame(doubled, baseline, names=["a", "b", "c", "A", "B", "C"])
    pairs, rates = differences(table, **FEW), win_rates(table, level=0.95)
    found = ranks(sorted("abcABC"), interval_verdicts(pairs))
    for name in "abc":
        assert tuple(pairs.loc[(name, name.upper())]) == (0.0, 0.0, 0.0)
        assert rates.loc[(name, name.upper()), "value"] == 0.5
        assert name.upper() in found.loc[name, "tied"]
        assert found.loc[name, "rank"] == found.loc[name.upper(), "rank"]


def test_forty_copies_of_an_entry_are_all_tied_with_one_another():
    error, baseline = board(entries=1, trials=15, horizons=10)
    copies = frame(np.repeat(error, 40, axis=0), baseline)
    table = ranks(sorted(set(copies["entry"])), verdicts(copies))
    assert set(table["rank"]) == {1}
    assert {len(tied) for tied in table["tied"]} == {39}


def test_entries_whose_seeds_have_the_same_numbers_in_another_order_are_tied_despite_rounding():
    error, baseline = board(entries=7, trials=12, ratios=(0.5,))
    orders = {"a": range(7), "b": [3, 6, 0, 5, 1, 4, 2], "c": range(6, -1, -1)}
    parts = [
        frame(error[[number]], baseline, seed=seed, names=[name])
        for name, order in orders.items()
        for seed, number in enumerate(order)
    ]
    pairs = differences(pd.concat(parts), **SETTINGS)
    assert list(ranks(list("abc"), interval_verdicts(pairs))["rank"]) == [1, 1, 1]
    assert (pairs == 0.0).all().all()


def test_statistics_depend_on_arrays_and_frames_only():
    folder = Path(statistics.__file__).parent
    imported = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add("." * node.level + (node.module or ""))
    standard = {name for name in imported if name in sys.stdlib_module_names or name.startswith("collections")}
    assert imported - standard <= {"numpy", "numpy.typing", "pandas", "scipy", "...utils.bootstrap", ".board", ".pairs"}
    assert "pandas" in imported
