"""Going on with an interrupted reproduction."""

from __future__ import annotations

import shutil

import pytest
from helpers import synthetic
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.leaderboard.verify.reproduce import reproduce
from tipl_bench.registry.locations import cache_root
from tipl_bench.utils.errors import ProtocolError


def test_when_a_reproduction_is_interrupted_then_it_goes_on_and_only_where_it_was_begun(smooth, tmp_path, known):
    def interrupt(stage, *_):
        if stage == "contract check":
            raise KeyboardInterrupt

    request = RunRequest("autoregression", smooth, protocol=synthetic.SMALL, device="cpu")
    record = execute(request, tmp_path / "run").record
    with pytest.raises(KeyboardInterrupt):
        reproduce(record, smooth, tmp_path / "again", progress=interrupt)
    fitted = (tmp_path / "again" / "forecasts.safetensors").stat().st_mtime_ns
    shutil.copytree(tmp_path / "again", tmp_path / "other")
    with pytest.raises(ProtocolError, match="other is not empty; a reproduction starts from nothing"):
        reproduce(record, smooth, tmp_path / "other")
    assert reproduce(record, smooth, tmp_path / "again").grade == "bitwise"
    assert (tmp_path / "again" / "forecasts.safetensors").stat().st_mtime_ns == fitted
    assert not any((cache_root() / "reproductions").iterdir())
    with pytest.raises(ProtocolError, match="again is not empty"):
        reproduce(record, smooth, tmp_path / "again")
