"""Datasets of format 1: read as they are, and migrated by the script; the one here was collected before format 2."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tomllib
from pathlib import Path

import pytest
from helpers.hub_commands import published
from helpers.small_collections import contents, untouched
from tipl_bench.benchmark.forecast.reference_returns import derive_reference_returns, reference_returns
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import DatasetIdentity
from tipl_bench.benchmark.request import is_identified
from tipl_bench.registry.catalog import CatalogEntry, complete_identity, entry_lines, find_derived, identity_of
from tipl_bench.registry.collection.collect import truncate
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import own_catalog
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.errors import DatasetError

NAME, SIDECAR = "my-pendulum/old-v1", "reference-returns-p1.safetensors"
OLD_DIGEST = "8260d35c868984e6a4a210699bc8ac00bd44dace9c9762932c3fbbe75e6b5b2d"
FOLDER = Path(__file__).with_name("format_1")
SCRIPT = Path(__file__).parents[2] / "scripts" / "migrate_datasets.py"
BUNDLED = "inverted-pendulum/ppo-head-v1"


@pytest.fixture
def old() -> Dataset:
    """A copy of the dataset in the store."""
    return Dataset.open(shutil.copytree(FOLDER, dataset_folder(NAME)))


@pytest.fixture
def migrate(capsys):
    """Run the script on a folder; what it prints."""
    specification = importlib.util.spec_from_file_location("migrate_datasets", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)

    def run(folder, code=0):
        assert script.main([str(folder)]) == code
        out, err = capsys.readouterr()
        return err if code else out

    return run


def catalogue(**fields):
    """Pin the dataset in this machine's own catalog."""
    entry = {"environment": "InvertedPendulum-v4", "summary": "a test's", **fields}
    own_catalog().write_text(entry_lines(NAME, CatalogEntry.model_validate(entry)))


def test_a_dataset_of_format_1_keeps_its_digest_beside_that_of_format_2(old):
    assert old.former_digest == OLD_DIGEST
    assert old.digest not in (OLD_DIGEST, None)
    assert old.matches(OLD_DIGEST)
    assert old.matches(old.digest)
    assert not old.matches("0" * 64)
    assert identity_of(old).first_digest == OLD_DIGEST


def test_its_sidecar_serves_as_what_protocol_1_derived(old, store):
    calls = []
    reference_returns(old, PROTOCOLS[1], lambda stage, done, total, word: calls.append(done))
    derive_reference_returns(old, PROTOCOLS[1], lambda stage, done, total, word: calls.append(done))
    assert calls == []
    assert contents(old.folder) == contents(FOLDER)


def test_migrating_moves_the_sidecar_and_changes_no_other_byte(migrate, old):
    report = migrate(old.folder)
    before, after = contents(FOLDER), contents(old.folder)
    assert after.pop(f"derived/p1/{SIDECAR}") == before.pop(SIDECAR)
    assert {path for path in after if after[path] != before.get(path)} == {"manifest.json", "derived/p1/derived.json"}
    assert after.keys() - before.keys() == {"derived/p1/derived.json"}
    stated, former = (json.loads((folder / "manifest.json").read_text()) for folder in (old.folder, FOLDER))
    assert former.pop("sidecars")
    assert stated == former | {"format": 2, "extends": None}
    assert old.digest in report
    assert OLD_DIGEST in report


def test_a_migrated_dataset_has_the_same_digests_and_is_found_by_either(migrate, old):
    (entry,) = tomllib.loads(migrate(old.folder).partition("\n\n")[2]).values()
    new = load_dataset(NAME)
    assert new.manifest.format == 2
    assert (new.digest, new.former_digest) == (old.digest, OLD_DIGEST)
    assert new.matches(OLD_DIGEST)
    assert entry["digest"] == old.digest
    assert entry["former_digest"] == OLD_DIGEST
    assert entry["derived"] == {"p1": find_derived(new, 1).manifest.sha256}
    CatalogEntry.model_validate(entry)


def test_derived_data_are_the_same_before_and_after_for_the_catalog(migrate, old):
    before = find_derived(old, 1).manifest.sha256
    migrate(old.folder)
    assert find_derived(Dataset.open(old.folder), 1).manifest.sha256 == before


@pytest.mark.parametrize("migrated", [False, True])
@pytest.mark.parametrize("pinned", ["format 1", "format 2", "both"])
def test_a_catalogued_dataset_opens_by_whichever_digest_the_catalog_knows(migrate, old, pinned, migrated):
    if migrated:
        migrate(old.folder)
    fields = {
        "format 1": {"digest": OLD_DIGEST, "digest_format": 1},
        "format 2": {"digest": old.digest},
        "both": {"digest": old.digest, "former_digest": OLD_DIGEST},
    }[pinned]
    catalogue(**fields)
    identity = identity_of(load_dataset(NAME))
    assert identity.digest == old.digest
    if pinned != "format 2" or not migrated:
        assert identity.former_digest == OLD_DIGEST


def test_when_only_the_format_1_digest_is_pinned_and_it_cannot_be_computed_then_both_sides_are_named(migrate, old):
    migrate(old.folder)
    catalogue(digest=OLD_DIGEST, digest_format=1)
    shutil.rmtree(old.folder / "derived")
    with pytest.raises(DatasetError) as caught:
        load_dataset(NAME)
    for text in (f"digest {old.digest}", f"pins {OLD_DIGEST} (format 1)", "derived/p1", "collect or download"):
        assert text in str(caught.value)


def test_derived_data_that_the_catalog_does_not_pin_are_refused(old):
    catalogue(digest=old.digest, former_digest=OLD_DIGEST, derived={"p1": "0" * 64})
    with pytest.raises(DatasetError, match=f"the catalog pins {'0' * 64} for protocol 1 on {NAME}"):
        reference_returns(load_dataset(NAME), PROTOCOLS[1])


def test_a_truncation_names_its_origin_alike_before_and_after_migration(migrate, old, tmp_path):
    catalogue(digest=old.digest, former_digest=OLD_DIGEST)
    before = truncate(old, "my-pendulum/short-v1", 30, tmp_path / "before")
    migrate(old.folder)
    after = truncate(load_dataset(NAME), "my-pendulum/short-v1", 30, tmp_path / "after")
    assert before.manifest.cut_from.digest == OLD_DIGEST
    assert contents(before.folder) == contents(after.folder)


def test_a_partial_folder_of_format_1_is_completed_from_a_published_format_2(migrate, old, hub, no_waiting, tmp_path):
    whole = Dataset.open(shutil.copytree(FOLDER, tmp_path / "whole"))
    migrate(whole.folder)
    location = published(Dataset.open(whole.folder))
    catalogue(digest=old.digest, former_digest=OLD_DIGEST, repo=location.repo, commit=location.revision)
    (old.folder / SIDECAR).unlink()
    (old.folder / "trials/trial-0001.safetensors").unlink()
    new = load_dataset(NAME)
    assert contents(new.folder) == contents(whole.folder)
    assert identity_of(new) == (old.digest, 2, OLD_DIGEST)
    new.verify()


def test_migrating_twice_changes_nothing(migrate, old):
    first = migrate(old.folder)
    before = untouched(old.folder)
    assert migrate(old.folder) == first
    assert untouched(old.folder) == before


@pytest.mark.parametrize("stage", ["copied", "manifest written"])
def test_an_interrupted_migration_goes_on(migrate, old, stage, tmp_path):
    whole = Dataset.open(shutil.copytree(FOLDER, tmp_path / "whole"))
    migrate(whole.folder)
    shutil.copytree(whole.folder / "derived", old.folder / "derived")
    if stage == "manifest written":
        shutil.copy(whole.folder / "manifest.json", old.folder / "manifest.json")
    migrate(old.folder)
    assert contents(old.folder) == contents(whole.folder)


@pytest.mark.parametrize("path", ["trials/trial-0001.safetensors", SIDECAR])
def test_a_damaged_dataset_is_not_migrated(migrate, old, path):
    content = bytearray((old.folder / path).read_bytes())
    content[-1] ^= 1
    (old.folder / path).write_bytes(content)
    before = untouched(old.folder)
    assert f"{path}: tensor" in migrate(old.folder, code=1)
    assert untouched(old.folder) == before


@pytest.mark.parametrize("upgraded", [True, False])
def test_a_record_that_names_the_old_digest_is_of_the_migrated_dataset(migrate, old, upgraded):
    """Even where no catalog knows the dataset."""
    former = {"digest": OLD_DIGEST, "digest_format": 1}
    digests = {"digest": old.digest, "former_digest": OLD_DIGEST} if upgraded else former
    stated = DatasetIdentity(name=NAME, environment=old.environment, **digests)
    migrate(old.folder)
    new = Dataset.open(old.folder)
    assert is_identified(new, stated)
    assert not is_identified(new, stated.model_copy(update={"name": "my-pendulum/other-v1"}))
    assert not is_identified(new, DatasetIdentity(name=NAME, environment=old.environment, digest="0" * 64))
    for digest, former_digest in ((new.digest, "0" * 64), ("0" * 64, OLD_DIGEST)):
        forged = {"digest": digest, "digest_format": 2, "former_digest": former_digest}
        assert not is_identified(new, stated.model_copy(update=forged)), "one digest of two is not enough"


def test_records_that_name_the_bundled_dataset_by_its_old_digest_get_both():
    identity = complete_identity(BUNDLED, "9b686edc86d7b37e102c78204a493a88a48db6389d2aaeef7641098bd386819c")
    assert identity == identity_of(load_dataset(BUNDLED))
    assert identity == complete_identity(BUNDLED, identity.digest)


def test_of_a_dataset_that_the_catalog_does_not_know_the_stated_digest_is_kept():
    assert complete_identity(NAME, OLD_DIGEST) == (OLD_DIGEST, 1, None)
    unmigrated = "1faf1a489a358229c184f9fa87db29563515187350657b2fc4f4de163958f1c3"
    assert complete_identity("inverted-pendulum/ppo-v1", unmigrated) == (unmigrated, 1, None)
    assert complete_identity(BUNDLED, "0" * 64) == ("0" * 64, 1, None)
