"""The first checkpoints of a dataset as a dataset of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_collections import contents, split_file, untouched
from safetensors.numpy import load_file, save_file
from tipl_bench.registry.collection.collect import truncate
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.files import describe_file
from tipl_bench.utils.errors import DatasetError

SHORT = "inverted-pendulum/tiny-short-v1"


@pytest.mark.parametrize("checkpoints", [1, 7, 21])
def test_a_truncated_dataset_has_the_first_rows_of_every_tensor_of_every_trial(collected, tmp_path, checkpoints):
    short = truncate(collected, SHORT, checkpoints, tmp_path / "short")
    for trial, whole in zip(short.trials(), collected.trials(), strict=True):
        tensors, source = load_file(trial.path), load_file(whole.path)
        assert tensors.keys() == source.keys()
        for name, rows in tensors.items():
            assert rows.dtype == source[name].dtype
            assert np.array_equal(rows, source[name][:checkpoints], equal_nan=True)
    short.verify()


def test_a_truncated_datasets_manifest_names_its_source_and_keeps_the_rest(collected, tmp_path):
    short = truncate(collected, SHORT, 7, tmp_path / "short")
    source, manifest = (json.loads((d.folder / "manifest.json").read_text()) for d in (collected, short))
    assert manifest.pop("cut_from") == {"name": collected.name, "digest": collected.digest}
    assert (manifest.pop("name"), manifest.pop("checkpoints")) == (SHORT, 7)
    for field in ("trials", "name", "checkpoints", "cut_from"):
        source.pop(field, None)
        manifest.pop(field, None)
    assert manifest == source
    assert short.digest != collected.digest
    assert contents(short.folder).keys() == contents(collected.folder).keys()


def test_a_source_with_sidecars_is_truncated_without_them(dataset, tmp_path):
    save_file({"returns": np.zeros(3)}, dataset.folder / "reference.safetensors")
    entry = describe_file(dataset.folder, "reference.safetensors")
    dataset.manifest.model_copy(update={"format": 1, "sidecars": (entry,)}).write(dataset.folder)
    short = truncate(Dataset.open(dataset.folder), SHORT, 7, tmp_path / "short")
    assert short.manifest.sidecars == ()


def test_a_truncation_is_the_same_every_time(collected, tmp_path):
    first, second = (truncate(collected, SHORT, 7, tmp_path / name) for name in ("first", "second"))
    assert contents(first.folder) == contents(second.folder)


def test_the_source_is_not_touched(dataset, tmp_path):
    before = untouched(dataset.folder)
    truncate(dataset, SHORT, 7, tmp_path / "short")
    assert untouched(dataset.folder) == before


def test_an_existing_folder_is_not_overwritten(collected, dataset):
    before = untouched(dataset.folder)
    with pytest.raises(DatasetError, match="exists already"):
        truncate(collected, SHORT, 7, dataset.folder)
    assert untouched(dataset.folder) == before


@pytest.mark.parametrize("checkpoints", [0, -1, 22])
def test_a_truncation_longer_than_its_source_or_empty_is_refused(collected, tmp_path, checkpoints):
    with pytest.raises(DatasetError, match=f"has 21 checkpoints, not {checkpoints}"):
        truncate(collected, SHORT, checkpoints, tmp_path / "short")
    assert not list(tmp_path.glob("*short*"))


def test_what_an_interrupted_truncation_left_does_not_get_into_the_next(collected, tmp_path):
    expected = contents(truncate(collected, SHORT, 7, tmp_path / "whole").folder)
    left = tmp_path / ".short.partial"
    (left / "trials").mkdir(parents=True)
    (left / "trials/trial-0000.safetensors").write_bytes(b"half of one")
    (left / ".manifest.json.123.partial").write_text("half of one")
    assert contents(truncate(collected, SHORT, 7, tmp_path / "short").folder) == expected


def test_a_damaged_source_is_not_truncated_into_a_dataset_that_looks_sound(dataset, tmp_path):
    path = dataset.folder / "trials/trial-0002.safetensors"
    header, body = split_file(path)
    path.write_bytes(path.read_bytes()[: 8 + len(header)] + bytes([body[0] ^ 64]) + body[1:])
    with pytest.raises(DatasetError, match=r"trial-0002\.safetensors"):
        truncate(Dataset.open(dataset.folder), SHORT, 7, tmp_path / "short")
