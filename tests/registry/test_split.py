"""The split by trial."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.registry.manifest import PROPORTIONS, Split
from tipl_bench.utils.errors import DatasetError


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


@given(st.integers(3, 300), st.lists(st.integers(0, 100), max_size=4))
def test_an_extended_split_keeps_every_trial_in_its_part_and_gives_each_new_one_a_place(trials, steps):
    split = Split.proportional(trials)
    for step in steps:
        trials += step
        extended = split.extend(trials)
        assert sorted([*extended.train, *extended.validation, *extended.test]) == list(range(trials))
        for part, share in PROPORTIONS.items():
            before, after = getattr(split, part), getattr(extended, part)
            assert after[: len(before)] == before
            assert list(after[len(before) :]) == sorted(after[len(before) :])
            assert abs(len(after) - share * trials) <= 1 + 1e-9
        split = extended


@given(st.integers(3, 300), st.integers(0, 100), st.integers(0, 100))
def test_growing_in_two_steps_gives_the_same_split_as_in_one(trials, first, second):
    split = Split.proportional(trials)
    assert split.extend(trials + first).extend(trials + first + second) == split.extend(trials + first + second)


def test_a_split_that_is_not_proportional_grows_towards_it():
    split = Split(train=(2,), validation=(0, 3, 4), test=(1,)).extend(30)
    assert (len(split.train), len(split.validation), len(split.test)) == (18, 3, 9)
    assert (split.train[:1], split.validation[:3], split.test[:1]) == ((2,), (0, 3, 4), (1,))


@given(st.integers(3, 50))
def test_a_split_extended_by_nothing_is_itself(trials):
    split = Split.proportional(trials)
    assert split.extend(trials) == split
