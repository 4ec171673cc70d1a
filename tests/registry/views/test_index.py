"""The index: one row a checkpoint, told by the trials' own tensors, as a table, a `datasets.Dataset` and a file."""

from __future__ import annotations

import math

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from helpers.small_collections import edit_manifest
from safetensors.numpy import load_file
from tipl_bench.cli import main
from tipl_bench.utils.errors import DatasetError

SCALARS = ("environment_steps", "iteration", "epoch", "learning_rate", "episodic_return")
PARTS = {0: "train", 1: "train", 2: "validation", 3: "test", 4: "test"}


def expected_rows(dataset, trials):
    """Every row, from the files as the official library reads them."""
    rows = []
    for trial in trials:
        path = f"trials/trial-{trial:04d}.safetensors"
        tensors = load_file(dataset.folder / path)
        for checkpoint in range(21):
            where = {"trial": trial, "split": PARTS[trial], "seed": trial + 1, "file": path, "checkpoint": checkpoint}
            rows.append(where | {name: tensors[name][checkpoint].item() for name in SCALARS})
    return rows


def assert_same_rows(found, expected):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert list(mine) == list(theirs)
        for name, value in theirs.items():
            both_unknown = isinstance(value, float) and math.isnan(value) and _unknown(mine[name])
            assert both_unknown or mine[name] == value, (name, theirs)


def _unknown(value):
    return value is None or math.isnan(value)


def test_every_checkpoint_has_a_row_with_what_its_trials_tensors_say(collected):
    index = collected.index()
    assert isinstance(index, datasets.Dataset)
    assert_same_rows(index.to_list(), expected_rows(collected, range(5)))


def test_the_index_of_some_trials_holds_each_once_in_order(collected):
    assert_same_rows(collected.index([3, 1, 3]).to_list(), expected_rows(collected, [1, 3]))


def test_the_row_of_a_checkpoint_leads_to_its_weights(collected):
    index = collected.index([2])
    row = index.filter(lambda row: row["iteration"] == 3 and row["epoch"] == 10)[0]
    weights = load_file(collected.folder / row["file"])["weights"]
    assert np.array_equal(weights[row["checkpoint"]], collected.trial(row["trial"]).weights()[15])


def test_numbers_keep_their_kinds(collected):
    features = collected.index([0]).features
    kinds = {name: features[name].dtype for name in features}
    assert [kinds[name] for name in SCALARS] == ["int64", "int64", "int64", "float32", "float32"]
    assert [kinds[name] for name in ("trial", "seed", "checkpoint")] == ["int64"] * 3


def test_seeds_that_no_integer_column_holds_are_text(dataset, tmp_path):
    edit_manifest(dataset.folder, lambda manifest: manifest.update(trial_seeds=[1, 2, 3, 4, 2**127]))
    out = tmp_path / "rows.parquet"
    result = write_index(dataset, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted({row["seed"] for row in pq.read_table(out).to_pylist()}) == ["1", str(2**127), "2", "3", "4"]


def test_trials_that_are_not_there_are_refused(collected):
    with pytest.raises(IndexError, match="has trials 0 to 4, not 5"):
        collected.index([5])


def test_an_index_of_no_trial_is_refused(collected):
    with pytest.raises(DatasetError, match="at least one trial"):
        collected.index([])


def write_index(dataset, *arguments):
    return CliRunner().invoke(main, ["datasets", "index", str(dataset.folder), *map(str, arguments)])


def test_the_command_writes_the_same_rows_as_parquet(collected, tmp_path):
    out = tmp_path / "rows.parquet"
    result = write_index(collected, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {out}: 105 checkpoints of {collected.name}\n"
    assert_same_rows(pq.read_table(out).to_pylist(), expected_rows(collected, range(5)))
    assert_same_rows(datasets.Dataset.from_parquet(str(out), cache_dir=tmp_path).to_list(), collected.index().to_list())


def test_writing_it_again_gives_the_same_bytes(collected, tmp_path):
    for name in ("a", "b"):
        assert write_index(collected, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_by_default_it_stands_in_the_working_folder(collected, tmp_path):
    assert write_index(collected).exit_code == 0
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["index.parquet"]


def test_of_a_dataset_without_any_trial_here_the_command_says_so_and_writes_nothing(dataset, tmp_path):
    for path in (dataset.folder / "trials").iterdir():
        path.unlink()
    result = write_index(dataset)
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert "at least one trial" in result.stderr
    assert not list((tmp_path / "work").iterdir())
