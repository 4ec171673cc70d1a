"""Repositories that mean harm: nothing is written outside the store, nothing large is read, nothing wrong is used."""

from __future__ import annotations

import json
import struct

import pytest
from helpers.hub import Endless
from helpers.hub_commands import PLACE, REPO, TRIAL, leftovers, published
from helpers.small_collections import contents
from tipl_bench.registry.hub.remote import RemoteDataset
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.reference import HubLocation, parse_hub
from tipl_bench.utils.errors import DatasetError


@pytest.fixture
def repository(hub, dataset):
    """The tiny collection's repository, to do harm in."""
    published(dataset)
    return hub.repository(REPO)


def rewrite(repository, change):
    """Change the manifest's JSON on the server."""
    manifest = json.loads(repository.read("manifest.json"))
    change(manifest)
    repository.write({"manifest.json": json.dumps(manifest).encode()}, "harm")


def first(manifest):
    return manifest["trials"][0]


PATHS = (
    "../../../escaped.safetensors",
    "/tmp/escaped.safetensors",
    "trials/../../escaped.safetensors",
    "trials\\..\\escaped.safetensors",
    "./trials/trial-0000.safetensors",
    "trials//trial-0000.safetensors",
    "",
    "trials/" + "a" * 300,
)


@pytest.mark.parametrize("path", PATHS)
def test_when_a_path_leaves_the_folder_then_nothing_is_fetched(hub, repository, store, path):
    rewrite(repository, lambda m: first(m).update(path=path))
    hub.forget()
    with pytest.raises(DatasetError, match=r"manifest\.json: field trials"):
        load_dataset(PLACE)
    assert not hub.calls("safetensors")
    assert not list(store.rglob("*.safetensors"))


HARM = {
    "a header of 200 MB": lambda m: first(m).update(size=first(m)["size"] + 200_000_000),
    "an absurd shape": lambda m: first(m)["tensors"]["weights"].update(shape=[21, 2**40]),
    "more checkpoints than there are": lambda m: m.update(checkpoints=10**9),
    "a tensor too many": lambda m: first(m)["tensors"].update(extra=first(m)["tensors"]["epoch"]),
    "a size of nothing": lambda m: first(m).update(size=0),
    "a negative size": lambda m: first(m).update(size=-5),
    "an unknown field": lambda m: m.update(run="rm -rf"),
    "an activation that is code": lambda m: m.update(activation="__import__"),
    "a split that repeats": lambda m: m["split"].update(test=[0, 1, 2, 3, 4]),
    "a digest that is none": lambda m: first(m).update(sha256="0" * 63),
    "a name that is a path": lambda m: m.update(name="../../x-v1"),
    "one file twice": lambda m: m["trials"].__setitem__(1, first(m)),
}


@pytest.mark.parametrize("harm", HARM)
def test_when_the_manifest_lies_then_it_is_refused_before_a_trial_is_fetched(hub, repository, harm):
    rewrite(repository, HARM[harm])
    hub.forget()
    with pytest.raises(DatasetError, match=r"manifest|trial 0"):
        load_dataset(PLACE)
    assert not hub.calls("safetensors")


def test_when_the_manifest_lies_about_a_digest_then_the_file_is_not_kept(hub, repository, store):
    rewrite(repository, lambda m: first(m).update(sha256="0" * 64))
    with pytest.raises(DatasetError, match=r"trial-0000\.safetensors is not what the manifest says"):
        load_dataset(PLACE)
    assert not list(store.rglob("trial-0000.safetensors"))
    assert leftovers(store / "hub") == [] or all("trial-0000" not in name for name in leftovers(store / "hub"))


def test_when_the_manifest_lies_about_a_tensor_then_the_tensor_is_named(hub, repository):
    rewrite(repository, lambda m: first(m)["tensors"]["weights"].update(sha256="0" * 64))
    with pytest.raises(DatasetError, match="'weights' does not have the manifest's sha256"):
        load_dataset(PLACE)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b'{"format": 1, "format": 1}', b"\xff\xfe", b"NaN", b'{"a": 1e999}', b"[" * 100_000],
    ids=["empty", "a list", "cut", "a key twice", "no text", "NaN", "infinity", "deep"],
)
def test_when_the_manifest_is_no_manifest_then_it_is_said(repository, text):
    repository.write({"manifest.json": text}, "harm")
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        load_dataset(PLACE)


def test_when_the_manifest_is_huge_then_it_is_not_read_whole(hub, repository, monkeypatch):
    monkeypatch.setattr("tipl_bench.registry.hub.remote.MANIFEST_LIMIT", 100_000)
    repository.write({"manifest.json": b" " * 30_000_000}, "harm", raw=True)
    with pytest.raises(DatasetError, match="larger than 100000 bytes"):
        load_dataset(PLACE)


def test_when_a_body_never_ends_then_no_more_than_the_manifest_says_is_read(hub, repository):
    hub.faults.add("GET /lfs-objects/", Endless(1 << 30))
    hub.bytes_sent = 0
    load_dataset(PLACE).verify()
    assert hub.bytes_sent < 64 << 20


@pytest.mark.parametrize("change", [-1, 1 << 40])
def test_when_the_hub_states_another_size_then_nothing_of_that_file_is_fetched(hub, repository, dataset, change):
    entry = dataset.manifest.trials[2]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.sha256}\nsize {entry.size + change}\n"
    repository.write({TRIAL: pointer.encode()}, "harm", raw=True)
    hub.forget()
    with pytest.raises(DatasetError, match=rf"{TRIAL} has {entry.size + change:,} bytes there, where the manifest"):
        load_dataset(PLACE)
    assert not hub.calls(f"GET .*{TRIAL}")


def test_when_a_trial_is_a_link_on_the_server_then_no_link_is_made(hub, repository, store):
    repository.symlink(TRIAL, "/etc/passwd")
    with pytest.raises(DatasetError, match="trial-0002"):
        load_dataset(PLACE)
    assert not [path for path in store.rglob("*") if path.is_symlink()]
    assert "passwd" not in str(contents(store).keys())


def test_when_a_remote_header_claims_200_mb_then_it_is_not_read(hub, dataset, repository):
    remote = RemoteDataset.open(parse_hub(PLACE))
    repository.overwrite(TRIAL, struct.pack("<Q", 200_000_000) + bytes(10_000))
    hub.forget()
    hub.bytes_sent = 0
    with pytest.raises(DatasetError, match="claims 200000000 bytes"):
        remote.columns(2)
    assert hub.bytes_sent < 20_000


@pytest.mark.parametrize(
    "header", [b"{}", b"[1]", b'{"epoch": 1}', b'{"epoch": {"data_offsets": [0]}}', b"\xff", b"[" * 500_000]
)
def test_when_a_remote_header_is_nonsense_then_the_file_is_named(hub, repository, header):
    remote = RemoteDataset.open(parse_hub(PLACE))
    repository.overwrite(TRIAL, struct.pack("<Q", len(header)) + header + bytes(5000))
    with pytest.raises(DatasetError, match="trial-0002"):
        remote.columns(2)


@pytest.mark.parametrize("offsets", [[-5, 10], [0, 10**15], [10, 0], [0.5, 2], ["0", "8"]])
def test_when_remote_offsets_are_absurd_then_little_is_read_and_the_file_is_named(hub, repository, offsets):
    remote = RemoteDataset.open(parse_hub(PLACE))
    names = remote.manifest.trials[2].tensors
    header = json.dumps({name: {"dtype": "F32", "shape": [21], "data_offsets": offsets} for name in names}).encode()
    repository.overwrite(TRIAL, struct.pack("<Q", len(header)) + header + bytes(5000))
    hub.bytes_sent = 0
    with pytest.raises(DatasetError, match="trial-0002"):
        remote.columns(2)
    assert hub.bytes_sent < 200_000


def test_when_the_repository_is_no_trajectory_dataset_then_it_is_said(hub):
    hub.create("alice/pictures")
    hub.repository("alice/pictures").write({"cat.png": b"meow", "README.md": b"# Cats"}, "cats")
    with pytest.raises(DatasetError, match="not a trajectory dataset"):
        load_dataset("hf://datasets/alice/pictures")


@pytest.mark.parametrize(
    "text",
    [
        "hf://datasets/../x",
        "hf://datasets/alice/tiny@../../main",
        "hf://datasets/alice/tiny/../../x",
        "hf://datasets/a--b/c",
        "hf://datasets/alice/tiny@v1\n",
        "hf://spaces/alice/tiny",
        "hf://datasets/alice",
        "hf://",
    ],
)
def test_when_a_place_is_malformed_then_its_form_is_told(text):
    with pytest.raises(DatasetError, match="hf://datasets/OWNER/NAME"):
        parse_hub(text)


def test_a_commit_is_pinned_and_a_tag_is_not():
    assert HubLocation("a/b", "0" * 40).pinned
    assert not HubLocation("a/b", "v1").pinned
    assert not HubLocation("a/b").pinned
