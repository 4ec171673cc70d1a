"""Without the Hub, a dataset that `hf download` left in the client's own cache is used: verified, and not copied."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from click.testing import CliRunner
from helpers.hub.client import environment
from helpers.hub_commands import PLACE, REPO, TRIAL, catalogue, command, files, finished
from helpers.small_collections import TINY
from tipl_bench.cli import main
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import DatasetError, HubError


def fetched_by_client(**options) -> None:
    """What `hf download REPO --repo-type dataset` does."""
    huggingface_hub.snapshot_download(REPO, repo_type="dataset", **options)


@pytest.fixture
def gone(hub, monkeypatch):
    """Makes the Hub unreachable, in either way."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def leave(way: str) -> None:
        if way == "HF_HUB_OFFLINE":
            monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        else:
            hub.close()

    return leave


WAYS = ("HF_HUB_OFFLINE", "no network")


@pytest.mark.parametrize("way", WAYS)
def test_when_the_hub_is_unreachable_then_its_clients_cache_is_linked(hub, dataset, place, gone, way, caplog):
    fetched_by_client(revision="v1")
    gone(way)
    got = load_dataset(f"{PLACE}@v1")
    assert files(got.folder) == files(dataset.folder)
    got.verify()
    path = got.folder / TRIAL
    assert not path.is_symlink()
    assert path.stat().st_nlink == 2
    assert "using its cache on this machine" in caplog.text
    caplog.clear()
    assert load_dataset(f"{PLACE}@v1").digest == dataset.digest
    assert "cache" not in caplog.text, "it is here now"


def test_when_a_name_is_pinned_then_its_commit_is_found_in_the_cache(hub, dataset, place, gone):
    fetched_by_client(revision=place.revision)
    catalogue(dataset, place)
    gone("no network")
    assert load_dataset(TINY).digest == dataset.digest


def test_when_the_cache_holds_some_files_then_they_do_for_their_trials(hub, dataset, place, gone):
    fetched_by_client(revision="v1", allow_patterns=["manifest.json", TRIAL])
    gone("HF_HUB_OFFLINE")
    assert len(load_dataset(f"{PLACE}@v1", trials=[2]).trial(2).weights()) == 21
    with pytest.raises(DatasetError, match=r"cannot be reached.*lacks 4 of 5 files.*trial-0000"):
        load_dataset(f"{PLACE}@v1")


def test_when_the_cache_is_damaged_then_it_is_not_used(hub, dataset, place, gone):
    fetched_by_client(revision="v1")
    cached = huggingface_hub.try_to_load_from_cache(REPO, TRIAL, revision="v1", repo_type="dataset")
    with Path(cached).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xff")
    gone("no network")
    with pytest.raises(DatasetError, match=r"lacks 1 of 5 files, or has them damaged; the first is .*trial-0002"):
        load_dataset(f"{PLACE}@v1")


def test_when_the_hub_is_there_then_what_the_cache_holds_is_not_fetched_again(hub, dataset, place):
    fetched_by_client(revision="v1")
    hub.forget()
    load_dataset(f"{PLACE}@v1").verify()
    assert not hub.calls("safetensors")


def test_when_neither_has_it_then_it_is_said(hub, place, gone):
    gone("HF_HUB_OFFLINE")
    with pytest.raises(HubError, match="not on this machine, and HF_HUB_OFFLINE forbids fetching it"):
        load_dataset(f"{PLACE}@v1")


def test_show_and_index_read_the_cache_too(hub, dataset, place, gone, tmp_path):
    fetched_by_client(revision="v1")
    gone("no network")
    shown = CliRunner().invoke(main, ["datasets", "show", f"{PLACE}@v1"])
    assert shown.exit_code == 0, shown.output
    assert dataset.digest in shown.stdout
    assert "training return, 5 of 5 trials" in shown.stdout
    indexed = CliRunner().invoke(main, ["datasets", "index", f"{PLACE}@v1", "--out", str(tmp_path / "i.parquet")])
    assert "105 checkpoints" in indexed.stdout


def test_a_command_of_its_own_uses_the_cache_under_hf_hub_offline(hub, dataset, place, tmp_path):
    script = f"import huggingface_hub as h; h.snapshot_download({REPO!r}, repo_type='dataset', revision='v1')"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **environment(hub)}, check=True)
    new = {"TIPL_BENCH_HOME": str(tmp_path / "new"), "HF_HUB_OFFLINE": "1"}
    assert dataset.digest in finished(command(hub, "datasets", "download", f"{PLACE}@v1", **new))
    assert "all intact" in finished(command(hub, "datasets", "verify", f"{PLACE}@v1", **new))
