"""Snapshots of a block in training, as files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_collections import silent, tiny_config
from safetensors.numpy import load_file, save_file
from tipl_bench.registry.collection.block import METADATA, collect_block, restore_snapshot, save_snapshot
from tipl_bench.registry.trial import trial_name
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


@pytest.mark.parametrize("checkpoints", [1, 8, 11, 21])
def test_a_block_of_given_seeds_and_length_has_the_first_checkpoints_of_those_trials(checkpoints, collected, tmp_path):
    reports = []
    collect_block(
        tiny_config(),
        [1, 0],
        tmp_path,
        threads=1,
        progress=lambda *report: reports.append(report[1:3]),
        seeds=[4, 5],
        checkpoints=checkpoints,
    )
    iterations = -(-(checkpoints - 1) // 5)
    assert reports == [(done, iterations) for done in range(1, iterations + 1)]
    for trial, whole in ((0, 3), (1, 4)):
        here, there = load_file(tmp_path / trial_name(trial)), load_file(collected.trial(whole).path)
        assert here.keys() == there.keys()
        for name, values in here.items():
            if name in ("weights", "observation_mean", "observation_variance"):  # rounded by another block's products
                np.testing.assert_allclose(values, there[name][:checkpoints], rtol=1e-3, atol=1e-4)
            else:
                np.testing.assert_array_equal(values, there[name][:checkpoints])


def test_a_block_of_128_bit_seeds_goes_on_after_ctrl_c_to_the_same_bytes(tmp_path):
    seeds = [2**127 + 1, 2**127 + 3]

    def collect(folder, progress):
        folder.mkdir(exist_ok=True)
        settings = {"threads": 1, "seeds": seeds, "checkpoints": 18, "snapshot_seconds": 0.0}
        collect_block(tiny_config(), [0, 1], folder, progress=progress, **settings)
        return [(folder / trial_name(trial)).read_bytes() for trial in (0, 1)]

    def interrupt(stage, done, total, word):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "interrupted", interrupt)
    assert any((tmp_path / "interrupted").glob("*.snapshot"))
    assert collect(tmp_path / "interrupted", silent) == collect(tmp_path / "whole", silent)


def test_when_an_unfinished_file_is_damaged_then_its_block_is_trained_from_the_start(collected, tmp_path):
    def collect(progress):
        collect_block(tiny_config(), [0, 1], tmp_path, threads=1, progress=progress, snapshot_seconds=0.0)

    def interrupt(stage, done, total, word):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(interrupt)
    partial = tmp_path / f"{trial_name(1)}.partial"
    partial.write_bytes(partial.read_bytes()[:-100])
    begun = []
    collect(lambda stage, done, total, word: begun.append(done))
    assert begun[0] == 1
    assert (load_file(tmp_path / trial_name(1))["weights"][1] != 0).all()


def test_a_training_that_diverges_is_no_dataset(tmp_path):
    settings = tiny_config().hyperparameters.model_copy(update={"learning_rate": 1e30})
    config = tiny_config().model_copy(update={"hyperparameters": settings})
    with pytest.raises(DatasetError, match=r"trial-0000\.safetensors: the training diverged; weights of checkpoint "):
        collect_block(config, [0, 1], tmp_path, threads=1, progress=silent)
