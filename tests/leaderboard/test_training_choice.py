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
