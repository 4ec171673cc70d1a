"""The split by trial."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.registry.errors import DatasetError
from tipl_bench.registry.manifest import Split


@pytest.mark.parametrize(
    ("trials", "sizes"),
    [
        (50, (30, 5, 15)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (5, (2, 1, 2)),
        (6, (3, 1, 2)),
        (10, (6, 1, 3)),
        (100, (60, 10, 30)),
    ],
)
def test_trials_are_divided_six_to_one_to_three(trials, sizes):
    split = Split.proportional(trials)
    assert (len(split.train), len(split.validation), len(split.test)) == sizes


@given(st.integers(3, 2000))
def test_every_trial_has_one_place_in_trial_order_and_no_part_is_empty(trials):
    split = Split.proportional(trials)
    assert [*split.train, *split.validation, *split.test] == list(range(trials))
    assert min(len(split.train), len(split.validation), len(split.test)) >= 1
    assert abs(len(split.test) - 0.3 * trials) <= 0.5 or trials < 4
    assert abs(len(split.validation) - 0.1 * trials) <= 0.5 or trials < 5


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_fewer_than_three_trials_cannot_be_split(trials):
    with pytest.raises(DatasetError, match=f"{trials} trials cannot be split three ways; collect at least 3"):
        Split.proportional(trials)
