"""Downloading from Xet storage: the same verification as over plain HTTP."""

from __future__ import annotations

import time

import huggingface_hub
import pytest
from helpers.hub import Hang, Status
from helpers.hub_commands import PLACE, command, files, finished, leftovers
from helpers.small_collections import contents
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.errors import DatasetError, HubError


@pytest.fixture(autouse=True)
def _at_once(no_waiting, monkeypatch):
    """Our own retries do not wait either."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def xet(hub, place, monkeypatch):
    """The published collection is in Xet storage too, and the client may use that."""
    storage = hub.enable_xet()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    hub.forget()
    return storage


def test_what_is_in_xet_storage_comes_from_there_bit_for_bit(hub, dataset, place, xet):
    reports = []
    got = load_dataset(PLACE, progress=lambda stage, done, total, path: reports.append((done, total)))
    assert files(got.folder) == files(dataset.folder)
    assert not hub.calls("lfs-objects")
    size = sum(entry.size for entry in dataset.manifest.files)
    assert reports[-1] == (size, size)
    assert contents(got.folder).keys() == {"manifest.json", *(entry.path for entry in dataset.manifest.files)}


@pytest.mark.parametrize("kind", ["other bytes", "more bytes", "fewer bytes"])
def test_when_xet_storage_gives_another_file_then_it_is_refused_and_not_kept(hub, dataset, place, xet, tmp_path, kind):
    entry = dataset.manifest.trials[2]
    content = (dataset.folder / entry.path).read_bytes()
    wrong = {"other bytes": content[:-1] + b"!", "more bytes": b"!" + content * 9, "fewer bytes": content[:-9]}
    (tmp_path / "wrong").write_bytes(wrong[kind])
    xet.put(tmp_path / "wrong", sha256=entry.sha256)
    with pytest.raises(DatasetError, match=r"trial-0002\.safetensors") as caught:
        load_dataset(PLACE)
    assert "HF_HUB_DISABLE_XET" in str(caught.value) or "not what the manifest says" in str(caught.value)
    assert list(dataset_folder("").parent.rglob("*trial-0002*")) == []
    assert list(dataset_folder("").parent.rglob(".staging")) == []


def test_without_xet_the_same_file_comes_over_http(hub, dataset, place, xet, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    load_dataset(PLACE).verify()
    assert len(hub.calls("GET /lfs-objects/")) == len(dataset.manifest.files)


def test_when_xet_cannot_be_reached_then_the_way_out_is_named(hub, place, xet):
    hub.faults.add("GET .*/xet-read-token/", Status(404))
    with pytest.raises(HubError, match=PLACE):
        load_dataset(PLACE)


def test_when_killed_during_a_download_from_xet_then_repeating_it_completes(hub, dataset, place, store):
    hub.enable_xet()
    hang = Hang()
    hub.faults.add("GET .*/xet-read-token/", hang, times=1)
    new = {"TIPL_BENCH_HOME": str(store / "new"), "HF_HUB_DISABLE_XET": "0"}
    process = command(hub, "datasets", "download", PLACE, **new)
    assert hang.struck.wait(60)
    process.kill()
    process.communicate()
    finished(command(hub, "datasets", "download", PLACE, **new))
    (folder,) = (store / "new").glob("hub/*/" + "[0-9a-f]" * 40)
    assert files(folder) == files(dataset.folder)
    assert leftovers(folder) == []
