"""Files of tables: their columns and types are declared, so that boards of different days become one table."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.board_records import record, write
from tipl_bench.baselines.plugins.sources import MethodCode
from tipl_bench.benchmark.forecast.scoring import COLUMNS, LAYER_PREFIX, write_windows
from tipl_bench.benchmark.metrics import METRICS
from tipl_bench.leaderboard.build import build
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.document.metric_values import SHOWN
from tipl_bench.leaderboard.document.schema import LeaderboardDocument
from tipl_bench.leaderboard.render import table

CODE = MethodCode(
    distribution="forecaster", version="1.2", url="https://example.org/code", paper="https://arxiv.org/abs/2503.04074",
    commit="c" * 40, files={},
)  # fmt: skip


def with_code(one, **more):
    return one.model_copy(update={"provenance": one.provenance.model_copy(update={"code": CODE, **more})})


@pytest.fixture
def days(toys):
    """The parquet files of three boards: with all columns filled, with hardly any, and of no row at all."""
    full = with_code(record("tipl", 0.5), gpu="A GPU", git_commit="d" * 40, git_dirty=False, validation_runs=3)
    boards = {
        "full": document(write(toys / "full", full, record("mlp", 0.5), record("mlp", 0.5, seed=1))),
        "bare": document(write(toys / "bare", record("tipl", 0.5, phase="converged", trials=1))),
        "empty": LeaderboardDocument(version="0", protocols={}, metrics=SHOWN, boards=(), rows=(), overall=()),
    }
    paths = []
    for name, board in boards.items():
        paths.append(toys / f"{name}.parquet")
        table.write_parquet(board, paths[-1])
    return paths


def test_boards_of_different_days_have_one_schema_without_columns_of_nothing(days):
    first, *others = map(pq.read_schema, days)
    assert all(first.equals(other, check_metadata=True) for other in others)
    kinds = [field.type.value_type if pa.types.is_list(field.type) else field.type for field in first]
    assert not any(pa.types.is_null(kind) for kind in kinds)
    assert pq.read_table(days[0]).column("code_paper").to_pylist()[0] == [CODE.paper]
    assert pq.read_table(days[0]).column("validation_runs").to_pylist()[0] == [3]


def test_they_concatenate_in_pyarrow(days):
    tables = [pq.read_table(path) for path in days]
    whole = pa.concat_tables(tables, promote_options="none")
    assert whole.num_rows == sum(one.num_rows for one in tables) > 0


def test_they_concatenate_in_polars(days):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frames = [polars.read_parquet(path) for path in days]
    assert polars.concat(frames, how="vertical").height == sum(frame.height for frame in frames)


def test_they_concatenate_in_datasets(days, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    cache = str(tmp_path / "cache")
    sets = [datasets.Dataset.from_parquet(str(path), cache_dir=cache) for path in days[:2]]
    whole = datasets.Dataset.from_parquet([str(path) for path in days], cache_dir=cache)  # that of no row as well
    assert len(datasets.concatenate_datasets(sets)) == len(whole) == sum(map(len, sets))
    assert whole.features == sets[0].features == sets[1].features


def test_windows_have_their_declared_types_whatever_they_hold(tmp_path):
    row = {name: "learning" if kind == pa.string() else 1 for name, (kind, _) in COLUMNS.items()}
    layer = f"{LAYER_PREFIX}layer0.weight"
    rows = pd.DataFrame([row | {layer: 0}])
    schemas = []
    for number, frame in enumerate((rows, rows[:0], rows.astype({"phase": "category"}))):
        write_windows(frame, tmp_path / str(number), "0" * 64)
        schemas.append(pq.read_schema(tmp_path / str(number)))
    assert schemas[0] == pa.schema([*((name, kind) for name, (kind, _) in COLUMNS.items()), (layer, pa.float64())])
    assert all(one.equals(schemas[0], check_metadata=True) for one in schemas)


def test_every_quantity_that_a_metric_takes_is_a_declared_column_of_windows():
    assert {column for metric in METRICS for column in metric.columns} - {"windows"} <= {*COLUMNS}


def test_the_code_of_a_method_is_in_the_document(toys):
    one = with_code(record("guest", 0.5), validation_runs=2)
    (written,) = [path for path in build(write(toys / "records", one), toys / "out") if path.name == "leaderboard.json"]
    (row,) = json.loads(written.read_text())["rows"]
    (origin,) = row["provenance"]
    assert (origin["code"]["distribution"], origin["code"]["paper"]) == ("forecaster", CODE.paper)
    assert (origin["validation_runs"], origin["isolation"]) == (2, "none")
