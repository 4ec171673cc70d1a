"""Derived data of a protocol: published, downloaded and verified with their dataset, and no part of its digest."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.hub_commands import PLACE, REPO, catalogue, published
from helpers.small_collections import TINY, contents, edit_manifest
from safetensors.numpy import save_file
from tipl_bench.cli import main
from tipl_bench.registry.catalog import CatalogEntry, entry_lines, find_derived
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.derived import derived_protocols, write_derived
from tipl_bench.registry.hub.publish import catalog_lines
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import own_catalog
from tipl_bench.utils.errors import DatasetError


@pytest.fixture
def derived(dataset) -> Dataset:
    """The tiny collection, with data derived by two protocols."""
    for protocol in (1, 2):
        write(dataset, protocol, float(protocol))
    return dataset


def write(dataset, protocol, value):
    array = {"returns": np.full(3, value)}

    def save(folder):
        save_file(array, folder / "a.safetensors")

    return write_derived(dataset.folder, dataset.manifest, protocol, save)


def pins(dataset):
    return {f"p{protocol}": dataset.derived(protocol).manifest.sha256 for protocol in derived_protocols(dataset.folder)}


def test_a_dataset_derived_from_by_a_new_protocol_stays_the_same_dataset(dataset):
    digest = dataset.digest
    manifest = contents(dataset.folder)["manifest.json"]
    write(dataset, 7, 1.0)
    assert Dataset.open(dataset.folder).digest == digest
    assert contents(dataset.folder)["manifest.json"] == manifest
    assert [entry.path for entry in dataset.contents()][-1] == "derived/p7/a.safetensors"


def test_the_pinned_hash_is_of_the_bytes_and_not_of_where_they_were_computed(dataset):
    first = write(dataset, 7, 1.0).manifest
    assert first.model_copy(update={"cpu": "another", "versions": {}}).sha256 == first.sha256
    shutil.rmtree(dataset.folder / "derived")
    assert write(dataset, 7, 2.0).manifest.sha256 != first.sha256
    shutil.rmtree(dataset.folder / "derived")
    assert write(dataset, 8, 1.0).manifest.sha256 != first.sha256


def test_derived_data_are_published_and_downloaded_with_the_dataset(hub, derived, no_waiting):
    location = published(derived)
    repository = hub.repository(REPO)
    for path in ("derived/p1/a.safetensors", "derived/p1/derived.json", "derived/p2/a.safetensors"):
        assert repository.read(path, location.revision) == (derived.folder / path).read_bytes()
    got = load_dataset(PLACE, trials=[0])
    assert pins(got) == pins(derived)
    assert (
        got.derived(2).file("a.safetensors").read_bytes() == (derived.folder / "derived/p2/a.safetensors").read_bytes()
    )


def test_what_a_new_protocol_derives_is_published_after_the_tag(hub, derived, no_waiting):
    shutil.move(derived.folder / "derived/p2", derived.folder.with_name("p2"))
    first = published(derived)
    shutil.move(derived.folder.with_name("p2"), derived.folder / "derived/p2")
    hub.forget()
    second = published(derived)
    assert second.revision != first.revision
    repository = hub.repository(REPO)
    assert repository.resolve("v1") == first.revision, "the tag stays"
    assert repository.resolve("main") == second.revision
    assert not hub.calls("PUT .*trial"), "only what is new is sent"
    got = load_dataset(str(second))
    assert pins(got) == pins(derived)
    assert published(derived) == second, "published again, nothing is added"
    entry = tomllib.loads(catalog_lines(derived, second))[TINY]
    assert entry["commit"] == second.revision
    assert entry["derived"] == pins(derived)


@pytest.mark.parametrize("later", [False, True])
def test_when_other_numbers_are_derived_than_were_published_then_their_pins_are_not_printed(
    hub, derived, no_waiting, later
):
    if later:  # p2 stands on a commit after the tag
        shutil.move(derived.folder / "derived/p2", derived.folder.with_name("p2"))
        published(derived)
        shutil.move(derived.folder.with_name("p2"), derived.folder / "derived/p2")
    published(derived)
    shutil.rmtree(derived.folder / "derived/p2")
    write(derived, 2, 2.5)
    with pytest.raises(DatasetError, match=r"what protocol 2 derives .* other numbers .* Remove .*derived/p2 and"):
        published(derived)


def test_what_the_catalog_pins_is_checked_before_anything_is_fetched(hub, derived, no_waiting, store):
    location = published(derived)
    catalogue(derived, location, derived=pins(derived) | {"p2": "0" * 64})
    with pytest.raises(DatasetError, match=f"derived by protocol 2 .* the catalog pins {'0' * 64}"):
        load_dataset(TINY)
    assert not list(store.rglob("*.safetensors"))
    catalogue(derived, location, derived=pins(derived))
    assert find_derived(load_dataset(TINY), 2) is not None


def test_a_published_dataset_of_format_2_is_known_by_a_pinned_format_1_digest(hub, derived, no_waiting):
    location = published(derived)
    assert derived.former_digest is not None
    catalogue(derived, location, digest=derived.former_digest, digest_format=1)
    assert load_dataset(TINY).digest == derived.digest


def test_a_derived_manifest_of_another_dataset_is_refused_unfetched(hub, derived, no_waiting, store):
    shutil.copytree(derived.folder, other := derived.folder.with_name("other"))
    edit_manifest(other, lambda m: m.update(cpu="another"))
    location = published(derived)
    foreign = (other / "manifest.json").read_bytes()
    hub.repository(REPO).write({"manifest.json": foreign}, "exchanged")
    with pytest.raises(DatasetError, match=r"derived/p1/derived.json: derived by protocol 1 from a dataset"):
        load_dataset(PLACE)
    assert not list(store.rglob("*.safetensors"))
    assert location.revision


@pytest.mark.parametrize("left", [[], ["a.safetensors"], ["derived.json"]])
@pytest.mark.parametrize("by", ["name", "address"])
def test_derived_data_that_a_killed_download_lacks_are_fetched(hub, derived, no_waiting, left, by):
    location = published(derived)
    catalogue(derived, location, derived=pins(derived))
    reference = TINY if by == "name" else PLACE
    got = load_dataset(reference)
    for path in list((got.folder / "derived/p2").iterdir()):
        if path.name not in left:
            path.unlink()
    if by == "address" and "derived.json" not in left:
        with pytest.raises(DatasetError, match=f"lacks what protocol 2 .* datasets download {TINY}"):
            find_derived(load_dataset(reference), 2)
    else:
        assert find_derived(load_dataset(reference), 2).file("a.safetensors")


@pytest.mark.parametrize("known", ["format 1", "format 2", "both"])
def test_derived_data_must_be_pinned_by_whichever_digest_the_catalog_knows(derived, known, store):
    digests = {
        "format 1": {"digest": derived.former_digest, "digest_format": 1},
        "format 2": {"digest": derived.digest},
        "both": {"digest": derived.digest, "former_digest": derived.former_digest},
    }[known]
    store.mkdir(exist_ok=True)
    facts = {"environment": derived.environment, "summary": "", **digests, "derived": pins(derived) | {"p2": "0" * 64}}
    own_catalog().write_text(entry_lines(TINY, CatalogEntry.model_validate(facts)))
    assert find_derived(derived, 1)
    with pytest.raises(DatasetError, match=f"the catalog pins {'0' * 64} for protocol 2"):
        find_derived(derived, 2)
    shutil.rmtree(derived.folder / "derived/p2")
    with pytest.raises(DatasetError, match=f"lacks what protocol 2 .* datasets collect {TINY}"):
        find_derived(derived, 2)


BROKEN = {
    "not JSON": ("{", "not a readable manifest of derived data"),
    "not text": (b"\xff", "not a readable manifest of derived data"),
    "an unknown field": ('{"note": 1}', "field"),
    "oversized": (None, "larger than"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_derived_manifest_is_named(derived, what):
    content, reason = BROKEN[what]
    path = derived.folder / "derived/p2/derived.json"
    if content is None:
        with path.open("r+b") as stream:
            stream.truncate((64 << 20) + 1)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=rf"derived/p2/derived\.json: {reason}"):
        derived.derived(2)
    assert Dataset.open(derived.folder).digest == derived.digest, "the trajectories can still be used"


WRONG_FILES = {
    "its own manifest": ("derived.json", "not the name of a .safetensors file"),
    "a hidden folder": (".staging/a.safetensors", "not a plain relative path"),
    "a file twice": ("a.safetensors", "a file is listed twice"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
def test_a_derived_manifest_lists_tensor_files_once(derived, what):
    listed, reason = WRONG_FILES[what]
    path = derived.folder / "derived/p2/derived.json"
    content = json.loads(path.read_text())
    content["files"].append(content["files"][0] | {"path": listed})
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=reason):
        derived.derived(2)


def test_a_missing_derived_file_is_named(derived):
    (derived.folder / "derived/p1/a.safetensors").unlink()
    with pytest.raises(DatasetError, match=r"derived/p1/a\.safetensors: listed in the manifest but missing"):
        derived.derived(1)


def test_an_interrupted_write_leaves_nothing_behind(dataset):
    def fail(folder):
        (folder / "a.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_derived(dataset.folder, dataset.manifest, 1, fail)
    assert dataset.derived(1) is None
    assert derived_protocols(dataset.folder) == []
    write(dataset, 1, 1.0)
    assert sorted(path.name for path in (dataset.folder / "derived").iterdir()) == ["p1"]


def test_what_a_killed_download_left_is_replaced(dataset):
    left = dataset.folder / "derived" / "p1"
    left.mkdir(parents=True)
    (left / "b.safetensors").write_bytes(b"half")
    write(dataset, 1, 1.0)
    assert sorted(path.name for path in left.iterdir()) == ["a.safetensors", "derived.json"]
    dataset.derived(1).file("a.safetensors")


def test_of_two_writers_at_once_the_second_gets_what_the_first_wrote(dataset):
    started, release = threading.Event(), threading.Event()

    def slow(folder):
        save_file({"returns": np.full(3, 1.0)}, folder / "a.safetensors")
        started.set()
        release.wait(10)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(write_derived, dataset.folder, dataset.manifest, 1, slow)
        assert started.wait(10)
        second = pool.submit(write, dataset, 1, 2.0)
        with contextlib.suppress(TimeoutError):
            second.result(0.3)
        release.set()
        assert second.result(10) == first.result(10) == dataset.derived(1)
    assert [path.name for path in (dataset.folder / "derived").iterdir()] == ["p1"]


def test_verify_tells_what_is_derived_and_whether_the_catalog_pins_it(derived):
    result = CliRunner().invoke(main, ["datasets", "verify", str(derived.folder)])
    assert result.exit_code == 0, result.output
    for protocol in (1, 2):
        line = f"derived by protocol {protocol}: sha256 {pins(derived)[f'p{protocol}']}, not in the catalog"
        assert line in " ".join(result.stdout.split())
    bundled = CliRunner().invoke(main, ["datasets", "verify", "inverted-pendulum/ppo-head-v1"])
    assert "as the catalog pins" in bundled.stdout
    assert "(format 1: 9b686edc86d7b37e102c78204a493a88a48db6389d2aaeef7641098bd386819c)" in bundled.stdout
