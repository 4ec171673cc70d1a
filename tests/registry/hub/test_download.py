"""Downloading from a Hub: verified before it is used, resumed where it was cut, and never asked for twice."""

from __future__ import annotations

import json
import os
import signal
import time
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.hub import Cut, Flip, Slow, Status, Truncate
from helpers.hub_commands import PLACE, REPO, TRIAL, catalogue, command, files, finished, leftovers, published
from helpers.small_collections import TINY, contents
from tipl_bench.cli import main
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.loading import download_dataset, load_dataset, parse_reference
from tipl_bench.registry.manifest import read_manifest
from tipl_bench.registry.store import dataset_folder, exclusive
from tipl_bench.utils.errors import DatasetError, HubError


@pytest.fixture(autouse=True)
def _at_once(no_waiting, monkeypatch):
    """Our own retries do not wait either."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_when_downloaded_then_it_is_the_published_one_bit_for_bit(hub, dataset, place):
    got = load_dataset(PLACE)
    assert got.digest == dataset.digest
    assert files(got.folder) == files(dataset.folder)
    assert leftovers(got.folder) == []


def test_when_it_is_here_then_the_network_is_not_asked_again(hub, place):
    load_dataset(f"{PLACE}@v1")
    load_dataset(str(place))
    hub.forget()
    load_dataset(f"{PLACE}@v1")
    load_dataset(str(place))
    load_dataset(f"{PLACE}@v1", download=False)
    assert hub.log == []


def test_a_name_is_fetched_at_the_catalogs_commit_and_stands_in_the_store(hub, dataset, place):
    catalogue(dataset, place)
    hub.repository(REPO).write({TRIAL: b"later and other"}, "later")
    for text in (TINY, "inverted-pendulum/tiny", "inverted-pendulum/tiny@v1", f"{TINY}@{place.revision}"):
        assert load_dataset(text).folder == dataset_folder(TINY)
    assert files(dataset_folder(TINY)) == files(dataset.folder)


def test_when_only_some_trials_are_asked_for_then_no_others_come(hub, dataset, place):
    catalogue(dataset, place)
    result = CliRunner().invoke(main, ["datasets", "download", TINY, "--trials", "1:3"])
    assert result.exit_code == 0, result.output
    assert "2 trials" in result.output
    assert sorted(files(dataset_folder(TINY))) == [dataset.manifest.trials[i].path for i in (1, 2)]
    part = load_dataset(TINY, trials=[1, 2])
    np.testing.assert_array_equal(part.trial(2).weights(), dataset.trial(2).weights())
    with pytest.raises(DatasetError, match="missing"):
        part.trial(0).weights()
    hub.forget()
    assert load_dataset(TINY).digest == dataset.digest
    assert len(hub.calls("GET .*/resolve/.*safetensors")) == 3, "what was here was not fetched again"


def test_when_a_trial_does_not_exist_then_the_known_ones_are_named(hub, place):
    with pytest.raises(DatasetError, match="trials 0 to 4; there is no trial 7"):
        load_dataset(PLACE, trials=[7])


def test_when_a_folder_is_named_then_it_goes_there(hub, dataset, place, tmp_path):
    got = download_dataset(parse_reference(PLACE), to=tmp_path / "there")
    assert got.folder == tmp_path / "there"
    assert load_dataset(str(tmp_path / "there"), download=False).digest == dataset.digest


def test_when_the_folder_holds_something_else_then_nothing_is_touched(hub, place, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty"):
        download_dataset(parse_reference(PLACE), to=tmp_path / "there")
    assert contents(tmp_path / "there").keys() == {"thesis.txt"}


def test_when_another_dataset_of_that_name_is_here_then_it_is_not_overwritten(hub, dataset, place, collected):
    catalogue(dataset, place)
    own = dataset_folder(TINY)
    own.mkdir(parents=True)
    collected.manifest.model_copy(update={"cpu": "another"}).write(own)
    before = contents(own)
    with pytest.raises(DatasetError, match="Nothing was overwritten"):
        download_dataset(parse_reference(TINY))
    assert contents(own) == before


def test_when_a_file_here_was_damaged_then_downloading_mends_it(hub, dataset, place):
    catalogue(dataset, place)
    path = download_dataset(parse_reference(TINY)).folder / TRIAL
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    hub.forget()
    download_dataset(parse_reference(TINY)).verify()
    assert len(hub.calls("GET .*/resolve/.*safetensors")) == 1


@pytest.mark.parametrize("damage", [Flip(at=5000), Truncate(to=3000)], ids=lambda fault: type(fault).__name__)
def test_when_the_answer_is_damaged_once_then_it_is_fetched_again(hub, dataset, place, damage):
    hub.faults.add("GET /lfs-objects/", damage, times=1)
    got = load_dataset(PLACE)
    got.verify()
    assert got.digest == dataset.digest


def test_when_a_byte_is_flipped_on_the_server_then_the_file_is_named_and_not_kept(hub, dataset, place):
    hub.repository(REPO).corrupt(TRIAL, 5000)
    with pytest.raises(DatasetError, match=r"trial-0002\.safetensors is not what the manifest says"):
        load_dataset(PLACE)
    folders = list(dataset_folder("").parent.rglob("trial-0002*"))
    assert folders == []
    with pytest.raises(DatasetError):
        load_dataset(PLACE, download=False)


def test_when_a_file_is_always_truncated_then_it_is_given_up_and_said(hub, place):
    hub.repository(REPO).overwrite(TRIAL, b"short")
    with pytest.raises(DatasetError, match=r"trial-0002\.safetensors"):
        load_dataset(PLACE)


def test_when_a_file_is_longer_there_then_no_more_than_the_manifest_says_is_read(hub, dataset, place):
    entry = dataset.manifest.trials[2]
    content = (dataset.folder / entry.path).read_bytes()
    hub.repository(REPO).overwrite(TRIAL, content + bytes(32 << 20))
    hub.bytes_sent = 0
    got = load_dataset(PLACE)
    got.verify()


def test_when_the_connection_is_cut_then_it_goes_on_from_there(hub, dataset, place):
    hub.faults.add("GET /lfs-objects/", Cut(after=4000), times=3)
    hub.forget()
    got = load_dataset(PLACE)
    got.verify()
    assert [call.status for call in hub.calls("GET /lfs-objects/")].count(206) >= 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_when_the_hub_is_busy_then_it_is_asked_again(hub, dataset, place, status):
    hub.faults.add("GET /", Status(status, retry_after=0), times=3)
    assert load_dataset(PLACE).digest == dataset.digest


def test_when_the_hub_stays_busy_then_the_way_out_is_said_and_what_came_is_kept(hub, dataset, place):
    hub.faults.add("GET .*trial-0004", Status(429, retry_after=0))
    with pytest.raises(HubError, match=r"429.*wait some minutes"):
        load_dataset(PLACE)
    hub.faults.clear()
    hub.forget()
    load_dataset(PLACE).verify()
    assert len(hub.calls("GET .*/resolve/.*safetensors")) < 5


def test_when_the_tag_was_moved_then_it_is_refused_and_what_is_here_stays(hub, dataset, place):
    load_dataset(f"{PLACE}@v1")
    repository = hub.repository(REPO)
    repository.move_tag("v1", repository.write({"NOTES.md": b"x"}, "moved"))
    with pytest.raises(DatasetError, match="the tag was moved") as caught:
        download_dataset(parse_reference(f"{PLACE}@v1"))
    assert str(place) in str(caught.value)
    assert load_dataset(f"{PLACE}@v1").digest == dataset.digest


def test_when_the_catalogs_commit_holds_another_manifest_then_nothing_is_fetched(hub, dataset, place):
    repository = hub.repository(REPO)
    lying = dataset.manifest.model_copy(update={"cpu": "another"}).model_dump_json()
    commit = repository.write({"manifest.json": lying.encode()}, "lies")
    catalogue(dataset, place, commit=commit)
    hub.forget()
    with pytest.raises(DatasetError, match="not what the catalog vouches for"):
        load_dataset(TINY)
    assert not hub.calls("safetensors")
    assert not dataset_folder(TINY).exists()


def test_when_it_is_offline_then_what_is_here_works_and_what_is_not_is_said(hub, place, store):
    fetched = command(hub, "datasets", "download", PLACE, TIPL_BENCH_HOME=str(store / "a"))
    finished(fetched)
    offline = {"HF_HUB_OFFLINE": "1"}
    shown = command(hub, "datasets", "verify", PLACE, TIPL_BENCH_HOME=str(store / "a"), **offline)
    assert "all intact; digest" in finished(shown)
    absent = command(hub, "datasets", "download", PLACE, TIPL_BENCH_HOME=str(store / "b"), **offline)
    _, err = absent.communicate(timeout=60)
    assert absent.returncode == 1
    assert "HF_HUB_OFFLINE" in err


def test_when_the_server_is_gone_then_the_run_uses_what_is_here(hub, dataset, place):
    load_dataset(PLACE)
    hub.close()
    assert load_dataset(PLACE).digest == dataset.digest
    with pytest.raises(HubError, match="cannot be reached"):
        download_dataset(parse_reference(PLACE))


def test_when_the_repository_or_revision_is_not_there_then_it_is_said(hub, place):
    with pytest.raises(HubError, match=r"no such dataset repository.*hf auth login"):
        load_dataset("hf://datasets/alice/nothing")
    with pytest.raises(HubError, match="no such revision"):
        load_dataset(f"{PLACE}@v7")
    with pytest.raises(DatasetError, match=r"hf://datasets/OWNER/NAME"):
        load_dataset("hf://alice/tiny")


def test_when_two_versions_share_files_then_the_second_takes_them_over(hub, dataset, place):
    catalogue(dataset, place)
    load_dataset(TINY)
    second = "inverted-pendulum/tiny-v2"
    dataset.manifest.model_copy(update={"name": second}).write(dataset.folder)
    later = Dataset.open(dataset.folder)
    catalogue(later, published(later), second)
    hub.forget()
    got = load_dataset(second)
    assert not hub.calls("safetensors")
    assert files(got.folder) == files(dataset.folder)
    assert (got.folder / TRIAL).stat().st_nlink == 2


def test_when_killed_while_downloading_then_it_goes_on_within_the_file(hub, dataset, place, store):
    new = store / "new"
    hub.faults.add("GET /lfs-objects/", Slow(0.05, 512))
    process = command(hub, "datasets", "download", PLACE, TIPL_BENCH_HOME=str(new))
    end = os.times().elapsed + 60
    while os.times().elapsed < end and not any(p.stat().st_size > 2000 for p in new.rglob(".*.incomplete")):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = sum(path.stat().st_size for path in new.rglob(".*.incomplete"))
    assert kept > 2000
    hub.faults.clear()
    hub.forget()
    finished(command(hub, "datasets", "download", PLACE, TIPL_BENCH_HOME=str(new)))
    assert 206 in [call.status for call in hub.calls("GET /lfs-objects/")]
    (folder,) = new.glob("hub/*/" + "[0-9a-f]" * 40)
    assert files(folder) == files(dataset.folder)
    assert leftovers(folder) == []


def test_when_interrupted_while_downloading_then_it_stops_at_once(hub, place, store):
    hub.faults.add("GET /lfs-objects/", Slow(0.5, 64))  # a minute a file
    process = command(hub, "datasets", "download", PLACE, TIPL_BENCH_HOME=str(store / "new"))
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(p.stat().st_size > 200 for p in (store / "new").rglob(".*.incomplete")):
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0


def test_when_two_processes_download_at_once_then_both_have_it_and_it_came_once(hub, dataset, place, store):
    hub.forget()
    new = str(store / "new")
    both = [command(hub, "datasets", "download", PLACE, TIPL_BENCH_HOME=new) for _ in range(2)]
    for process in both:
        assert dataset.digest in finished(process)
    assert len(hub.calls("GET .*/resolve/.*safetensors")) == len(dataset.manifest.files)


def test_when_the_disk_is_too_small_then_it_is_said_before_anything_is_fetched(hub, dataset, place, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 1000}))
    hub.forget()
    with pytest.raises(DatasetError, match=r"to be fetched and 1,000 are free"):
        load_dataset(PLACE)
    assert not hub.calls("safetensors")


def test_show_reads_a_remote_dataset_by_ranges_alone(hub, dataset, place):
    hub.forget()
    hub.bytes_sent = 0
    result = CliRunner().invoke(main, ["datasets", "show", PLACE])
    assert result.exit_code == 0, result.output
    for text in (TINY, dataset.digest, "weights [21, 46] float32", "InvertedPendulum-v4", "training return"):
        assert text in result.output
    assert {call.status for call in hub.calls("GET /lfs-objects/")} == {206}
    shown = json.loads(CliRunner().invoke(main, ["datasets", "show", PLACE, "--json"]).output)
    assert shown["digest"] == dataset.digest


def test_when_a_column_was_changed_on_the_server_then_show_refuses_it(hub, dataset, place):
    hub.repository(REPO).corrupt(TRIAL, (dataset.folder / TRIAL).stat().st_size - 1)
    result = CliRunner().invoke(main, ["datasets", "show", PLACE])
    assert result.exit_code == 1
    assert "'episodic_return' does not have the manifest's sha256" in result.output


def test_the_index_of_a_remote_dataset_is_that_of_the_local_one(hub, dataset, place, tmp_path):
    pandas = pytest.importorskip("pandas")
    for source, name in ((PLACE, "remote.parquet"), (str(dataset.folder), "local.parquet")):
        result = CliRunner().invoke(main, ["datasets", "index", source, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    remote, local = (pandas.read_parquet(tmp_path / name) for name in ("remote.parquet", "local.parquet"))
    pandas.testing.assert_frame_equal(remote, local)


def test_yank_warns_in_the_catalog_the_card_and_on_use(hub, dataset, place, caplog):
    catalogue(dataset, place)
    result = CliRunner().invoke(main, ["datasets", "yank", "inverted-pendulum/tiny@v1", "--reason", "wrong seeds"])
    assert result.exit_code == 0, result.output
    card = hub.repository(REPO).read("README.md").decode()
    assert "**v1 is yanked**: wrong seeds" in card
    assert card.startswith("---\n")
    again = CliRunner().invoke(main, ["datasets", "yank", "inverted-pendulum/tiny@v1", "--reason", "other seeds"])
    assert again.exit_code == 0, again.output
    assert hub.repository(REPO).read("README.md").decode() == card.replace("wrong seeds", "other seeds")
    CliRunner().invoke(main, ["datasets", "yank", "inverted-pendulum/tiny@v1", "--reason", "wrong seeds"])
    assert load_dataset(TINY).digest == dataset.digest
    assert "was yanked: wrong seeds" in caplog.text
    assert "yanked: wrong seeds" in CliRunner().invoke(main, ["datasets", "list"]).output


def test_a_waiting_download_gets_the_lock_when_it_is_free(hub, place):
    with exclusive("something else"), warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert load_dataset(PLACE).manifest == read_manifest(load_dataset(PLACE).folder)
