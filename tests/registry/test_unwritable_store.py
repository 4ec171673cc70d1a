"""A store that cannot be written: read-only, somebody else's, not there; and one that a team shares."""

from __future__ import annotations

import os
import shutil
import stat
import warnings
from pathlib import Path

import pytest
from helpers.small_collections import TINY, silent, tiny_config
from helpers.users import NOBODY, another_user, public_store, read_only, unprivileged
from tipl_bench.registry.catalog import catalog
from tipl_bench.registry.collection.collect import collect
from tipl_bench.registry.loading import download_dataset, load_dataset
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.reference import DatasetRef, HubLocation
from tipl_bench.registry.store import (
    CacheWarning,
    dataset_folder,
    exclusive,
    known_revisions,
    local_names,
    optional_write,
    remember_revision,
    repo_folder,
    warn_of_cache,
)
from tipl_bench.utils.errors import DatasetError

__all__ = ["public_store"]

UNWRITABLE = r"^The store .* cannot be written \(.*\); nothing was done. Set TIPL_BENCH_HOME to a folder that you can"
COMMIT = "0123456789" * 4


@pytest.fixture(params=["below a file", "below a folder that may not be searched", "without a home"])
def unusable_store(request, store, monkeypatch, tmp_path):
    """A store that can neither be read nor written."""
    if request.param == "below a file":
        tmp_path.joinpath("file").touch()
        monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "file" / "store"))
        yield
    elif request.param == "without a home":
        monkeypatch.delenv("TIPL_BENCH_HOME")
        monkeypatch.delenv("HOME")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("no such user")))
        yield
    else:
        store.mkdir()
        store.chmod(0)
        with unprivileged():
            yield
        store.chmod(0o755)


def test_in_an_unusable_store_nothing_is_found_and_what_comes_with_the_package_is_there(unusable_store):
    assert local_names() == []
    assert known_revisions("owner/name") == {}
    assert "inverted-pendulum/ppo-head-v1" in catalog()
    assert len(load_dataset("inverted-pendulum/ppo-head-v1")) == 50


def test_what_needs_an_unusable_store_fails_at_once_in_one_sentence(unusable_store):
    stages: list[str] = []
    with pytest.raises(DatasetError, match=UNWRITABLE):
        collect(TINY, tiny_config(), threads=1, progress=lambda stage, *_: stages.append(stage))
    assert stages == []
    with pytest.raises(DatasetError, match=UNWRITABLE):  # before the Hub is asked: there is none here
        download_dataset(DatasetRef(location=HubLocation("owner/name", COMMIT)))


def test_work_that_writes_elsewhere_goes_on_without_the_stores_lock(unusable_store):
    with exclusive("a/b-v1", required=False):
        done = True
    assert done


def test_a_cache_that_cannot_be_written_is_one_warning_that_names_the_variable(unusable_store):
    warn_of_cache.cache_clear()  # another test of this process may have met the same store
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(3):
            with optional_write("indices are built again"):
                (cache_root() / "references").mkdir(parents=True)
    assert {one.category for one in seen} == {CacheWarning}
    (message,) = (str(one.message) for one in seen)
    assert message.startswith(f"The cache in {cache_root()} cannot be written (")
    assert "): indices are built again. Set" in message
    assert message.endswith("Set TIPL_BENCH_HOME to a folder that you can write.")


def test_without_a_home_nothing_is_written_into_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TIPL_BENCH_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("no such user")))
    with pytest.raises(DatasetError, match=UNWRITABLE), exclusive("a/b-v1"):
        pass
    assert list(Path.cwd().iterdir()) == []


def test_a_variable_that_names_the_home_of_nobody_is_refused(monkeypatch):
    monkeypatch.setenv("TIPL_BENCH_HOME", "~nobody-of-this-name/store")
    with pytest.raises(DatasetError, match=r"^TIPL_BENCH_HOME=~nobody-of-this-name/store: .* Give an absolute path"):
        cache_root()


def test_a_read_only_store_serves_the_datasets_and_revisions_that_it_holds(public_store, collected):
    shutil.copytree(collected.folder, dataset_folder(TINY))
    repo_folder("owner/name").mkdir(parents=True)
    remember_revision(HubLocation("owner/name", "v1"), COMMIT)
    load_dataset(TINY).verify()
    with read_only(public_store), unprivileged():
        assert local_names() == [TINY]
        assert known_revisions("owner/name") == {"v1": COMMIT}
        load_dataset(TINY).verify()
        with pytest.raises(DatasetError, match=UNWRITABLE):
            collect(TINY, tiny_config(), threads=1, progress=silent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two members of a team")
def test_what_one_of_a_team_wrote_the_others_can_write(public_store):
    before = os.umask(0o002)
    try:
        public_store.mkdir()
        os.chown(public_store, 0, NOBODY)
        public_store.chmod(0o2775)
        with exclusive("a/b-v1"):
            repo_folder("owner/name").mkdir(parents=True)
            remember_revision(HubLocation("owner/name", "v1"), COMMIT)
        for path in public_store.rglob("*"):
            assert path.is_dir() or stat.S_IMODE(path.stat().st_mode) == 0o664, path
        with another_user():
            with exclusive("a/b-v1"):
                remember_revision(HubLocation("owner/name", "v2"), COMMIT)
            with exclusive("a/c-v1"):
                pass
    finally:
        os.umask(before)
    assert known_revisions("owner/name").keys() == {"v1", "v2"}
