"""What the training track's table takes for one method, and what it says of methods that nothing chose."""

from __future__ import annotations

import pytest
from helpers.training_records import training_run
from tipl_bench.benchmark.meta_training.run import shipped_records
from tipl_bench.leaderboard.training import presentation
from tipl_bench.leaderboard.training.store import add
from tipl_bench.leaderboard.training.table import family, tables


@pytest.mark.parametrize(("speed", "named"), [(1.9, True), (0.5, False)])
def test_plain_rows_without_tuning_runs_are_named_where_they_are_above_the_best_plain_method(tmp_path, speed, named):
    training_run(tmp_path / "tuning", 1.0, split="tuning")
    training_run(tmp_path / "test", 1.0)
    training_run(tmp_path / "outer", speed, "adam", ["outer-step"])
    for name in ("tuning", "test", "outer"):
        add(tmp_path / name, tmp_path / "records")
    (found,) = tables(tmp_path / "records")
    row = next(one for one in found.rows if one.method == "adam + outer-step")
    assert found.untuned == ((row.id,) if named else ())
    assert ("never chosen: adam + outer-step." in presentation.presented(found)[0].about) is named


def test_each_of_the_meta_parameters_that_ship_is_a_method_of_its_own(tmp_path):
    names = [name for name in shipped_records() if name.startswith("2023-normalised-")]
    runs = [
        training_run(tmp_path / name, 1.0, "optim4rl", (), [f"weights={name}", "learning_rate=0.001"], split="tuning")
        for name in names
    ]
    assert [family(one) for one in runs] == [f"optim4rl({name})" for name in names]


def test_across_environments_the_interval_of_the_mean_is_that_of_independent_ones(tmp_path):
    runs = {
        "tuning": training_run(tmp_path / "tuning", 1.2, "adam", (), ["learning_rate=0.0006"], split="tuning"),
        "tuned": training_run(tmp_path / "tuned", 1.2, "adam", (), ["learning_rate=0.0006"], seed=1),
        "default": training_run(tmp_path / "default", 1.0, seed=2),
    }
    for name in runs:
        add(tmp_path / name, tmp_path / "records")
    (one,) = tables(tmp_path / "records")
    assert presentation.across([one]) == ()
    (found,) = presentation.across([one, one.model_copy(update={"environment": "Other-v0"})])
    difference = next(row for row in one.rows if row.method == "adam").against["tuned adam"].estimates["auc"]
    half = (difference.high - difference.low) / 2 / 2**0.5
    mean = f"{difference.value:+.3f}"
    interval = f"[{difference.value - half:.3f}, {difference.value + half:.3f}]"
    assert found.headings[3:] == ("InvertedPendulum-v4", "Other-v0")
    assert found.rows == (("adam", mean, interval, mean, mean),)
    assert "## Across environments" in presentation.markdown([one, one.model_copy(update={"environment": "Other-v0"})])
