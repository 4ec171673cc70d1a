"""The field's methods beside implementations that others made of them, on the bundled dataset under protocol 1."""

from __future__ import annotations

from statistics import fmean

import pytest
import tipl_bench

SKILLS = {"holt": 0.31, "wnn": 0.26, "introspection": 0.18, "dmd": 0.11, "mean-trajectory": 0.0}
"""Mean skill in the learning phase."""


@pytest.mark.slow
@pytest.mark.parametrize("model", SKILLS)
def test_a_method_is_within_0_03_of_another_implementation_or_better(model, tmp_path):
    run = tipl_bench.run(
        model, "inverted-pendulum/ppo-head-v1", protocol=1, returns=False, limit=100_000, out=tmp_path / model
    )
    learning = [result for result in run.record.results if result.phase == "learning"]
    assert fmean(result["skill"].value for result in learning) > SKILLS[model] - 0.03
