"""Options: a model or dataclass filled from a budget and from name=value settings."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field, make_dataclass
from threading import Event
from typing import Literal

import pytest
from helpers import third_party
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model
from tipl_bench.baselines.linear import Linear
from tipl_bench.baselines.options import build_options, describe_options, expand_settings
from tipl_bench.baselines.persistence import Persistence
from tipl_bench.baselines.predictor import Options
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
        ("flag=0", False),
    ],
)
def test_when_a_setting_fits_its_type_then_it_is_read_as_such(setting, value):
    found = getattr(build_options(Optioned, "quick", [setting], 20), setting.partition("=")[0])
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("count=1.5", r"option count \(int\): input should be a valid integer, .*; got '1\.5'"),
        ("count=", r"option count \(int\): input should be a valid integer, .*; got ''"),
        ("count=none", r"option count \(int\): input should be a valid integer, .*; got 'none'"),
        ("share=much", r"option share \(float\): input should be a valid number, .*; got 'much'"),
        ("flag=perhaps", r"option flag \(bool\): input should be a valid boolean, .*; got 'perhaps'"),
        ("limit=few", r"option limit \(int \| none\): input should be a valid integer, .*; got 'few'"),
        ("shape=squar", r"option shape \(round \| square\): input should be 'round' or 'square'; got 'squar'"),
        ("form=fla", r"option form \(tall \| flat \| none\): input should be 'tall' or 'flat'; got 'fla'"),
        ("share=nan", "option share: nan is not a finite number"),
        ("rate=inf", "option rate: inf is not a finite number"),
        ("count", "Setting 'count' is not of the form name=value"),
    ],
)
def test_when_a_setting_does_not_fit_then_the_option_is_named(setting, complaint):
    with pytest.raises((OptionError, UnknownNameError), match=complaint):
        build_options(Optioned, "quick", [setting], 20)


def test_when_an_option_is_unknown_then_the_nearest_and_all_are_named():
    with pytest.raises(UnknownNameError) as caught:
        build_options(TIPL, "quick", ["widht=3"], 20)
    message = str(caught.value)
    assert message.startswith("Unknown option of tipl 'widht'. Did you mean 'width'? Known: ")
    assert all(name in message for name in vars(TIPLOptions()))


def test_when_a_predictor_has_no_options_then_any_is_unknown():
    with pytest.raises(UnknownNameError, match=r"Unknown option of persistence 'steps'\. Known: \(none\)\."):
        build_options(Persistence, "quick", ["steps=3"], 20)


def test_when_a_budget_is_unknown_then_the_choices_are_listed():
    with pytest.raises(
        UnknownNameError, match=r"Unknown budget 'quik'\. Did you mean 'quick'\? Known: paper, quick, smoke, stan"
    ):
        build_options(Linear, "quik", [], 20)


def test_when_a_budget_is_chosen_then_its_values_are_taken_and_settings_go_on_top():
    assert build_options(Optioned, "quick", [], 20) == EveryKind(count=3, flag=True)
    assert build_options(Optioned, "paper", [], 20) == EveryKind()
    assert build_options(Optioned, "quick", ["count=9"], 20) == EveryKind(count=9, flag=True)
    assert build_options(Optioned, "quick", ["count=9", "count=9"], 20).count == 9
    with pytest.raises(OptionError, match="option count is set to both 9 and 8; give one value"):
        build_options(Optioned, "quick", ["count=9", "count=8"], 20)


def test_when_the_paper_budget_is_chosen_then_tipl_trains_as_long_as_the_paper():
    options = build_options(TIPL, "paper", [], 20)
    assert (options.steps, options.batch) == (50 * 10_000, 64)
    assert (options.layers, options.heads, options.width, options.dropout) == (3, 1, 128, 0.1)
    assert (options.learning_rate, options.weight_decay, options.gradient_clip) == (1e-4, 1e-4, 0.25)
    assert build_options(TIPL, "quick", [], 20).steps < build_options(TIPL, "standard", [], 20).steps < options.steps


def test_when_a_value_is_out_of_range_then_the_predictor_and_option_are_named():
    with pytest.raises(OptionError, match=r"linear: option damping .* less than or equal to 1; got '2'"):
        build_options(Linear, "quick", ["damping=2"], 20)


def test_when_an_option_has_no_default_and_no_setting_then_it_is_named():
    assert build_options(Demanding, "quick", ["needed=4"], 20) == Strict(4)
    with pytest.raises(OptionError, match=r"demanding: .*needed"):
        build_options(Demanding, "quick", [], 20)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_when_a_value_is_printed_then_reading_it_gives_it_back(value):
    name = {int: "count", float: "share", bool: "flag"}[type(value)]
    read = getattr(build_options(Optioned, "paper", [f"{name}={value}"], 20), name)
    assert (read, type(read)) == (value, type(value))


def test_when_options_are_described_then_each_has_its_type_default_and_meaning():
    described = describe_options(Optioned)
    types = {name: (option.type, option.default) for name, option in described.items()}
    assert types == {
        "count": ("int", 1),
        "share": ("float", 0.5),
        "flag": ("bool", False),
        "word": ("str", "a"),
        "shape": ("round | square", "round"),
        "limit": ("int | none", None),
        "rate": ("float | none", 0.1),
        "form": ("tall | flat | none", None),
    }
    assert describe_options(TIPL)["width"].description == "Width of a token's embedding."
    assert describe_options(Persistence) == {}


@pytest.mark.parametrize(("kind", "message"), [
    (dict, r"option extra: unsupported value \{\}; use a bool, int, float, string or none"),
    (Event, "its options cannot be validated"),
])  # fmt: skip
def test_when_an_option_has_a_type_that_no_record_holds_then_it_is_refused(kind, message):
    class Odd(third_party.ThirdParty):
        name = "odd"
        options_type = make_dataclass("OddOptions", [("extra", kind, field(default_factory=kind))], frozen=True)

    with pytest.raises(OptionError, match=f"odd: {message}"):
        build_options(Odd, "quick", [], 20)


def with_options(kind, **attributes):
    """A predictor with options of a type."""
    return type("Odd", (third_party.ThirdParty,), {"name": "odd", "options_type": kind, **attributes})


@pytest.mark.parametrize("settings", [[], ["extra=9"]])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (make_dataclass("Fixed", [("extra", int, field(default=2, init=False))]), "init=False, so no setting reaches"),
        (make_dataclass("Passing", [("extra", InitVar[int], 3)]), "no record would hold it"),
        (create_model("Hidden", extra=(int, Field(3, exclude=True)), __base__=Options), "no record would hold it"),
    ],
    ids=["init=False", "InitVar", "excluded"],
)
def test_when_an_option_cannot_be_set_or_would_not_be_recorded_then_it_is_refused(kind, message, settings):
    with pytest.raises(OptionError, match=f"odd: option extra of {kind.__name__}: .*{message}"):
        build_options(with_options(kind), "quick", settings, 20)


def test_when_a_choice_may_be_none_then_none_is_read_as_such():
    predictor = with_options(make_dataclass("Chosen", [("word", Literal["x", None], "x"), ("no", Literal[None], None)]))
    assert build_options(predictor, "quick", ["word=none", "no=None"], 20).word is None
    described = describe_options(predictor)
    assert (described["word"].type, described["no"].type) == ("x | none", "none")
    with pytest.raises(OptionError, match=r"odd: option word \(x \| none\)"):
        build_options(predictor, "quick", ["word=y"], 20)


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), KeyError("share"), TypeError("no"), OSError("gone")])
def test_when_the_options_own_code_fails_then_predictor_and_options_are_named(error):
    def fail(*_):
        raise error

    match = f"odd: Failing raised {type(error).__name__}: "
    failing = make_dataclass("Failing", [("word", str, "a")], namespace={"__post_init__": fail})
    with pytest.raises(OptionError, match=match):
        build_options(with_options(failing), "quick", [], 20)
    resolving = make_dataclass("Failing", [("word", str, "a")])
    with pytest.raises(OptionError, match=match):
        build_options(with_options(resolving, resolve_options=classmethod(fail)), "quick", [], 20)


class Model(Options):
    """Options as a model, which the suite's own predictors use."""

    share: float = Field(0.5, gt=0)
    """A share."""


class Modelled(third_party.ThirdParty):
    """A predictor with them."""

    name = "modelled"
    options_type = Model


def test_when_options_are_a_model_then_they_are_read_and_checked_likewise():
    assert build_options(Modelled, "quick", ["share=1"], 20) == Model(share=1.0)
    with pytest.raises(OptionError, match=r"modelled: option share \(float\): .* greater than 0; got '-1'"):
        build_options(Modelled, "quick", ["share=-1"], 20)
    with pytest.raises(OptionError, match=r"modelled: option share .* finite number"):
        build_options(Modelled, "quick", ["share=inf"], 20)


class SweptOptions(Options):
    """One option of each kind."""

    count: int = 9
    share: float | None = 0.5
    flag: bool = False
    kind: Literal["a", "b", "c"] = "c"
    pair: Literal["x,y", "z"] = "z"
    text: str = ""
    text_or_none: str | None = None


class Swept(Persistence):
    name, options_type = "swept", SweptOptions


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), [()]),
        (("count=1",), [("count=1",)]),
        (("count=1,2",), [("count=1",), ("count=2",)]),
        (("count=1, 2,1",), [("count=1",), ("count=2",)]),
        (("share=0.1,none",), [("share=0.1",), ("share=none",)]),
        (("flag=true,false",), [("flag=true",), ()]),
        (("flag=false",), [("flag=false",)]),
        (("count=1,9,09",), [("count=1",), ()]),
        (("kind=a,b",), [("kind=a",), ("kind=b",)]),
        (("pair=x,y",), [("pair=x,y",)]),
        (("text=a,b",), [("text=a,b",)]),
        (("text_or_none=a,b",), [("text_or_none=a,b",)]),
        (("text=a,b", "text=c"), [("text=a,b",), ("text=c",)]),
        (("count=1", "count=1"), [("count=1",)]),
        (
            ("count=1,2", "flag=true,false"),
            [
                ("count=1", "flag=true"),
                ("count=1",),
                ("count=2", "flag=true"),
                ("count=2",),
            ],
        ),
        (("unknown=1,2",), [("unknown=1,2",)]),
        (("no-form",), [("no-form",)]),
    ],
)
def test_when_settings_list_values_then_the_declared_type_says_what_a_comma_is(settings, expected):
    assert list(expand_settings(Swept, "quick", settings, 20)) == expected
