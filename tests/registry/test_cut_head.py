"""The head of a dataset as a dataset of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_collections import contents, split_file, untouched
from safetensors.numpy import load_file, save_file
from tipl_bench.registry.collection.collect import cut_head
from tipl_bench.registry.dataset import Dataset, describe_file
from tipl_bench.utils.errors import DatasetError

HEAD = "inverted-pendulum/tiny-head-v1"


@pytest.mark.parametrize("checkpoints", [1, 7, 21])
def test_a_head_has_the_first_rows_of_every_tensor_of_every_trial(collected, tmp_path, checkpoints):
    head = cut_head(collected, HEAD, checkpoints, tmp_path / "head")
    for trial, whole in zip(head.trials(), collected.trials(), strict=True):
        tensors, source = load_file(trial.path), load_file(whole.path)
        assert tensors.keys() == source.keys()
        for name, rows in tensors.items():
            assert rows.dtype == source[name].dtype
            assert np.array_equal(rows, source[name][:checkpoints], equal_nan=True)
    head.verify()


def test_a_heads_manifest_names_its_source_and_keeps_the_rest(collected, tmp_path):
    head = cut_head(collected, HEAD, 7, tmp_path / "head")
    source, manifest = (json.loads((d.folder / "manifest.json").read_text()) for d in (collected, head))
    assert manifest.pop("cut_from") == {"name": collected.name, "digest": collected.digest}
    assert (manifest.pop("name"), manifest.pop("checkpoints")) == (HEAD, 7)
    for field in ("trials", "name", "checkpoints", "cut_from"):
        source.pop(field, None)
        manifest.pop(field, None)
    assert manifest == source
    assert head.digest != collected.digest
    assert contents(head.folder).keys() == contents(collected.folder).keys()


def test_a_source_with_sidecars_is_cut_without_them(dataset, tmp_path):
    save_file({"returns": np.zeros(3)}, dataset.folder / "reference.safetensors")
    entry = describe_file(dataset.folder, "reference.safetensors")
    dataset.manifest.model_copy(update={"format": 1, "sidecars": (entry,)}).write(dataset.folder)
    head = cut_head(Dataset.open(dataset.folder), HEAD, 7, tmp_path / "head")
    assert head.manifest.sidecars == ()


def test_a_head_is_the_same_every_time(collected, tmp_path):
    first, second = (cut_head(collected, HEAD, 7, tmp_path / name) for name in ("first", "second"))
    assert contents(first.folder) == contents(second.folder)


def test_the_source_is_not_touched(dataset, tmp_path):
    before = untouched(dataset.folder)
    cut_head(dataset, HEAD, 7, tmp_path / "head")
    assert untouched(dataset.folder) == before


def test_an_existing_folder_is_not_overwritten(collected, dataset):
    before = untouched(dataset.folder)
    with pytest.raises(DatasetError, match="exists already"):
        cut_head(collected, HEAD, 7, dataset.folder)
    assert untouched(dataset.folder) == before


@pytest.mark.parametrize("checkpoints", [0, -1, 22])
def test_a_head_longer_than_its_source_or_empty_is_refused(collected, tmp_path, checkpoints):
    with pytest.raises(DatasetError, match=f"has 21 checkpoints, not {checkpoints}"):
        cut_head(collected, HEAD, checkpoints, tmp_path / "head")
    assert not list(tmp_path.glob("*head*"))


def test_what_an_interrupted_cut_left_does_not_get_into_the_next(collected, tmp_path):
    expected = contents(cut_head(collected, HEAD, 7, tmp_path / "whole").folder)
    left = tmp_path / ".head.partial"
    (left / "trials").mkdir(parents=True)
    (left / "trials/trial-0000.safetensors").write_bytes(b"half of one")
    (left / ".manifest.json.123.partial").write_text("half of one")
    assert contents(cut_head(collected, HEAD, 7, tmp_path / "head").folder) == expected


def test_a_damaged_source_is_not_cut_into_a_dataset_that_looks_sound(dataset, tmp_path):
    path = dataset.folder / "trials/trial-0002.safetensors"
    header, body = split_file(path)
    path.write_bytes(path.read_bytes()[: 8 + len(header)] + bytes([body[0] ^ 64]) + body[1:])
    with pytest.raises(DatasetError, match=r"trial-0002\.safetensors"):
        cut_head(Dataset.open(dataset.folder), HEAD, 7, tmp_path / "head")
