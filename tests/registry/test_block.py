"""Snapshots of a block in training, as files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_collections import tiny_config
from safetensors.numpy import save_file
from tipl_bench.registry.collection.block import METADATA, restore_snapshot, save_snapshot
from tipl_bench.rl import PPOTraining
from tipl_bench.utils.errors import DatasetError


@pytest.fixture
def snapshot(tmp_path):
    """A snapshot after two iterations."""
    training = PPOTraining(tiny_config().training, [1, 2], threads=1)
    training.start()
    for _ in range(2):
        training.iterate()
    path = tmp_path / "block-0000-0001.snapshot"
    save_snapshot(training, path)
    return path, training


def test_a_block_continues_from_its_snapshot_with_the_same_bits(snapshot):
    path, training = snapshot
    continued = PPOTraining(tiny_config().training, [1, 2], threads=1)
    restore_snapshot(continued, path)
    for ours, theirs in zip(continued.iterate(), training.iterate(), strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)


def test_a_snapshot_of_another_block_is_refused_with_the_file_and_the_way_out(snapshot):
    other = PPOTraining(tiny_config().training, [3, 4], threads=1)
    with pytest.raises(DatasetError, match=r"0001\.snapshot: .*another seeds\)\. Remove it"):
        restore_snapshot(other, snapshot[0])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"parameters": np.zeros(3)}, path),
        lambda path: save_file({"parameters": np.zeros(3)}, path, {METADATA: json.dumps({"format": 1})}),
        lambda path: save_file({"parameters": np.zeros(3)}, path, {METADATA: "{"}),
        lambda path: save_file({"parameters": np.zeros(3)}, path, {METADATA: "[]"}),
    ],
    ids=["cut short", "empty", "no metadata", "another format", "broken metadata", "a list"],
)
def test_a_snapshot_that_is_none_is_refused_with_the_file_and_the_way_out(write, snapshot):
    write(snapshot[0])
    with pytest.raises(DatasetError, match=r"0001\.snapshot: this snapshot cannot be resumed .*Remove it"):
        restore_snapshot(PPOTraining(tiny_config().training, [1, 2]), snapshot[0])
