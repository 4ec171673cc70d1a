"""Collecting a dataset: what is stored, that it can be repeated, and that nothing is lost or overwritten."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

import gymnasium
import mujoco
import numba
import numpy as np
import pytest
import torch
from helpers.small_collections import TINY, contents, edit_manifest, silent, tiny_config, untouched
from safetensors.numpy import load_file
from tipl_bench.registry.collection.collect import blocks, collect
from tipl_bench.registry.collection.processes import Trainer, train_blocks
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.store import dataset_folder, staging_folder
from tipl_bench.rl import FusedAdam, PPOTraining
from tipl_bench.utils.errors import DatasetError

ONE_A_BLOCK = {
    "hidden_sizes": (4000,),
    "environment_steps": 96,
    "trials": 3,
    "hyperparameters": {"steps_per_iteration": 32, "minibatches": 1, "epochs": 2},
}
"""A network so wide that every trial is a block of its own."""


def interrupted_after(iterations):
    """A progress callback that presses Ctrl-C."""
    calls = []

    def progress(*report):
        calls.append(report)
        if len(calls) == iterations:
            raise KeyboardInterrupt

    return progress


def test_a_collection_holds_its_trials_and_its_manifest_and_nothing_else(collected):
    trials = [f"trials/trial-{i:04d}.safetensors" for i in range(5)]
    assert sorted(contents(collected.folder)) == ["manifest.json", *trials]
    assert [entry.path for entry in collected.manifest.files] == trials


def test_a_collection_passes_its_own_verification(collected):
    passed = []
    Dataset.open(collected.folder).verify(lambda path, size: passed.append((path, size)))
    assert passed == [
        (entry.path, (collected.folder / entry.path).stat().st_size) for entry in collected.manifest.files
    ]


def test_the_manifest_tells_what_was_collected_and_with_what(collected):
    manifest = json.loads((collected.folder / "manifest.json").read_text())
    assert manifest["name"] == TINY
    assert manifest["environment"] == "InvertedPendulum-v4"
    assert manifest["checkpoints"] == 21
    assert manifest["trial_seeds"] == [1, 2, 3, 4, 5]
    assert manifest["split"] == {"train": [0, 1], "validation": [2], "test": [3, 4]}
    assert manifest["collection"] == json.loads(tiny_config().model_dump_json())
    assert manifest["versions"].keys() == {"gymnasium", "mujoco", "numba", "numpy", "torch"}
    for module in (gymnasium, mujoco, numba, np):
        assert manifest["versions"][module.__name__] == module.__version__
    assert manifest["cpu"]


def test_stored_rows_are_what_training_yielded(collected):
    config = tiny_config()
    block = PPOTraining(config.training, config.seeds, threads=1)
    checkpoints = [block.start()]
    for _ in range(config.iterations):
        checkpoints += block.iterate()
    for n in range(5):
        tensors = load_file(collected.folder / f"trials/trial-{n:04d}.safetensors")
        for name in ("weights", "observation_mean", "observation_variance", "observation_count", "episodic_return"):
            expected = np.array([getattr(c, name)[n] for c in checkpoints])
            assert np.array_equal(tensors[name], expected, equal_nan=True), name
            assert tensors[name].dtype == expected.dtype
        for name in ("environment_steps", "iteration", "epoch", "learning_rate"):
            expected = np.array([getattr(c, name) for c in checkpoints], dtype=tensors[name].dtype)
            assert np.array_equal(tensors[name], expected), name


def test_collecting_again_elsewhere_gives_the_same_bytes_and_digest(collected):
    again = collect(TINY, tiny_config(), threads=2, progress=silent)
    assert again.folder != collected.folder
    assert contents(again.folder) == contents(collected.folder)
    assert again.digest == collected.digest


def test_version_2_trains_each_block_of_its_own_on_one_thread_with_the_fused_adam(store):
    before = torch.get_num_threads()
    dataset = collect(TINY, tiny_config(version=2), threads=1, progress=silent)
    assert torch.get_num_threads() == before
    assert dataset.manifest.collection.version == 2
    for block in ([0, 1, 2], [3, 4]):
        training = PPOTraining(tiny_config().training, [n + 1 for n in block], FusedAdam(3e-4, 1e-5), threads=1)
        torch.set_num_threads(1)
        training.start()
        last = [training.iterate() for _ in range(4)][-1][-1].weights
        torch.set_num_threads(before)
        for row, n in enumerate(block):
            np.testing.assert_array_equal(dataset.trial(n).read("weights", 20, 21)[0], last[row])


PORTABLE = "8ded1c6a0778"
"""First digits of the digest below, on any x86-64 processor."""


@pytest.mark.skipif(
    platform.machine() != "x86_64"
    or not torch.backends.mkl.is_available()
    or " fma " not in Path("/proc/cpuinfo").read_text(),
    reason="needs x86-64 with FMA, and torch with MKL",
)
def test_version_3_gives_the_same_bytes_on_every_processor_whatever_the_environment_asks_for(store, monkeypatch):
    config = tiny_config(version=3, hidden_sizes=(64, 64))
    first = collect(TINY, config, threads=2, progress=silent)
    monkeypatch.setenv("TIPL_BENCH_HOME", str(store.with_name("elsewhere")))
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    again = collect(TINY, config, threads=1, progress=silent)
    assert contents(again.folder) == contents(first.folder)
    assert first.digest.startswith(PORTABLE)


@pytest.mark.parametrize("version", [2, 3])
def test_later_versions_are_version_1_up_to_rounding(collected, version):
    ours = collect(TINY, tiny_config(version=version, environment_steps=256), threads=1, progress=silent)
    for n in range(5):
        weights = collected.trial(n).read("weights", 0, 6)
        np.testing.assert_allclose(ours.trial(n).read("weights", 0, 6), weights, atol=1e-5)


def test_progress_counts_every_iteration_of_every_trial():
    reports = []
    collect(TINY, tiny_config(), threads=1, progress=lambda *report: reports.append(report))
    assert [report[:3] for report in reports] == [("collect", done, 20) for done in (5, 10, 15, 20)]
    assert all(float(word.removeprefix("mean return ")) > 1 for *_, word in reports)


def test_a_dataset_that_exists_is_not_overwritten(stored):
    before = untouched(stored.folder)
    with pytest.raises(DatasetError, match="already in the store") as caught:
        collect(TINY, tiny_config(first_seed=9), threads=1, progress=silent)
    assert str(stored.folder) in str(caught.value)
    assert untouched(stored.folder) == before


@pytest.mark.parametrize(
    ("environment", "version"),
    [
        ("InvertedPendulum-v4", 1),
        ("InvertedPendulum-v4", 2),
        ("InvertedDoublePendulum-v4", 1),
        ("Pendulum-v1", 1),
        ("Pendulum-v1", 2),
    ],
)
def test_after_ctrl_c_collecting_goes_on_to_the_same_bytes(environment, version, tmp_path, monkeypatch):
    config = tiny_config(environment=environment, trials=3, version=version)
    whole = collect(TINY, config, threads=1, progress=silent)
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "interrupted"))
    with pytest.raises(KeyboardInterrupt):
        collect(TINY, config, threads=1, progress=interrupted_after(2))
    assert not dataset_folder(TINY).exists()
    continued = collect(TINY, config, threads=1, progress=silent)
    assert contents(continued.folder) == contents(whole.folder)


def test_finished_blocks_are_not_redone():
    config = tiny_config(**ONE_A_BLOCK)
    assert blocks(config, range(3)) == [[0], [1], [2]]
    with pytest.raises(KeyboardInterrupt):
        collect(TINY, config, threads=1, progress=interrupted_after(5))  # in the second of three blocks
    (first,) = staging_folder(TINY).rglob("trial-*.safetensors")
    finished = untouched(first.parent)[first.name]
    assert first.name == "trial-0000.safetensors"
    reports = []
    dataset = collect(TINY, config, threads=1, progress=lambda *report: reports.append(report))
    assert reports[0][1] == 4
    assert untouched(dataset.folder / "trials")[first.name] == finished
    dataset.verify()


def test_an_unfinished_collection_is_not_continued_under_another_config():
    with pytest.raises(KeyboardInterrupt):
        collect(TINY, tiny_config(), threads=1, progress=interrupted_after(2))
    folder = staging_folder(TINY)
    before = untouched(folder)
    with pytest.raises(DatasetError, match=r"unfinished collection .* another configuration") as caught:
        collect(TINY, tiny_config(first_seed=9), threads=1, progress=silent)
    assert str(next(folder.rglob("config.json"))) in str(caught.value)
    assert untouched(folder) == before
    collect(TINY, tiny_config(), threads=1, progress=silent).verify()


def test_an_unfinished_collection_is_not_continued_under_other_package_versions():
    with pytest.raises(KeyboardInterrupt):
        collect(TINY, tiny_config(), threads=1, progress=interrupted_after(2))
    (versions,) = staging_folder(TINY).rglob("versions.json")
    versions.write_text(versions.read_text().replace(np.__version__, "1.26.4"))
    with pytest.raises(DatasetError, match="begun on another processor or with other package versions") as caught:
        collect(TINY, tiny_config(), threads=1, progress=silent)
    assert str(versions) in str(caught.value)


def test_an_unfinished_collection_is_not_continued_by_other_code_of_its_method():
    trainer = Trainer(train_blocks, {"my-rule": "1.0, files 1234"})
    with pytest.raises(KeyboardInterrupt):
        collect(TINY, tiny_config(), threads=1, progress=interrupted_after(2), trainer=trainer)
    for other in (Trainer(train_blocks, {"my-rule": "1.0, files 5678"}), None):
        with pytest.raises(DatasetError, match="begun on another processor or with other package versions"):
            collect(TINY, tiny_config(), threads=1, progress=silent, trainer=other)
    done = collect(TINY, tiny_config(), threads=1, progress=silent, trainer=trainer)
    assert done.manifest.versions["my-rule"] == "1.0, files 1234"
    assert Dataset.open(done.folder).manifest == done.manifest


def test_what_was_collected_under_other_versions_is_not_finished_under_these(collected):
    # Killed right before the last rename, a collection stands in its folder with its manifest and nothing else.
    folder = shutil.copytree(collected.folder, staging_folder(TINY))
    edit_manifest(folder, lambda manifest: manifest["versions"].update(numpy="1.26.4"))
    try:
        finished = collect(TINY, tiny_config(), threads=1, progress=silent)
    except DatasetError as error:
        assert str(folder) in str(error)  # noqa: PT017 - refusing is as good as keeping the old versions
    else:
        assert finished.manifest.versions["numpy"] == "1.26.4"


def test_what_a_killed_process_of_the_same_number_left_does_not_get_into_the_dataset(collected):
    # In a container every run tends to have the same process number.
    with pytest.raises(KeyboardInterrupt):
        collect(TINY, tiny_config(), threads=1, progress=interrupted_after(2))
    (first, *_) = staging_folder(TINY).rglob("trial-0000*")
    first.with_name(f".block-0000-0004.snapshot.{os.getpid()}.partial").write_bytes(b"half of one")
    assert contents(collect(TINY, tiny_config(), threads=1, progress=silent).folder) == contents(collected.folder)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("InvertedPendulum/ppo", {}),
        ("inverted-pendulum/tiny-v1\n", {}),
        ("../outside/tiny-v1", {}),
        (TINY, {"trials": 2}),
    ],
    ids=["malformed name", "newline after the name", "path out of the store", "too few trials to split"],
)
def test_what_cannot_become_a_dataset_is_refused_before_any_training(name, changes, store):
    reports = []
    with pytest.raises(DatasetError):
        collect(name, tiny_config(**changes), threads=1, progress=lambda *report: reports.append(report))
    assert not reports, "trained first, refused after"
    assert not list(store.parent.rglob("*.safetensors*"))
