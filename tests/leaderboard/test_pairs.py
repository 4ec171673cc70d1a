"""Paired comparisons of a whole board against resampling, SciPy and plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.sampled_boards import equal_entries
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tipl_bench.leaderboard.statistics.board import ranks
from tipl_bench.leaderboard.statistics.pairs import comparisons, holm, intervals, of_units, stratum

LEVEL = {"level": 0.95}


def board(trials=12, seeds=3, entries=3, **sampled):
    return equal_entries(np.random.default_rng(3), entries, trials, seeds=seeds, **sampled)


def compared(frame, classes=None, higher=True, practical_tie=0.0):
    found = stratum(frame)
    classes = classes or dict.fromkeys(found.entries, "weights")
    return comparisons([found], classes, higher_is_better=higher, practical_tie=practical_tie, **LEVEL)


def arrays(frame):
    shape = [frame[name].nunique() for name in ("entry", "seed", "trial")]
    return (frame[name].to_numpy().reshape(shape) for name in ("numerator", "denominator"))


def test_the_difference_has_the_variance_of_resampled_trials_and_resampled_seeds():
    frame = board(trials=15, seeds=4, entries=2, seed_spread=0.05)
    numerator, denominator = arrays(frame)
    stream = np.random.default_rng(0)

    def resampled(trials, seeds):
        drawn = []
        for _ in range(4000):
            chosen = stream.integers(0, 15, 15) if trials else np.arange(15)
            each = []
            for entry in (0, 1):
                own = stream.integers(0, 4, 4) if seeds else np.arange(4)
                part = np.ix_(own, chosen)
                each.append((numerator[entry][part].sum(-1) / denominator[entry][part].sum(-1)).mean())
            drawn.append(each[0] - each[1])
        return np.var(drawn)

    row = compared(frame).iloc[0]
    trials, seeds = resampled(True, False) * 15 / 14, resampled(False, True) * 4 / 3
    freedom = min((trials + seeds) ** 2 / (trials**2 / 14 + seeds**2 / 3), 14)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(trials + seeds)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.12)


def test_of_one_seed_and_one_baseline_the_comparison_is_students_paired_test():
    frame = board(seeds=1).assign(denominator=1.0)
    numerator, _ = arrays(frame)
    theirs = stats.ttest_rel(numerator[0, 0], numerator[1, 0])
    row = compared(frame, dict.fromkeys(["entry0", "entry1"], "weights")).loc[("entry0", "entry1")]
    assert row["p"] == pytest.approx(theirs.pvalue)
    assert [row["low"], row["high"]] == pytest.approx([*theirs.confidence_interval(0.95)])
    own = intervals([stratum(frame)], **LEVEL).loc["entry0"]
    bounds = stats.ttest_1samp(numerator[0, 0], 0).confidence_interval(0.95)
    assert [own["low"], own["high"]] == pytest.approx([*bounds])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_that_of_a_plain_loop(values):
    expected, most = {}, 0.0
    for step, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        most = max(most, min(1.0, values[place] * (len(values) - step)))
        expected[place] = most
    assert holm(np.array(values)) == pytest.approx([expected[place] for place in range(len(values))])


def test_entries_that_differ_by_their_seeds_luck_are_tied_and_by_their_trials_are_not():
    lucky = board(entries=2, seed_spread=0.2)
    assert set(compared(lucky)["verdict"]) == {"tied"}
    one_seed = lucky[lucky["seed"] == 0]
    assert compared(one_seed)["p"].iloc[0] < 0.05  # of one seed nothing is known about the others
    better = compared(board(entries=2, gain=0.5))
    assert dict(better["verdict"]) == {("entry0", "entry1"): "better", ("entry1", "entry0"): "worse"}


def test_a_practical_tie_is_one_whatever_its_interval():
    frame = board(entries=2, gain=0.5)
    value = compared(frame)["value"].iloc[0]
    assert compared(frame, practical_tie=value * 0.99)["verdict"].iloc[0] == "better"
    assert compared(frame, practical_tie=value * 1.01)["verdict"].iloc[0] == "tied"
    assert compared(frame, practical_tie=value * 1.01)["low"].iloc[0] > 0


def test_where_lower_is_better_the_verdicts_turn_and_ranks_follow_them():
    frame = board(entries=3, gain=0.5)
    higher, lower = compared(frame), compared(frame, higher=False)
    names = ["entry0", "entry1", "entry2"]
    assert list(ranks(names, higher["verdict"])["rank"]) == [1, 2, 2]
    assert list(ranks(names, lower["verdict"])["rank"]) == [3, 1, 1]
    assert ranks(names, lower["verdict"]).loc["entry1", "tied"] == ["entry2"]
    pd.testing.assert_frame_equal(higher.drop(columns="verdict"), lower.drop(columns="verdict"))


def test_only_pairs_of_one_class_are_judged_and_counted():
    frame = board(entries=4, gain=0.5)
    classes = {"entry0": "weights", "entry1": "weights", "entry2": "gradients"}
    found = compared(frame, classes)
    judged = found[found["verdict"].notna()]
    assert sorted(judged.index) == [("entry0", "entry1"), ("entry1", "entry0")]
    alone = compared(frame[frame["entry"].isin(["entry0", "entry1"])])
    assert judged["p"].iloc[0] == alone["p"].iloc[0]  # a family of one pair
    assert found["value"].notna().all()


def test_equal_entries_are_tied_and_undefined_ones_are_not_told_apart():
    frame = board(entries=1, seeds=1)
    copies = pd.concat([frame, frame.assign(entry="copy")])
    row = compared(copies).loc[("copy", "entry0")]
    assert (row["value"], row["low"], row["high"], row["p"], row["verdict"]) == (0.0, 0.0, 0.0, 1.0, "tied")
    undefined = compared(copies.assign(denominator=0.0))
    assert undefined[["value", "low", "high"]].isna().all().all()
    assert set(undefined["verdict"]) == {"tied"}
    single = compared(copies[copies["trial"] == 0])
    assert single[["low", "high"]].isna().all().all()
    assert set(single["verdict"]) == {"tied"}
    assert len(compared(frame)) == 0


def test_over_strata_values_are_averaged_and_variances_added():
    frames = [board(trials=9), board(trials=15, gain=0.3)]
    parts = [stratum(frame) for frame in frames]
    both = intervals(parts, **LEVEL)
    assert list(both["value"]) == pytest.approx(list((parts[0].value + parts[1].value) / 2))
    normal = [(one["high"] - one["low"]) / 2 for one in (intervals([part], **LEVEL) for part in parts)]
    added = np.sqrt(normal[0] ** 2 + normal[1] ** 2) / 2
    assert np.all((both["high"] - both["low"]) / 2 < added)  # more degrees of freedom
    assert np.all((both["high"] - both["low"]) / 2 > 0.8 * added)


def test_the_mean_of_units_has_students_interval():
    values = np.random.default_rng(1).normal(size=(2, 11))
    found = intervals([of_units(["a", "b"], values)], **LEVEL)
    for row, name in enumerate("ab"):
        bounds = stats.ttest_1samp(values[row], 0).confidence_interval(0.95)
        assert list(found.loc[name, ["low", "high"]]) == pytest.approx([*bounds])


def test_a_function_of_the_values_has_its_slopes_interval():
    part = stratum(board())
    plain = intervals([part], **LEVEL)
    logs = intervals([part.mapped(np.log, lambda value: 1 / value)], **LEVEL)
    assert list(logs["value"]) == pytest.approx(list(np.log(plain["value"])))
    width = (plain["high"] - plain["low"]) / plain["value"]
    assert list(logs["high"] - logs["low"]) == pytest.approx(list(width))


@given(st.integers(0, 10**6))
def test_the_order_of_rows_changes_nothing(seed):
    frame = board(seed_spread=0.05)
    pd.testing.assert_frame_equal(compared(frame.sample(frac=1, random_state=seed)), compared(frame))


def test_pairs_of_an_entry_that_is_not_ranked_have_intervals_and_no_verdict():
    frame = board()
    first, second, unranked = sorted(frame["entry"].unique())
    table = compared(frame, {first: "weights", second: "weights"})
    assert table.loc[(first, second), "verdict"] in ("better", "worse", "tied")
    assert table.loc[(first, unranked), "verdict"] is None
    assert table.loc[(first, unranked), ["low", "high"]].notna().all()
