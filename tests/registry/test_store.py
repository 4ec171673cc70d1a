"""The local store: where it is, and its locks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.store import dataset_folder, exclusive, staging_folder
from tipl_bench.utils.errors import DatasetError


def test_the_store_stands_where_the_variable_says(store):
    assert cache_root() == store
    assert dataset_folder("a/b-v1") == store / "datasets/a/b-v1"
    assert staging_folder("a/b-v1") == store / "collecting/a/b-v1"


def test_a_tilde_in_the_variable_is_the_persons_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TIPL_BENCH_HOME", "~/trajectories")
    assert cache_root() == tmp_path / "trajectories"


@pytest.mark.parametrize("unset", [True, False], ids=["unset", "empty"])
def test_without_the_variable_the_store_is_in_the_cache_folder(monkeypatch, tmp_path, unset):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TIPL_BENCH_HOME") if unset else monkeypatch.setenv("TIPL_BENCH_HOME", "")
    assert cache_root().name == "tipl-bench"
    assert cache_root().is_absolute()


def test_a_lock_turns_others_away_until_it_is_released(store):
    with exclusive("a/b-v1"):
        with (
            pytest.raises(DatasetError, match=r"Another process is working on a/b-v1 .*TIPL_BENCH_HOME"),
            exclusive("a/b-v1"),
        ):
            pass
        with exclusive("a/c-v1"):
            pass
    with exclusive("a/b-v1"):
        pass


def test_a_lock_is_released_when_the_work_fails(store):
    with pytest.raises(ZeroDivisionError), exclusive("a/b-v1"):
        raise ZeroDivisionError
    with exclusive("a/b-v1"):
        pass


def test_a_lock_leaves_no_file_and_others_that_waited_for_it_exclude_each_other(store):
    inside, most = [], []

    def work() -> None:
        with exclusive("a/b-v1", wait=True):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(16)]:
            done.result()
    assert most == [1] * 16
    assert list((store / "locks").iterdir()) == []
