"""Datasets by name: bundled, catalogued, one's own, by path, and names that nobody knows."""

from __future__ import annotations

import shutil

import pytest
from helpers.small_collections import TINY, contents, edit_manifest
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.registry.catalog import catalog, default_dataset, find_derived
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import own_catalog
from tipl_bench.registry.reference import is_name
from tipl_bench.registry.store import dataset_folder, local_names
from tipl_bench.utils.errors import DatasetError, UnknownNameError


@pytest.fixture
def pinned(stored):
    """The stored dataset, with its digest in the person's own catalog."""
    entry = f'environment = "InvertedPendulum-v4"\nsummary = "a tiny one"\ndigest = "{stored.digest}"\n'
    own_catalog().write_text(f'["{TINY}"]\n{entry}')
    return stored


def test_the_default_of_inverted_pendulum_is_bundled_whole_and_as_pinned():
    name = default_dataset("InvertedPendulum-v4")
    dataset = load_dataset(name, download=False)
    assert dataset.digest == catalog()[name].digest
    assert (len(dataset), dataset.manifest.checkpoints, dataset.layout.parameter_count) == (50, 401, 122)
    dataset.verify()
    listed = {entry.path for entry in dataset.contents()}
    derived = {f"derived/p{version}/derived.json" for version in PROTOCOLS}
    assert contents(dataset.folder).keys() == {*listed, *derived, "manifest.json"}
    pinned = {f"p{version}": find_derived(dataset, version).manifest.sha256 for version in PROTOCOLS}
    assert pinned == catalog()[name].derived


def test_every_catalogued_name_is_a_name_and_every_bundled_one_opens():
    for name, entry in catalog().items():
        assert is_name(name)
        if entry.bundled:
            dataset = load_dataset(name, download=False)
            assert (dataset.name, dataset.environment) == (name, entry.environment)


def test_an_environment_has_at_most_one_default():
    defaults = [entry.environment for entry in catalog().values() if entry.default]
    assert len(defaults) == len(set(defaults))


def test_an_environment_without_a_default_answers_with_those_that_have_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'Hopper-v4'"):
        default_dataset("Hopper-v5")
    with pytest.raises(UnknownNameError, match=r"'InvertedPendulum'\. Did you mean 'InvertedPendulum-v4'\? Known: "):
        default_dataset("InvertedPendulum")  # of two that are as near, that whose dataset is bundled


def test_an_environment_that_only_gymnasium_has_answers_with_how_to_collect_a_dataset(smooth):
    with pytest.raises(UnknownNameError, match=r"collect hopper-v5/ppo-v1 --config FILE.*Hopper-v5"):
        default_dataset("Hopper-v5")
    with pytest.raises(UnknownNameError, match=r"collect pendulum/ppo-v1 --config FILE.*Pendulum-v1"):
        default_dataset("Pendulum-v1")
    with pytest.raises(UnknownNameError, match=r"`environment = \"Ant-v4\"`.*docs/hub\.md"):
        default_dataset("Ant-v4")
    with pytest.raises(UnknownNameError) as caught:
        default_dataset("Nowhere-v4")
    assert "collect" not in str(caught.value)
    mine = dataset_folder("ant/mine-v1")
    mine.mkdir(parents=True)
    smooth.manifest.model_copy(update={"environment": "Ant-v4"}).write(mine)
    with pytest.raises(UnknownNameError, match=r"name one \(`dataset=`\): ant/mine-v1"):
        default_dataset("Ant-v4")


def test_a_dataset_of_ones_own_is_opened_by_its_name(stored):
    assert load_dataset(TINY, download=False).digest == stored.digest


def test_a_dataset_is_opened_by_the_path_of_its_folder(dataset, monkeypatch):
    assert load_dataset(str(dataset.folder), download=False).digest == dataset.digest
    monkeypatch.setenv("HOME", str(dataset.folder.parent))
    assert load_dataset("~/dataset", download=False).digest == dataset.digest


def test_a_catalogued_dataset_must_have_the_catalogs_digest(pinned):
    assert load_dataset(TINY, download=False).digest == pinned.digest
    edit_manifest(pinned.folder, lambda m: m.update(cpu="another"))
    before = contents(pinned.folder)
    with pytest.raises(DatasetError, match="the catalog pins") as caught:
        load_dataset(TINY, download=False)
    assert str(pinned.folder) in str(caught.value)
    assert contents(pinned.folder) == before
    assert load_dataset(str(pinned.folder), download=False).manifest.cpu == "another", (
        "by its path it can still be used"
    )


def test_when_a_catalogued_dataset_is_not_here_then_the_error_tells_how_to_get_it(pinned):
    shutil.rmtree(pinned.folder)
    with pytest.raises(DatasetError, match="is not on this machine") as caught:
        load_dataset(TINY, download=False)
    assert f"tipl-bench datasets collect {TINY}" in str(caught.value)
    assert str(pinned.folder) in str(caught.value)


def test_an_unknown_name_suggests_the_nearest_known_one(stored):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{TINY}'") as caught:
        load_dataset("inverted-pendulum/tiny-v2", download=False)
    assert set(caught.value.choices) == {*catalog(), TINY}


def test_a_folder_that_is_no_dataset_is_named_as_such(tmp_path):
    with pytest.raises(DatasetError, match=r"no manifest\.json; this folder is not a trajectory dataset"):
        load_dataset(str(tmp_path), download=False)


@pytest.mark.parametrize("text", ["./nothing", "../nothing/here", "/nothing-at-all", "~/nothing-at-all"])
def test_a_path_where_nothing_is_is_no_unknown_name(text, stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=f"^{text}: no such folder"):
        load_dataset(text, download=False)


@pytest.mark.parametrize(
    "name",
    ["", "nonsense", "a/b/c/d", "a\0b", "x" * 5000, "~no-such-user-here/ppo-v1", f"{TINY}\n", f"{TINY}/", "../" + TINY],
    ids=lambda name: repr(name[:20]),
)
def test_any_text_that_is_no_dataset_gets_an_error_to_act_on(name, stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DatasetError, UnknownNameError)):
        load_dataset(name, download=False)


def test_a_dataset_under_another_datasets_name_is_refused(stored):
    """Whoever asks for a name must not get the results of another."""
    wrong = "half-cheetah/tiny-v1"
    shutil.copytree(stored.folder, dataset_folder(wrong))
    with pytest.raises(DatasetError, match=TINY):
        load_dataset(wrong, download=False)


def test_local_names_are_those_of_finished_datasets(stored):
    other = "half-cheetah/ppo-v2"
    shutil.copytree(stored.folder, dataset_folder(other))
    dataset_folder("half-cheetah/empty-v1").mkdir()
    assert local_names() == [other, TINY]


def test_what_an_interrupted_cut_left_is_not_listed_as_a_dataset(stored):
    # `truncate` builds beside its target and renames at last; killed before that, this is what stands there.
    shutil.copytree(stored.folder, stored.folder.with_name(".head-v1.partial"))
    assert local_names() == [TINY]


def test_an_empty_store_has_no_datasets(store):
    assert local_names() == []
    assert not store.exists(), "looking must not create anything"
