"""The overall skill: trials resampled within environments, environments only where there are enough."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.sampled_boards import SETTINGS, frame, sums
from hypothesis import given, settings
from hypothesis import strategies as st
from tipl_bench.leaderboard.statistics.across import MIN_ENVIRONMENTS_TO_RESAMPLE, overall


def boards(environments=3, trials=(8, 6, 12), ratios=(0.5, 0.8), horizons=2, seed=0):
    """A frame of several environments, entries of about the given error ratios in all of them."""
    stream = np.random.default_rng(seed)
    parts = []
    for number in range(environments):
        shape = (trials[number % len(trials)], horizons)
        _, baseline = sums(stream, shape, 1.0)
        noise = stream.lognormal(0.0, 0.3, size=(len(ratios), *shape))
        error = baseline * np.array(ratios)[:, None, None] * noise
        parts.append(frame(error, baseline).assign(environment=f"env{number:02d}"))
    return pd.concat(parts, ignore_index=True)


def plain_skill(part, trials):
    """Mean over horizons of 1 - sum / sum of the given trials of one entry on one board."""
    error, baseline = (part.pivot(index="trial", columns="horizon", values=v) for v in ("error", "baseline"))
    return np.mean([1 - error.loc[trials, h].sum() / baseline.loc[trials, h].sum() for h in error.columns])


def test_the_overall_skill_is_the_mean_over_environments_whatever_their_trials():
    table = boards()
    found = overall(table, **SETTINGS)
    for entry, part in table.groupby("entry"):
        each = [plain_skill(one, sorted(one["trial"].unique())) for _, one in part.groupby("environment")]
        assert found.skills.loc[entry, "value"] == pytest.approx(np.mean(each), rel=1e-12)
    assert found.environments == ["env00", "env01", "env02"]
    assert found.resampled == "trials"


def test_the_difference_is_that_of_a_plain_loop_that_draws_the_same_trials_for_both():
    table = boards(environments=2, trials=(6, 6))
    stream, drawn = np.random.default_rng(5), []
    arrays = {}
    for key, part in table.groupby(["environment", "entry"]):
        shape = (part["trial"].nunique(), part["horizon"].nunique())
        arrays[key] = [part[column].to_numpy().reshape(shape) for column in ("error", "baseline")]
    for _ in range(1000):
        each = []
        for environment in ("env00", "env01"):
            chosen = list(stream.integers(0, 6, 6))
            skills = []
            for entry in ("entry0000", "entry0001"):
                error, baseline = arrays[environment, entry]
                ratios = [sum(error[chosen, h]) / sum(baseline[chosen, h]) for h in range(error.shape[1])]
                skills.append(1 - sum(ratios) / len(ratios))
            each.append(skills[0] - skills[1])
        drawn.append(np.mean(each))
    row = overall(table, **SETTINGS).differences.loc[("entry0000", "entry0001")]
    assert row["value"] == pytest.approx(np.mean(drawn), abs=5 * np.std(drawn) / np.sqrt(1000) + 0.01)
    # Two strata of 6: t of 5 to 10 degrees of freedom and sqrt(6 / 5), in units of the draws' own deviation.
    half = (row["high"] - row["low"]) / 2 / np.std(drawn)
    assert 2.228 * np.sqrt(6 / 5) * 0.9 < half < 2.571 * np.sqrt(6 / 5) * 1.1


def test_pairing_tells_apart_what_is_better_in_every_environment_though_environments_differ():
    table = boards(environments=4, trials=(8,), ratios=(0.5,))
    shifted = {"env00": 0.2, "env01": 0.8, "env02": 1.5, "env03": 3.0}
    table["error"] *= table["environment"].map(shifted)
    other = table.assign(entry="other", error=table["error"] * 0.95)
    found = overall(pd.concat([table, other]), **SETTINGS)
    assert found.differences.loc[("other", "entry0000"), "low"] > 0
    assert dict(found.ranks["rank"]) == {"other": 1, "entry0000": 2}


def test_with_enough_environments_they_are_the_sample():
    table = boards(environments=MIN_ENVIRONMENTS_TO_RESAMPLE, trials=(8,), ratios=(0.5, 0.8))
    table["error"] *= table["environment"].map(dict(zip(sorted(set(table["environment"])), range(1, 99), strict=False)))
    many = overall(table, **SETTINGS)
    few = overall(table[table["environment"] != "env00"], **SETTINGS)
    assert (many.resampled, few.resampled) == ("environments", "trials")
    width = [(one.skills["high"] - one.skills["low"]).iloc[0] for one in (many, few)]
    assert width[0] > 3 * width[1]


def test_when_an_entry_is_missing_somewhere_then_the_overall_is_refused():
    table = boards()
    with pytest.raises(ValueError, match="every environment"):
        overall(table[(table["environment"] != "env01") | (table["entry"] != "entry0001")], **SETTINGS)


def test_persistence_has_exactly_no_skill_and_copies_are_tied():
    table = boards()
    still = table[table["entry"] == "entry0000"].assign(entry="persistence", error=lambda rows: rows["baseline"])
    copy = table[table["entry"] == "entry0000"].assign(entry="copy")
    found = overall(pd.concat([table, still, copy]), **SETTINGS)
    assert tuple(found.skills.loc["persistence"]) == (0.0, 0.0, 0.0)
    assert "copy" in found.ranks.loc["entry0000", "tied"]
    assert tuple(found.differences.loc[("copy", "entry0000")]) == (0.0, 0.0, 0.0)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_the_order_of_rows_and_the_unit_of_an_environment_change_nothing(seed, factor):
    table = boards(trials=(6,), seed=seed % 97)
    before = overall(table, **(SETTINGS | {"resamples": 99}))
    scaled = table.sample(frac=1, random_state=seed)
    first = scaled["environment"] == "env00"
    scaled.loc[first, ["error", "baseline"]] *= factor
    after = overall(scaled, **(SETTINGS | {"resamples": 99}))
    pd.testing.assert_frame_equal(after.skills, before.skills, rtol=1e-9, atol=1e-9)
    pd.testing.assert_frame_equal(after.differences, before.differences, rtol=1e-9, atol=1e-9)
    pd.testing.assert_frame_equal(after.ranks, before.ranks)
