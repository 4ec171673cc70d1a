"""Reading trials lazily, by ranges of checkpoints."""

from __future__ import annotations

import os

import numpy as np
import pytest
from helpers.small_collections import split_file
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tipl_bench.registry.trial import COLUMNS, iteration_positions
from tipl_bench.utils.errors import DatasetError, UnknownNameError


def official(trial):
    return load_file(trial.path)


def test_rows_are_those_the_official_library_reads(collected):
    for trial in collected.trials():
        tensors = official(trial)
        assert np.array_equal(trial.weights(), tensors["weights"])
        assert np.array_equal(trial.weights(3, 8), tensors["weights"][3:8])
        assert np.array_equal(trial.read("observation_mean", 20), tensors["observation_mean"][20:])
        assert len(trial.weights(5, 5)) == 0
        assert len(trial) == 21


def test_columns_are_the_scalars_of_every_checkpoint(collected):
    trial = collected.trial(1)
    tensors = official(trial)
    assert trial.columns.keys() == set(COLUMNS)
    for name, column in trial.columns.items():
        assert np.array_equal(column, tensors[name], equal_nan=True)


def test_what_was_read_is_a_copy_of_ones_own(collected):
    trial = collected.trial(0)
    rows = trial.weights(0, 2)
    rows[:] = 7
    assert not (trial.weights(0, 2) == 7).any()


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (0, 22), (5, 4), (22, None)])
def test_rows_outside_the_trial_are_refused(collected, start, stop):
    with pytest.raises(IndexError, match=r"trial-0002\.safetensors: rows .* outside its 21 checkpoints"):
        collected.trial(2).weights(start, stop)


@given(st.sampled_from(["weights", "observation_mean", *COLUMNS]), st.integers(0, 21), st.integers(0, 21))
def test_any_range_of_any_tensor_is_what_its_memory_map_shows(collected, name, one, other):
    trial = collected.trial(1)
    start, stop = sorted((one, other))
    rows, mapped = trial.read(name, start, stop), trial.tensors[name][start:stop]
    assert (rows.dtype, rows.shape) == (mapped.dtype, mapped.shape)
    assert rows.tobytes() == mapped.tobytes()


@pytest.mark.parametrize("left", [0, 1, 100, 2000])
def test_when_a_file_shrinks_after_its_header_was_read_then_reading_names_it(dataset, left):
    trial = dataset.trial(3)
    trial.weights(0, 1)
    os.truncate(trial.path, left)
    with pytest.raises(DatasetError, match=r"trial-0003\.safetensors: became shorter while it was read"):
        trial.weights()


def test_rows_that_a_shrunken_file_still_has_are_read_and_the_next_one_is_not(dataset):
    trial = dataset.trial(0)
    whole = trial.weights()
    os.truncate(trial.path, trial.path.stat().st_size - trial.tensors["weights"][8:].nbytes - rest(trial))
    assert np.array_equal(trial.weights(0, 8), whole[:8])
    with pytest.raises(DatasetError, match="became shorter"):
        trial.weights(0, 9)


def rest(trial):
    """Bytes of the tensors that lie behind the weights, which lie first."""
    return sum(tensor.nbytes for name, tensor in trial.tensors.items() if name != "weights")


@pytest.mark.parametrize("index", [-1, 5])
def test_trials_outside_the_dataset_are_refused(collected, index):
    with pytest.raises(IndexError, match=f"has trials 0 to 4, not {index}"):
        collected.trial(index)


def test_some_trials_are_opened_in_the_order_asked_for(collected):
    assert [trial.index for trial in collected.trials([3, 0])] == [3, 0]
    assert [trial.index for trial in collected.trials()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"weights"', b'"weightz"'),
        (b'"shape":[21,46]', b'"shape":[46,21]'),
        (b'"dtype":"I64","shape":[21]', b'"dtype":"F64","shape":[21]'),
    ],
    ids=["renamed", "transposed", "another dtype"],
)
def test_when_the_files_header_is_not_the_formats_then_reading_it_says_so(dataset, old, new):
    """Opening a dataset looks at sizes only, so it is the first reading that meets an edited header."""
    path = dataset.folder / "trials/trial-0003.safetensors"
    header, body = split_file(path)
    assert old in header
    edited = header.replace(old, new)
    path.write_bytes(path.read_bytes()[:8] + edited + body)
    with pytest.raises(DatasetError, match=r"trial-0003\.safetensors"):
        dataset.trial(3).weights(0, 5)


def test_positions_count_an_iterations_checkpoints_and_put_the_initialisation_last():
    epoch = np.array([0, 2, 4, 6, 8, 10, 2, 4, 6, 8, 10])
    assert iteration_positions(epoch).tolist() == [4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


@given(st.integers(1, 10), st.integers(1, 4), st.integers(1, 6))
def test_positions_are_the_same_whatever_the_epochs_are_numbered(per_iteration, every, iterations):
    epoch = np.array([0] + [every * k for k in range(1, per_iteration + 1)] * iterations)
    positions = iteration_positions(epoch)
    assert positions.tolist() == [per_iteration - 1, *list(range(per_iteration)) * iterations]
    assert iteration_positions(np.stack([epoch, epoch])).tolist() == [positions.tolist()] * 2


def test_an_initialisation_alone_has_position_zero():
    assert iteration_positions(np.array([0])).tolist() == [0]


def test_a_tensor_that_is_none_is_refused_with_those_there_are(collected):
    with pytest.raises(UnknownNameError, match=r"Unknown tensor 'weight'\. Did you mean 'weights'\?"):
        collected.trial(0).read("weight")
