"""`datasets delete` and `prune`: what goes, what stays, and nothing outside the store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.hub_commands import PLACE, REPO, TRIAL, catalogue
from helpers.small_collections import TINY, contents
from tipl_bench.cli import main
from tipl_bench.registry.cleanup import Removal, find_unreferenced, remove
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.store import commit_folder, dataset_folder, exclusive, known_revisions, staging_folder
from tipl_bench.utils.errors import DatasetError


def typed(*arguments: object, answer: str | None = None):
    return CliRunner().invoke(main, ["datasets", *map(str, arguments)], input=answer, env={"COLUMNS": "1000"})


def found() -> dict[Path, str]:
    return {removal.path: removal.what for removal in find_unreferenced()}


# delete


def test_when_deleted_then_its_size_is_printed_and_it_is_gone(stored):
    size = sum(path.stat().st_size for path in stored.folder.rglob("*") if path.is_file())
    result = typed("delete", TINY, "--yes")
    assert result.exit_code == 0, result.output
    assert f"{stored.folder} (dataset, {size / 1e6:,.1f} MB)" in result.stdout
    assert "Freed " in result.stdout
    assert not stored.folder.parent.exists()
    assert "Unknown dataset" in typed("show", TINY).output


@pytest.mark.parametrize("answer", ["n\n", "", None])
def test_when_it_is_not_confirmed_then_it_stays(stored, answer):
    before = contents(stored.folder)
    result = typed("delete", TINY, answer=answer)
    assert result.exit_code == 1
    assert "Remove this and free" in result.output
    assert contents(stored.folder) == before


def test_when_it_is_confirmed_then_it_goes(stored):
    assert typed("delete", TINY, answer="y\n").exit_code == 0
    assert not stored.folder.exists()


def test_when_it_is_a_dry_run_then_it_stays(stored):
    result = typed("delete", TINY, "--dry-run", "--yes")
    assert result.exit_code == 0
    assert "nothing was removed" in result.stdout
    assert stored.folder.exists()


def test_when_another_process_works_on_it_then_it_stays(stored):
    with exclusive(TINY):
        result = typed("delete", TINY, "--yes")
    assert result.exit_code == 1
    assert "Another process is working on" in result.stderr
    assert load_dataset(TINY).digest == stored.digest


def test_when_a_collection_was_not_finished_then_it_can_be_deleted_but_is_not_pruned(store):
    folder = staging_folder(TINY)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert folder not in found()
    assert typed("prune", "--yes").stdout == "Nothing to remove.\n"
    result = typed("delete", TINY, "--yes")
    assert "unfinished collection" in result.stdout
    assert not folder.exists()


def test_what_is_not_the_stores_is_not_deleted(stored, smooth, tmp_path):
    assert "comes with the package" in typed("delete", "inverted-pendulum/ppo-head-v1", "--yes").stderr
    assert "outside the store; remove it yourself" in typed("delete", smooth.folder, "--yes").stderr
    assert "there is nothing to delete" in typed("delete", "hopper/ppo-mini-v1", "--yes").stderr
    assert "there is nothing to delete" in typed("delete", "hf://datasets/alice/none", "--yes").stderr


def test_when_a_dataset_is_a_link_then_the_link_goes_and_its_target_stays(stored, tmp_path):
    elsewhere = stored.folder.rename(tmp_path / "elsewhere")
    stored.folder.symlink_to(elsewhere)
    before = contents(elsewhere)
    assert typed("delete", TINY, "--yes").exit_code == 0
    assert not os.path.lexists(stored.folder)
    assert contents(elsewhere) == before


def test_links_in_a_dataset_are_not_followed(stored, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "draft.txt").write_text("mine")
    (stored.folder / "trials" / "notes").symlink_to(thesis)
    (stored.folder / "notes.txt").symlink_to(thesis / "draft.txt")
    assert typed("delete", TINY, "--yes").exit_code == 0
    assert (thesis / "draft.txt").read_text() == "mine"


def test_the_folder_of_a_dataset_that_a_killed_process_began_is_pruned_and_a_running_ones_stays(stored, store):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, running = (stored.folder.with_name(f".mine-v1.{pid}.partial") for pid in (gone.pid, os.getppid()))
    for folder in (left, running):
        (folder / "trials").mkdir(parents=True)
        (folder / "trials" / ".trial-0000.safetensors.999999.partial").write_bytes(b"half")
        (folder / "manifest.json").write_text("{")
    assert found() == {left: "dataset that a killed process began"}
    with exclusive(f"{stored.folder.parent.name}/mine-v1"):
        assert "Another process is working on" in typed("prune", "--yes").stderr
    assert left.exists()
    assert typed("prune", "--yes").exit_code == 0
    assert not left.exists()
    assert (running / "trials").is_dir()
    assert load_dataset(TINY).digest == stored.digest


@pytest.mark.parametrize("level", ["datasets", "datasets/inverted-pendulum"])
def test_when_a_folder_of_the_store_leads_elsewhere_then_nothing_is_removed(stored, store, tmp_path, level):
    moved = (store / level).rename(tmp_path / "moved")
    (store / level).symlink_to(moved)
    before = contents(moved)
    result = typed("delete", TINY, "--yes")
    assert result.exit_code == 1
    assert "leads out of the store" in result.stderr
    assert contents(moved) == before
    assert typed("prune", "--yes").exit_code == 0
    assert contents(moved) == before


def test_a_path_outside_the_store_is_refused(store, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for path in (tmp_path / "thesis.txt", store / ".." / "thesis.txt", store):
        with pytest.raises(DatasetError, match="leads out of the store"):
            remove([Removal(path, "", 0, 0)])
    assert (tmp_path / "thesis.txt").exists()


def test_when_a_snapshot_is_deleted_then_its_tag_is_forgotten(hub, place):
    folder = load_dataset(f"{PLACE}@v1").folder
    assert typed("delete", f"{PLACE}@v1", "--yes").exit_code == 0
    assert not folder.exists()
    assert known_revisions(REPO) == {}
    load_dataset(f"{PLACE}@v1").verify()


def test_what_other_versions_share_is_not_counted_as_freed(stored):
    other = dataset_folder("inverted-pendulum/tiny-v2")
    shutil.copytree(stored.folder, other, copy_function=os.link)
    result = typed("delete", TINY, "--dry-run")
    assert "0.0 MB of it not shared with others" in result.stdout


# prune


@pytest.fixture
def litter(hub, dataset, place, store):
    """A store with one of everything that may be pruned, beside what may not."""
    catalogue(dataset, place)
    load_dataset(TINY)
    snapshot = load_dataset(f"{PLACE}@v1").folder
    (store / f".catalog.toml.{os.getppid()}.partial").write_bytes(b"of a process that writes it")
    stray = commit_folder(REPO, "0" * 40)
    shutil.copytree(snapshot, stray)
    pieces = [
        stray,
        dataset_folder(TINY) / "trials" / ".trial-0001.safetensors.0123456789abcdef.incomplete",
        dataset_folder(TINY) / ".manifest.json.999999.partial",
        snapshot / ".staging" / "trial",
        dataset_folder(TINY) / "derived" / ".p1.999999.partial" / "x.safetensors",
        store / "references" / "x.safetensors",
        store / "returns" / "y.safetensors",
        store / "publishing" / ("0" * 64) / "index.parquet",
        store / ".catalog.toml.999999.partial",
        store / "returns.sqlite.damaged",
    ]
    for path in pieces[1:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    return snapshot


def test_what_nothing_refers_to_is_pruned_and_the_rest_stays(litter, dataset, store):
    kept = [store / name for name in ("catalog.toml", "returns.sqlite", f".catalog.toml.{os.getppid()}.partial")]
    kept[1].write_bytes(b"in use")
    assert len(found()) == 10
    listed = typed("prune", "--dry-run")
    assert listed.exit_code == 0
    assert len(found()) == 10
    assert "snapshot that no tag or branch stands for" in listed.stdout
    result = typed("prune", "--yes")
    assert result.exit_code == 0, result.output
    assert found() == {}
    assert all(path.exists() for path in kept)
    for reference in (TINY, f"{PLACE}@v1"):
        load_dataset(reference, download=False).verify()
    assert typed("prune", "--yes").stdout == "Nothing to remove.\n"


def test_what_a_running_download_writes_is_not_pruned(litter, store):
    part = dataset_folder(TINY) / "trials" / ".trial-0001.safetensors.0123456789abcdef.incomplete"
    with exclusive(TINY):
        result = typed("prune", "--yes")
    assert result.exit_code == 1
    assert "Another process is working on" in result.stderr
    assert part.exists()
    assert not (store / "references").exists()


def test_a_snapshot_that_the_catalog_pins_is_kept(hub, dataset, place):
    folder = load_dataset(str(place)).folder
    (folder.parent / "revisions.json").unlink()
    assert found() == {folder: "snapshot that no tag or branch stands for"}
    catalogue(dataset, place)
    assert found() == {}


def test_a_snapshot_that_was_asked_for_by_its_commit_is_kept_until_it_is_deleted(hub, place):
    pinned = f"{PLACE}@{place.revision}"
    folder = load_dataset(pinned).folder
    assert typed("prune", "--yes").stdout == "Nothing to remove.\n"
    load_dataset(pinned, download=False).verify()
    assert typed("delete", pinned, "--yes").exit_code == 0
    assert not folder.exists()
    assert known_revisions(REPO) == {}


DAMAGES = {"cut": b'{"name": ', "empty": b"", "binary": b"\xff\x00", "another document": b"[1]"}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("of", ["dataset", "snapshot"])
def test_when_a_manifest_is_damaged_then_prune_lists_it_and_goes_on(litter, store, of, damage):
    folder, name = (dataset_folder(TINY), TINY) if of == "dataset" else (litter, f"{PLACE}@{litter.name}")
    (folder / "manifest.json").write_bytes(damage)
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    result = typed("prune", "--yes")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if "damaged dataset" in line]
    assert line.startswith(f"- {folder} (damaged dataset, {size / 1e6:,.1f} MB; kept): {folder / 'manifest.json'}: ")
    assert line.endswith(f"`tipl-bench datasets delete {name}` removes the dataset.")
    assert [*found()] == [folder]
    assert typed("delete", name, "--yes").exit_code == 0
    assert found() == {}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_when_the_list_of_revisions_is_damaged_then_prune_keeps_the_snapshots_and_goes_on(litter, damage):
    revisions = litter.parent / "revisions.json"
    revisions.write_bytes(damage)
    result = typed("prune", "--yes")
    assert result.exit_code == 0, result.output
    assert f"- {revisions} (damaged list of revisions, 0.0 MB; kept): {revisions}: not readable" in result.stdout
    assert [*found()] == [revisions]
    assert litter.exists()
    assert commit_folder(REPO, "0" * 40).exists()
    assert typed("delete", f"{PLACE}@{litter.name}", "--yes").exit_code == 0
    revisions.unlink()
    assert typed("prune", "--yes").exit_code == 0
    assert found() == {}


@pytest.mark.parametrize("command", ["delete", "prune"])
def test_what_cannot_be_removed_is_named_and_the_rest_goes(stored, store, monkeypatch, command):
    """As where a member of a team owns a folder of a shared store."""
    locked = stored.folder / "trials" if command == "delete" else store / "references"
    locked.mkdir(exist_ok=True)
    (store / "returns").mkdir()
    remove_tree = shutil.rmtree

    def denied(path: Path) -> None:
        if locked.is_relative_to(path):
            raise PermissionError(13, "Permission denied", str(locked))
        remove_tree(path)

    monkeypatch.setattr(shutil, "rmtree", denied)
    words = ["delete", TINY, "--yes"] if command == "delete" else ["prune", "--yes"]
    result = typed(*words)
    assert result.exit_code == 1
    assert f"or a part of it: Permission denied ({locked})" in result.stderr
    assert "Freed 0.0 MB" in result.stdout
    assert (store / "returns").exists() == (command == "delete")
    monkeypatch.undo()
    monkeypatch.setenv("TIPL_BENCH_HOME", str(store))
    assert typed(*words).exit_code == 0
    assert not locked.exists()


def test_pruning_an_empty_store_does_nothing(store):
    assert typed("prune").stdout == "Nothing to remove.\n"
    assert not (store / TRIAL).exists()
