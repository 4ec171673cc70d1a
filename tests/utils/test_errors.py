"""Errors that a person can act on."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

import pytest
from tipl_bench.utils.errors import DatasetError, TiplBenchError, UnknownNameError, nearest, reason


def failure(function: Callable[..., object], *arguments: object) -> Exception:
    """The error that a call raises."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        function(*arguments)
    return caught.value


def test_an_unknown_name_gives_the_nearest_and_all_valid_ones():
    error = UnknownNameError("predictor", "tipi", ["tipl", "linear", "mlp"])
    assert str(error) == "Unknown predictor 'tipi'. Did you mean 'tipl'? Known: linear, mlp, tipl."


def test_a_name_far_from_all_others_gets_no_guess():
    assert str(UnknownNameError("predictor", "lasso", ["tipl"])) == "Unknown predictor 'lasso'. Known: tipl."


@pytest.mark.parametrize(
    ("name", "choices", "near"),
    [
        ("mpl", ["mlp", "tipl"], "mlp"),
        ("TIPL", ["mlp", "tipl"], "tipl"),
        ("Hopper-v5", ["Hopper-v4", "Walker2d-v4"], "Hopper-v4"),
        ("Pusher-v4", ["Hopper-v4", "Walker2d-v4"], None),
        ("half-cheetah/ppo-v1", ["half-cheetah/ppo-mini-v1", "hopper/ppo-mini-v1"], "half-cheetah/ppo-mini-v1"),
        ("ant/ppo-mini-v1", ["hopper/ppo-mini-v1", "swimmer/ppo-mini-v1"], None),
        ("reacher/ppo-mini-v1", ["hopper/ppo-mini-v1", "walker2d/ppo-mini-v1"], None),
        ("chck", ["check", "new"], "check"),
    ],
)
def test_a_guess_is_made_for_a_misspelling_and_not_for_what_only_shares_an_ending(name, choices, near):
    assert nearest(name, choices) == near


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x/y"), "No such file or directory"),
        (OSError(2, "Failed to open local file '/x'. Detail: [errno 2] No such file or directory"), "No such file or"),
        (failure(json.loads, "{"), "not valid JSON at line 1, column 2"),
        (failure(tomllib.loads, "[x"), "not valid TOML: expected ']' at the end of a table declaration"),
        (failure(b"\xff".decode, "utf-8"), "not UTF-8 text"),
        (ValueError("no table of commits"), "no table of commits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_reason_of_an_error_has_no_jargon(error, words):
    assert reason(error).startswith(words)
    assert "rrno" not in reason(error)


def test_an_empty_table_is_said_to_be_empty():
    assert str(UnknownNameError("dataset", "x", [])).endswith("Known: (none).")


@pytest.mark.parametrize("error", [UnknownNameError("dataset", "x", ["y"]), DatasetError("broken")])
def test_every_error_on_purpose_has_one_base(error):
    assert isinstance(error, TiplBenchError)


def test_an_unknown_name_is_also_a_key_error():
    with pytest.raises(KeyError):
        raise UnknownNameError("dataset", "x", [])
