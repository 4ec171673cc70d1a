"""Options: a dataclass filled from a budget and from name=value settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from helpers import third_party
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.baselines.linear import Linear
from tipl_bench.baselines.options import build_options, describe_options, parse_value
from tipl_bench.baselines.persistence import Persistence
from tipl_bench.baselines.tipl import TIPL, TIPLOptions
from tipl_bench.utils.errors import OptionError, UnknownNameError


@dataclass(frozen=True)
class EveryKind:
    """An option of every kind."""

    count: int = 1
    share: float = 0.5
    flag: bool = False
    word: str = "a"
    shape: Literal["round", "square"] = "round"
    limit: int | None = None
    rate: float | None = 0.1
    form: Literal["tall", "flat"] | None = None


class Optioned(third_party.ThirdParty):
    """A predictor with them."""

    name = "optioned"
    options_type = EveryKind
    budgets = {"quick": {"count": 3, "flag": True}}  # noqa: RUF012  # as a method author writes it


@dataclass(frozen=True)
class Strict:
    """An option that has no default."""

    needed: int


class Demanding(third_party.ThirdParty):
    """A predictor that cannot be built without a setting."""

    name = "demanding"
    options_type = Strict


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("count=7", 7),
        ("count=-7", -7),
        ("share=0.25", 0.25),
        ("share=1", 1.0),
        ("share=1e-3", 1e-3),
        ("flag=false", False),
        ("flag=True", True),
        ("word=x=y", "x=y"),
        ("word=", ""),
        ("shape=square", "square"),
        ("limit=3", 3),
        ("limit=none", None),
        ("limit=None", None),
        ("rate=0.5", 0.5),
        ("rate=none", None),
        ("form=flat", "flat"),
        ("form=none", None),
    ],
)
def test_when_a_setting_fits_its_type_then_it_is_read_as_such(setting, value):
    found = getattr(build_options(Optioned, "quick", [setting]), setting.partition("=")[0])
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("count=1.5", r"Option count takes a value of type int, not '1\.5'"),
        ("count=", "Option count takes a value of type int, not ''"),
        ("count=none", "Option count takes a value of type int, not 'none'"),
        ("share=much", "Option share takes a value of type float, not 'much'"),
        ("flag=1", "Option flag is true or false, not '1'"),
        ("limit=few", "Option limit takes a value of type int, not 'few'"),
        ("shape=squar", r"Unknown value of shape 'squar'\. Did you mean 'square'\? Known: round, square"),
        ("form=fla", "form"),
        ("share=nan", "share"),
        ("rate=inf", "rate"),
        ("count", "--set 'count' is not of the form name=value"),
    ],
)
def test_when_a_setting_does_not_fit_then_the_option_is_named(setting, complaint):
    with pytest.raises((OptionError, UnknownNameError), match=complaint):
        build_options(Optioned, "quick", [setting])


def test_when_an_option_is_unknown_then_the_nearest_and_all_are_named():
    with pytest.raises(UnknownNameError) as caught:
        build_options(TIPL, "quick", ["widht=3"])
    message = str(caught.value)
    assert message.startswith("Unknown option of tipl 'widht'. Did you mean 'width'? Known: ")
    assert all(name in message for name in vars(TIPLOptions()))


def test_when_a_predictor_has_no_options_then_any_is_unknown():
    with pytest.raises(UnknownNameError, match=r"Unknown option of persistence 'steps'\. Known: \(none\)\."):
        build_options(Persistence, "quick", ["steps=3"])


def test_when_a_budget_is_unknown_then_the_choices_are_listed():
    with pytest.raises(
        UnknownNameError, match=r"Unknown budget 'quik'\. Did you mean 'quick'\? Known: paper, quick, smoke, stan"
    ):
        build_options(Linear, "quik", [])


def test_when_a_budget_is_chosen_then_its_values_are_taken_and_settings_go_on_top():
    assert build_options(Optioned, "quick", []) == EveryKind(count=3, flag=True)
    assert build_options(Optioned, "paper", []) == EveryKind()
    assert build_options(Optioned, "quick", ["count=9"]) == EveryKind(count=9, flag=True)
    assert build_options(Optioned, "quick", ["count=9", "count=8"]).count == 8


def test_when_the_paper_budget_is_chosen_then_tipl_trains_as_long_as_the_paper():
    options = build_options(TIPL, "paper", [])
    assert (options.steps, options.batch) == (50 * 10_000, 64)
    assert (options.layers, options.heads, options.width, options.dropout) == (3, 1, 128, 0.1)
    assert (options.learning_rate, options.weight_decay, options.gradient_clip) == (1e-4, 1e-4, 0.25)
    assert build_options(TIPL, "quick", []).steps < build_options(TIPL, "standard", []).steps < options.steps


def test_when_a_value_is_out_of_range_then_the_predictor_and_option_are_named():
    with pytest.raises(OptionError, match=r"linear: damping is 2\.0; it scales the step"):
        build_options(Linear, "quick", ["damping=2"])


def test_when_an_option_has_no_default_and_no_setting_then_it_is_named():
    assert build_options(Demanding, "quick", ["needed=4"]) == Strict(4)
    with pytest.raises(OptionError, match=r"demanding: .*needed"):
        build_options(Demanding, "quick", [])


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_when_a_value_is_printed_then_reading_it_gives_it_back(value):
    assert parse_value("x", str(value), type(value)) == value


def test_when_options_are_described_then_each_has_its_type_and_default():
    described: dict[str, tuple[str, Any]] = dict(describe_options(Optioned))
    assert described["count"] == ("int", 1)
    assert described["flag"] == ("bool", False)
    assert described["shape"] == ("round | square", "round")
    assert described["rate"] == ("float | none", 0.1)
    assert described["limit"] == ("int | none", None)
    assert describe_options(Persistence) == {}
