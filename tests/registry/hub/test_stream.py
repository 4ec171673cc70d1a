"""Trials on the Hub that are read by byte ranges: no more bytes than asked for, verified, kept, and continued."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import synthetic
from helpers.hub import Cut, Flip, Slow, Status
from helpers.hub.client import environment
from helpers.hub.protocol import Reply
from helpers.hub_commands import PLACE, catalogue, leftovers, published
from helpers.small_collections import TINY
from tipl_bench import concatenate, run, stream_dataset
from tipl_bench.cli import main
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.store import TENSORS_FOLDER, dataset_folder, exclusive, stream_lock
from tipl_bench.utils.errors import DatasetArgumentError, DatasetError, HubError, UnknownNameError

TRIAL = "trials/trial-0003.safetensors"


@pytest.fixture(autouse=True)
def _at_once(no_waiting, monkeypatch):
    """Retries do not wait."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def wide(hub, tmp_path):
    """Fifty published trials of 160 KB each."""
    parameters = synthetic.layout_of(synthetic.PENDULUM, (24, 24)).parameter_count
    trajectories = [synthetic.random_walk(i, 51, parameters) for i in range(50)]
    dataset = synthetic.write_dataset(tmp_path / "wide", trajectories, hidden=(24, 24))
    published(dataset, "alice/wide")
    return dataset


def storage(hub) -> int:
    """Requests for bytes of trials."""
    return len(hub.calls("GET /lfs-objects/.*safetensors"))


def weights_of(dataset) -> int:
    """Where the weights begin in each trial's file."""
    return dataset.trial(3)._spans["weights"].start


def test_three_of_fifty_trials_cost_three_fiftieths_and_nothing_the_second_time(hub, wide):
    trials = stream_dataset("hf://datasets/alice/wide@v1")
    assert len(trials) == 50
    hub.forget()
    for place in (3, 7, 11):
        np.testing.assert_array_equal(trials.trial(place).weights(), wide.trial(place).weights())
        np.testing.assert_array_equal(trials.trial(place).columns["epoch"], wide.trial(place).columns["epoch"])
    share = hub.bytes_sent / sum(entry.size for entry in wide.manifest.trials)
    assert 0.9 * 3 / 50 < share < 1.2 * 3 / 50
    hub.forget()
    again = stream_dataset("hf://datasets/alice/wide@v1").select([3, 7, 11])
    windows = again.windows(context=5, horizon=2)
    assert np.array_equal(windows[0]["context"].numpy(), wide.trial(3).weights(0, 5))
    assert hub.log == []


def test_filtering_by_return_reads_no_weights(hub, wide):
    trials = stream_dataset("hf://datasets/alice/wide")
    hub.forget()
    assert len(trials.filter(lambda trial: trial.final_return > 900)) == 50
    assert hub.bytes_sent < 0.2 * sum(entry.size for entry in wide.manifest.trials)


def test_every_tensor_is_the_published_one(hub, dataset, place):
    for mine, theirs in zip(stream_dataset(PLACE), dataset, strict=True):
        for name in ("observation_count", "weights"):  # alone, and among all
            np.testing.assert_array_equal(mine.read(name, 3, 9), theirs.read(name, 3, 9))
        assert mine.tensors.keys() == theirs.tensors.keys()
        for name, values in theirs.tensors.items():
            np.testing.assert_array_equal(mine.tensors[name], values)
    assert leftovers(load_dataset(PLACE, trials=[]).folder) == [".trials.json"]


def test_a_catalogued_name_is_streamed_at_its_commit_into_its_own_folder(hub, dataset, place):
    catalogue(dataset, place)
    trials = stream_dataset(TINY)
    trials.trial(3).weights()
    assert list((dataset_folder(TINY) / "tensors" / "3").glob("weights.*"))
    with pytest.raises(DatasetError, match=r"\.safetensors: listed in the manifest but missing"):
        load_dataset(TINY, download=False)
    assert load_dataset(TINY).digest == dataset.digest
    hub.forget()
    np.testing.assert_array_equal(stream_dataset(TINY).trial(0).weights(), dataset.trial(0).weights())
    assert hub.log == [], "whole trials that are here are read there"


def test_a_tensor_with_other_bytes_is_named_and_not_kept_and_the_others_are_read(hub, dataset, place):
    trial = stream_dataset(PLACE).trial(3)
    hub.faults.add("GET /lfs-objects/.*trial-0003", Flip(at=weights_of(dataset) + 100))
    with pytest.raises(DatasetError, match=r"trial-0003\.safetensors: tensor 'weights' .* sha256, in 3 attempts"):
        trial.weights()
    np.testing.assert_array_equal(trial.columns["iteration"], dataset.trial(3).columns["iteration"])
    hub.faults.clear()
    np.testing.assert_array_equal(trial.weights(), dataset.trial(3).weights())


def test_a_tensor_that_arrived_damaged_once_is_fetched_again(hub, dataset, place):
    trial = stream_dataset(PLACE).trial(3)
    trial.read("epoch")
    hub.faults.add("GET /lfs-objects/", Flip(at=weights_of(dataset) + 100), times=1)
    np.testing.assert_array_equal(trial.weights(), dataset.trial(3).weights())


def test_a_read_that_was_cut_goes_on_where_it_was(hub, dataset, place):
    trial = stream_dataset(PLACE).trial(3)
    trial.read("epoch")
    hub.faults.add("GET /lfs-objects/", Cut(after=1000), times=1)
    hub.faults.add("GET /lfs-objects/", Status(404), times=1)  # the next process's turn
    with pytest.raises(HubError):
        trial.weights()
    hub.forget()
    np.testing.assert_array_equal(stream_dataset(PLACE).trial(3).weights(), dataset.trial(3).weights())
    assert hub.bytes_sent < dataset.manifest.trials[3].tensors["weights"].size - 1000 + 4096 + 2000


def test_when_the_server_sends_whole_files_only_then_a_trial_comes_whole_and_that_is_said(
    hub, dataset, place, monkeypatch, caplog
):
    monkeypatch.setattr(Reply, "within", lambda reply, request: reply)
    trial = stream_dataset(PLACE).trial(3)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(trial.weights(), dataset.trial(3).weights())
    assert f"sends whole files, not ranges of their bytes; {TRIAL}" in caplog.text
    assert trial.path.read_bytes() == dataset.trial(3).path.read_bytes()
    hub.forget()
    np.testing.assert_array_equal(trial.columns["epoch"], dataset.trial(3).columns["epoch"])
    assert hub.log == []


def test_a_streamed_selection_is_saved_whole_and_nothing_is_run_on_it(hub, dataset, place, tmp_path):
    trials = stream_dataset(PLACE)
    with pytest.raises(DatasetArgumentError, match="is a view for code of your own"):
        run("persistence", trials)
    folder = trials.select([4, 0, 2]).save(tmp_path / "mine", name="inverted-pendulum/mine-v1")
    saved = load_dataset(folder)
    saved.verify()
    assert [trial.path.read_bytes() for trial in saved] == [dataset.trial(i).path.read_bytes() for i in (4, 0, 2)]
    assert len(concatenate(trials.select([1]), saved)) == 4


WAITING = """
import pathlib, sys
from tipl_bench import stream_dataset
trials = stream_dataset(sys.argv[1]).select([4, 0, 2])
print("ready", flush=True)
sys.stdin.readline()
trials.save(pathlib.Path(sys.argv[2]), name="inverted-pendulum/mine-v1")
"""


def test_two_processes_that_need_one_whole_file_fetch_it_once(hub, dataset, place, tmp_path):
    folders, entries = [tmp_path / "one", tmp_path / "two"], [dataset.manifest.trials[place] for place in (4, 0, 2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING, str(place), folder],
            env={**os.environ, **environment(hub)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]
    assert [one.stdout.readline() for one in processes] == ["ready\n"] * 2
    hub.forget()
    hub.faults.add("GET /lfs-objects/", Slow(0.05, chunk=-(-entries[0].size // 8)))
    for one in processes:
        one.stdin.write("\n")
        one.stdin.flush()
    for one in processes:
        one.communicate()
        assert one.returncode == 0
    assert hub.bytes_sent < 1.2 * sum(entry.size for entry in entries)
    for folder in folders:
        saved = [trial.path.read_bytes() for trial in load_dataset(folder)]
        assert saved == [dataset.trial(place).path.read_bytes() for place in (4, 0, 2)]


def test_the_command_fetches_some_tensors_of_some_trials(hub, dataset, place):
    def download(*options):
        result = CliRunner().invoke(main, ["datasets", "download", PLACE, *options])
        return result.exit_code, result.output

    code, shown = download("--trials", "1,3:5", "--tensors", "weights,epoch")
    size = sum(dataset.manifest.trials[3].tensors[name].size for name in ("weights", "epoch"))
    assert code == 0, shown
    assert f"A selection of 3 trials of {TINY}: weights, epoch, {3 * size:,} bytes, all intact; {3 * size:,}" in shown
    code, shown = download("--trials", "3", "--tensors", "weights")
    assert "; 0 bytes of the dataset's" in shown
    hub.close()
    np.testing.assert_array_equal(stream_dataset(PLACE).trial(4).weights(), dataset.trial(4).weights())
    code, shown = download("--tensors", "weight")
    assert (code, "Unknown tensor 'weight'. Did you mean 'weights'?" in shown) == (2, True)
    code, shown = download("--tensors", "weights", "--to", "there")
    assert (code, "kept in the store" in shown) == (2, True)


def test_a_tensor_that_is_none_is_refused_with_those_there_are(hub, place):
    with pytest.raises(UnknownNameError, match=r"Unknown tensor 'bias'\. Known: environment_steps, "):
        stream_dataset(PLACE).trial(0).read("bias")


def test_a_tensor_that_is_read_by_two_at_once_comes_once(hub, dataset, place):
    trials = [stream_dataset(PLACE).trial(3) for _ in range(2)]
    hub.faults.add("GET /lfs-objects/", Slow(0.05, chunk=1000))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda trial: trial.weights(), trials))
    for weights in both:
        np.testing.assert_array_equal(weights, dataset.trial(3).weights())
    assert storage(hub) <= 3, "a header each, and the tensor"


def test_what_is_being_streamed_is_neither_pruned_nor_deleted(hub, dataset, place):
    catalogue(dataset, place)
    stream_dataset(TINY).trial(3).read("weights", 0, 1)
    part = dataset_folder(TINY) / TENSORS_FOLDER / "3" / ".weights-weights.0123456789abcdef.incomplete"
    part.write_bytes(b"half of it")
    with exclusive(stream_lock(dataset.digest, 3)):
        for command in (["prune"], ["delete", TINY]):
            result = CliRunner().invoke(main, ["datasets", *command, "--yes"])
            assert result.exit_code == 1
            assert "Another process is working on stream-" in result.stderr
            assert part.exists()
    assert CliRunner().invoke(main, ["datasets", "prune", "--yes"]).exit_code == 0
    assert not part.exists()
