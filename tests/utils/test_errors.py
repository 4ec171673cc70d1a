"""Errors that a person can act on."""

from __future__ import annotations

import pytest
from tipl_bench.utils.errors import DatasetError, TiplBenchError, UnknownNameError


def test_an_unknown_name_gives_the_nearest_and_all_valid_ones():
    error = UnknownNameError("predictor", "tipi", ["tipl", "linear", "mlp"])
    assert str(error) == "Unknown predictor 'tipi'. Did you mean 'tipl'? Known: linear, mlp, tipl."


def test_a_name_far_from_all_others_gets_no_guess():
    assert str(UnknownNameError("predictor", "lasso", ["tipl"])) == "Unknown predictor 'lasso'. Known: tipl."


def test_an_empty_table_is_said_to_be_empty():
    assert str(UnknownNameError("dataset", "x", [])).endswith("Known: (none).")


@pytest.mark.parametrize("error", [UnknownNameError("dataset", "x", ["y"]), DatasetError("broken")])
def test_every_error_on_purpose_has_one_base(error):
    assert isinstance(error, TiplBenchError)


def test_an_unknown_name_is_also_a_key_error():
    with pytest.raises(KeyError):
        raise UnknownNameError("dataset", "x", [])
