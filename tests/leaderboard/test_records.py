"""The records a board is built from: valid, never changed silently."""

from __future__ import annotations

import pytest
from board_records import record
from tipl_bench.leaderboard.records import RECORDS, add, load
from tipl_bench.registry.errors import ProtocolError


def test_when_a_result_differs_then_add_refuses_and_keeps_the_old_one(tmp_path):
    run, records = tmp_path / "run", tmp_path / "records"
    run.mkdir()
    record(ratio=0.5).write(run)
    path = add(run, records)
    before = path.read_bytes()
    record(ratio=0.4).write(run)
    with pytest.raises(ProtocolError, match="never changed silently"):
        add(run, records)
    assert path.read_bytes() == before
    slower = record(ratio=0.5)
    slower.model_copy(update={"cost": slower.cost.model_copy(update={"fit_seconds": 9.0})}).write(run)
    assert add(run, records) == path


def test_when_there_are_no_records_then_loading_says_how_to_add_some(tmp_path):
    with pytest.raises(ProtocolError, match="leaderboard add"):
        load(tmp_path)


def test_the_packages_own_records_are_valid_and_cover_five_predictors_and_three_seeds():
    stored = load(RECORDS).values()
    found = {(r.key.predictor.name, r.key.seed) for r in stored if r.key.dataset.name.endswith("ppo-head-v1")}
    names = ("persistence", "linear", "autoregression", "mlp", "tipl")
    assert found >= {(name, seed) for name in names for seed in (0, 1, 2)}
