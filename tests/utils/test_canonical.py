"""JSON of one form."""

from __future__ import annotations

import pytest
from tipl_bench.utils.canonical import canonical_json


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_canonical_json_refuses_what_json_has_no_word_for(number):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [number]})
