"""Datasets that are damaged or hostile: each is refused by file and check, and nothing is changed or deleted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.small_collections import contents, edit_manifest, safetensors_bytes, split_file
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.manifest import MANIFEST_LIMIT
from tipl_bench.utils.errors import DatasetError

SHARD = "trials/trial-0001.safetensors"
MANIFEST = "manifest.json"


def refused(work, folder, *said):
    """`work` raises a DatasetError that says all of `said`, and leaves the folder as it was."""
    before = contents(folder)
    with pytest.raises(DatasetError) as caught:
        work()
    message = str(caught.value)
    for part in said:
        assert part in message
    assert len(message) < 2000
    assert contents(folder) == before


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def swap(folder):
    first, second = folder / SHARD, folder / "trials/trial-0002.safetensors"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def flip(path, position, bit=1):
    def change(content):
        content = bytearray(content)
        content[position] ^= bit
        return bytes(content)

    rewrite(path, change)


def missing(folder):
    (folder / SHARD).unlink()


def a_folder_in_its_place(folder):
    missing(folder)
    (folder / SHARD).mkdir()


def a_dangling_link_in_its_place(folder):
    missing(folder)
    (folder / SHARD).symlink_to(folder / "nowhere")


def sparse(path, size):
    path.unlink()
    path.touch()
    os.truncate(path, size)


FILES_THAT_DO_NOT_OPEN = {
    "truncated": (lambda f: rewrite(f / SHARD, lambda b: b[:-1]), "truncated or was replaced"),
    "cut in its header": (lambda f: rewrite(f / SHARD, lambda b: b[:20]), "truncated or was replaced"),
    "empty": (lambda f: rewrite(f / SHARD, lambda b: b""), "0 bytes where the manifest says"),
    "longer": (lambda f: rewrite(f / SHARD, lambda b: b + b"\0"), "truncated or was replaced"),
    "huge": (lambda f: sparse(f / SHARD, 1 << 40), f"{1 << 40} bytes where the manifest says"),
    "missing": (missing, "missing"),
    "a folder": (a_folder_in_its_place, "missing"),
    "a dangling link": (a_dangling_link_in_its_place, "missing"),
}


@pytest.mark.parametrize("what", FILES_THAT_DO_NOT_OPEN)
def test_when_a_shard_has_not_its_size_then_open_names_the_file(dataset, what):
    damage, said = FILES_THAT_DO_NOT_OPEN[what]
    damage(dataset.folder)
    if what == "huge":
        with pytest.raises(DatasetError) as caught:
            Dataset.open(dataset.folder)
        assert SHARD in str(caught.value)
        assert said in str(caught.value)
        assert (dataset.folder / SHARD).stat().st_size == 1 << 40
    else:
        refused(lambda: Dataset.open(dataset.folder), dataset.folder, SHARD, said, "again")


@pytest.mark.parametrize("what", [what for what in FILES_THAT_DO_NOT_OPEN if what != "huge"])
def test_when_a_shard_changes_after_opening_then_verify_names_the_file(dataset, what):
    damage, said = FILES_THAT_DO_NOT_OPEN[what]
    damage(dataset.folder)
    refused(dataset.verify, dataset.folder, SHARD, said)


def edit_header(old, new):
    """Replace text in the shard's header by text of the same length."""
    assert len(old) == len(new)

    def damage(folder):
        header, body = split_file(folder / SHARD)
        assert old in header
        rewrite(folder / SHARD, lambda content: content[:8] + header.replace(old, new, 1) + body)

    return damage


def replace_header(text):
    """Put other text in the place of the whole header, padded to its length."""

    def damage(folder):
        header, body = split_file(folder / SHARD)
        rewrite(folder / SHARD, lambda content: content[:8] + text.ljust(len(header)) + body)

    return damage


def whole_file(build):
    """Replace the shard by other content of its size."""
    return lambda folder: rewrite(
        folder / SHARD, lambda content: build(content).ljust(len(content), b"\0")[: len(content)]
    )


BYTES_THAT_DO_NOT_VERIFY = {
    "two shards swapped": (swap, "tensor 'weights'", "sha256"),
    "first byte of the weights": (lambda f: flip(f / SHARD, 8 + len(split_file(f / SHARD)[0])), "tensor 'weights'"),
    "last byte of the file": (lambda f: flip(f / SHARD, -1, 128), "tensor 'episodic_return'"),
    "a byte of the epochs": (lambda f: flip(f / SHARD, -8 * 21 - 3), "tensor 'epoch'"),
    "a header that says the same in other bytes": (
        edit_header(b'"dtype":"F32","shape":[21,46]', b'"shape":[21,46],"dtype":"F32"'),
        "tensors are intact but its header",
    ),
    "a colon lost": (edit_header(b'"weights":', b'"weights" '), "header is not JSON"),
    "a tensor renamed": (edit_header(b'"weights"', b'"weightz"'), "weights", "weightz"),
    "a shape transposed": (edit_header(b"[21,46]", b"[46,21]"), "weights"),
    "a dtype changed": (edit_header(b"I64", b"F64"), "environment_steps"),
    "offsets moved by a row": (edit_header(b"[0,3864]", b"[8,3872]"), "weights"),
    "offsets renamed": (edit_header(b"data_offsets", b"data_offsetz"), "weights"),
    "offsets of text": (edit_header(b"[0,3864]", b'["0",64]'), "weights"),
    "offsets before the data": (edit_header(b"[0,3864]", b"[-9,385]"), "weights"),
    "an empty header": (replace_header(b"{}"),),
    "a header that is a list": (replace_header(b"[]"), "not a JSON object"),
    "a header that is not JSON": (replace_header(b"not json"), "not JSON"),
    "a header of nonsense entries": (replace_header(b'{"weights":3}'), "header"),
    "a number of 5000 digits": (
        whole_file(lambda content: safetensors_bytes(b'{"weights":' + b"9" * 5000 + b"}")),
        "header",
    ),
    "a header length bomb": (whole_file(lambda content: (2**62).to_bytes(8, "little")), str(2**62)),
    "zeros": (whole_file(lambda content: b""), "header"),
}


@pytest.mark.parametrize("what", BYTES_THAT_DO_NOT_VERIFY)
def test_when_bytes_of_a_shard_were_changed_then_verify_names_the_file_and_the_check(dataset, what):
    damage, *said = BYTES_THAT_DO_NOT_VERIFY[what]
    digest = contents(dataset.folder)[SHARD]
    damage(dataset.folder)
    assert contents(dataset.folder)[SHARD] != digest
    refused(Dataset.open(dataset.folder).verify, dataset.folder, SHARD, *said)


def test_whatever_byte_of_a_shard_is_flipped_verify_finds_it(dataset):
    size = (dataset.folder / SHARD).stat().st_size
    for position in range(0, size, 149):
        flip(dataset.folder / SHARD, position, 1 << position % 8)
        with pytest.raises(DatasetError, match=r"trial-0001\.safetensors"):
            dataset.verify()
        flip(dataset.folder / SHARD, position, 1 << position % 8)
    dataset.verify()


@pytest.mark.parametrize("what", ["a header length bomb", "a header that is not JSON", "zeros", "offsets of text"])
def test_when_a_header_is_unusable_then_reading_the_trial_names_the_file(dataset, what):
    damage, *_ = BYTES_THAT_DO_NOT_VERIFY[what]
    damage(dataset.folder)
    refused(lambda: Dataset.open(dataset.folder).trial(1).weights(), dataset.folder, SHARD)


MANIFESTS_THAT_DO_NOT_OPEN = {
    "missing": (lambda f: (f / MANIFEST).unlink(), "no manifest.json; this folder is not a trajectory dataset"),
    "a folder": (lambda f: ((f / MANIFEST).unlink(), (f / MANIFEST).mkdir()), "not a readable manifest"),
    "empty": (lambda f: rewrite(f / MANIFEST, lambda b: b""), "not a readable manifest"),
    "cut short": (lambda f: rewrite(f / MANIFEST, lambda b: b[:-3]), "not a readable manifest"),
    "not JSON": (lambda f: rewrite(f / MANIFEST, lambda b: b"PK\3\4"), "not a readable manifest"),
    "not UTF-8": (
        lambda f: rewrite(f / MANIFEST, lambda b: b.replace(b"MIT", b"\xff\xfe\xfd")),
        "not a readable manifest",
    ),
    "a list": (lambda f: rewrite(f / MANIFEST, lambda b: b"[]"), "field manifest"),
    "nested too deeply": (lambda f: rewrite(f / MANIFEST, lambda b: b"[" * 200_000), "nested too deeply"),
    "a repeated key": (lambda f: rewrite(f / MANIFEST, lambda b: b'{"format":1,' + b[1:]), "repeats a key"),
    "other tensors than the format's": (
        lambda f: edit_manifest(f, lambda m: m["trials"][1]["tensors"].pop("epoch")),
        "trial 1 (trials/trial-0001.safetensors) does not have the tensors of the format for T = 21, P = 46: epoch",
    ),
    "another number of checkpoints": (
        lambda f: edit_manifest(f, lambda m: m.update(checkpoints=20)),
        "trial 0 (trials/trial-0000.safetensors) does not have the tensors of the format for T = 20",
    ),
    "a tensor of another shape": (
        lambda f: edit_manifest(f, lambda m: m["trials"][1]["tensors"]["weights"].update(shape=[46, 21])),
        "P = 46: weights",
    ),
    "a path out of the folder": (
        lambda f: edit_manifest(f, lambda m: m["trials"][1].update(path="../outside.safetensors")),
        "'../outside.safetensors' is not a plain relative path",
    ),
    "an absolute path": (
        lambda f: edit_manifest(f, lambda m: m["trials"][1].update(path="/etc/hostname")),
        "'/etc/hostname' is not a plain relative path",
    ),
    "a path with a NUL": (
        lambda f: edit_manifest(f, lambda m: m["trials"][1].update(path="trials/\0")),
        "not a plain relative path",
    ),
    "a path that is too long": (
        lambda f: edit_manifest(f, lambda m: m["trials"][1].update(path="a" * 5000)),
        "",
    ),
}


@pytest.mark.parametrize("what", MANIFESTS_THAT_DO_NOT_OPEN)
def test_when_the_manifest_is_damaged_then_open_says_where_and_how(dataset, what):
    shutil.copy(dataset.folder / SHARD, dataset.folder.parent / "outside.safetensors")
    damage, said = MANIFESTS_THAT_DO_NOT_OPEN[what]
    damage(dataset.folder)
    before = contents(dataset.folder)
    with pytest.raises(DatasetError) as caught:
        Dataset.open(dataset.folder)
    assert str(dataset.folder) in str(caught.value)
    assert said in str(caught.value)
    assert contents(dataset.folder) == before


def test_when_the_manifest_is_oversized_then_it_is_not_read(dataset):
    sparse(dataset.folder / MANIFEST, MANIFEST_LIMIT + 1)
    with pytest.raises(DatasetError, match=rf"manifest\.json: larger than {MANIFEST_LIMIT} bytes"):
        Dataset.open(dataset.folder)


def test_when_the_folder_is_not_there_then_open_says_so(tmp_path):
    with pytest.raises(DatasetError, match=r"absent: no manifest\.json"):
        Dataset.open(tmp_path / "absent")


def test_when_the_manifest_was_edited_then_the_pinned_digest_does_not_fit(dataset):
    pinned = dataset.identity
    assert Dataset.open(dataset.folder, identity=pinned).identity == pinned
    edit_manifest(dataset.folder, lambda m: m["collection"]["hyperparameters"].update(learning_rate=1e-3))
    changed = Dataset.open(dataset.folder).identity
    refused(
        lambda: Dataset.open(dataset.folder, identity=pinned), dataset.folder,
        str(dataset.folder), f"digest {changed}", f"pins {pinned}", "edited",
    )  # fmt: skip


def test_when_shard_and_manifest_were_edited_together_then_only_the_pinned_digest_tells(dataset):
    pinned, path = dataset.identity, dataset.folder / SHARD
    header, _body = split_file(path)
    flip(path, 8 + len(header))
    weights = json.loads(header)["weights"]["data_offsets"]
    changed = path.read_bytes()

    def hide(manifest):
        entry = manifest["trials"][1]
        start = 8 + len(header)
        entry["sha256"] = hashlib.sha256(changed).hexdigest()
        entry["tensors"]["weights"]["sha256"] = hashlib.sha256(changed[start:][slice(*weights)]).hexdigest()

    edit_manifest(dataset.folder, hide)
    Dataset.open(dataset.folder).verify()
    with pytest.raises(DatasetError, match="pins"):
        Dataset.open(dataset.folder, identity=pinned)


def test_files_that_the_manifest_does_not_list_are_left_alone(dataset):
    stray: Path = dataset.folder / "notes.txt"
    stray.write_text("mine")
    Dataset.open(dataset.folder).verify()
    assert stray.read_text() == "mine"
