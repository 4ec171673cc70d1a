"""A dataset opened by its manifest: what it tells, its sidecars, and how files are described."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from helpers.small_collections import TINY, contents, edit_manifest
from safetensors.numpy import load_file, save_file
from tipl_bench.registry.dataset import Dataset, describe_trials
from tipl_bench.registry.files import describe_file
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils.errors import DatasetError

SIDECAR = "reference-returns-p1.safetensors"


def with_sidecar(dataset):
    """List a sidecar in a manifest of format 1, as reference returns were."""
    save_file({"returns": np.arange(6, dtype=np.float64).reshape(2, 3)}, dataset.folder / SIDECAR)
    entry = describe_file(dataset.folder, SIDECAR)
    dataset.manifest.model_copy(update={"format": 1, "sidecars": (entry,)}).write(dataset.folder)
    return Dataset.open(dataset.folder)


def test_a_dataset_tells_its_name_environment_layout_and_size(collected):
    assert collected.name == TINY
    assert collected.environment == "InvertedPendulum-v4"
    assert collected.layout == PolicyLayout(4, (4, 4), 1)
    assert len(collected) == 5


def test_opening_reads_no_trial(dataset):
    """Shards of the right size but unreadable content do not matter until they are read."""
    for path in (dataset.folder / "trials").iterdir():
        path.write_bytes(b"\xff" * path.stat().st_size)
    Dataset.open(dataset.folder)


def test_a_file_is_described_by_its_size_and_the_digests_of_its_bytes(collected):
    for index, entry in enumerate(describe_trials(collected.folder, range(5))):
        path = collected.folder / f"trials/trial-{index:04d}.safetensors"
        assert entry.path == f"trials/trial-{index:04d}.safetensors"
        assert entry.size == path.stat().st_size
        assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        tensors = load_file(path)
        assert entry.tensors.keys() == tensors.keys()
        for name, stated in entry.tensors.items():
            assert (stated.dtype, stated.shape) == (tensors[name].dtype.name, tensors[name].shape)
            assert stated.sha256 == hashlib.sha256(tensors[name].tobytes()).hexdigest()


def test_a_listed_sidecar_is_found_and_verified_like_any_file(dataset):
    changed = with_sidecar(dataset)
    assert changed.derived(1).file(SIDECAR) == dataset.folder / SIDECAR
    assert changed.derived(2) is None
    assert changed.digest == dataset.digest
    assert changed.former_digest != dataset.manifest.model_copy(update={"format": 1}).former_digest
    passed = []
    changed.verify(lambda path, size: passed.append(path))
    assert passed[-1] == SIDECAR
    content = bytearray((dataset.folder / SIDECAR).read_bytes())
    content[-1] ^= 1
    (dataset.folder / SIDECAR).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{SIDECAR}: tensor 'returns'"):
        changed.verify()


def test_a_sidecar_that_is_not_listed_is_not_used(dataset):
    save_file({"returns": np.zeros(3)}, dataset.folder / SIDECAR)
    assert Dataset.open(dataset.folder).derived(1) is None


def test_when_a_listed_sidecar_is_missing_then_open_names_it(dataset):
    with_sidecar(dataset)
    (dataset.folder / SIDECAR).unlink()
    with pytest.raises(DatasetError, match=rf"{SIDECAR}: listed in the manifest but missing"):
        Dataset.open(dataset.folder)


def test_a_sidecar_may_not_be_listed_under_a_trials_path(dataset):
    edit_manifest(dataset.folder, lambda m: m.update(format=1, sidecars=[m["trials"][0]]))
    with pytest.raises(DatasetError, match="a file is listed twice"):
        Dataset.open(dataset.folder)


def test_verifying_changes_nothing(dataset):
    before = contents(dataset.folder)
    dataset.verify()
    assert contents(dataset.folder) == before


@pytest.mark.parametrize("first", [5, -1, 10**9])
def test_a_trial_that_is_not_there_is_refused_however_many_follow(collected, first):
    def endless():
        yield 0
        for count in itertools.count(first):
            assert count - first < 100, "went on past what is there"
            yield count

    with pytest.raises(DatasetError, match=f"has trials 0 to 4; there is no trial {first}"):
        Dataset.open(collected.folder, trials=endless())


def test_the_files_of_some_trials_are_each_listed_once_in_order(collected):
    paths = [entry.path for entry in collected.files(iter([3, 1, 3]))]
    assert paths == ["trials/trial-0001.safetensors", "trials/trial-0003.safetensors"]
