"""Suites on a Ray cluster of two nodes, on this machine: the same records, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext

import pytest
from helpers.suites import BOARD, NAMES, artifacts, collect_board, suite_file
from tipl_bench.benchmark.suites import ray_engine
from tipl_bench.benchmark.suites.engines import build_engine
from tipl_bench.benchmark.suites.ray_engine import RayEngine, here, perform_away, receive, write_files
from tipl_bench.benchmark.suites.run import run_suite
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.errors import DatasetError, OptionError, TiplBenchError, UnknownNameError


@pytest.fixture
def board(store, tmp_path):
    """The suite's dataset, in this process's store alone."""
    return collect_board(tmp_path)


@pytest.fixture
def cluster(tmp_path):
    """Two nodes of one core, each with a store of its own."""
    import ray
    from ray.cluster_utils import Cluster

    def node(name):
        return {"num_cpus": 1, "env_vars": {"TIPL_BENCH_HOME": str(tmp_path / name), "OMP_NUM_THREADS": "1"}}

    found = Cluster(initialize_head=True, head_node_args={**node("first"), "include_dashboard": False})
    found.second = found.add_node(**node("second"))
    yield found
    ray.shutdown()
    found.shutdown()


def workers():
    """Process ids of workers that are at a task."""
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if "ray::perform_away" in line]


def soon(act):
    """Do something as soon as a worker is at a task."""

    def wait():
        while not workers():
            time.sleep(0.05)
        time.sleep(0.5)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["nothing", "a worker", "a node"])
def test_a_cluster_gives_what_this_machine_gives(board, cluster, tmp_path, lost):
    path = suite_file(tmp_path)
    act = {
        "nothing": lambda: None,
        "a worker": lambda: os.kill(workers()[0], signal.SIGKILL),
        "a node": lambda: cluster.remove_node(cluster.second, allow_graceful=False),
    }[lost]
    acting = soon(act)
    words = []
    status = run_suite(
        path, tmp_path / "there", engine=RayEngine(cluster.address), progress=lambda *said: words.append(said[3])
    )
    acting.join()
    assert {word.partition(":")[0] for word in words if ": " in word} == {*NAMES}, "every task told of its progress"
    assert {*status.counts()} == {"finished"}, [one.reason for one in status.states.values()]
    run_suite(path, tmp_path / "here")
    assert artifacts(tmp_path / "there") == artifacts(tmp_path / "here")
    assert len([*(tmp_path / "there").rglob("record.json")]) == len(NAMES)
    received = [tmp_path / node / "datasets" / BOARD for node in ("first", "second")]
    assert {Dataset.open(folder).digest for folder in received if folder.exists()} == {board.digest}


@pytest.mark.slow
def test_what_fails_on_a_cluster_is_recorded(board, cluster, tmp_path):
    path = suite_file(tmp_path, "file.py:Missing")
    (tmp_path / "file.py").write_text(
        "from tipl_bench.baselines.linear import Linear\n"
        "class Missing(Linear):\n"
        "    name = 'missing'\n"
        "    def predict(self, contexts, horizon):\n"
        "        raise ValueError('not here')\n"
    )
    path.write_text(path.read_text().replace("file.py", str(tmp_path / "file.py")))
    status = run_suite(path, tmp_path / "there", only=["*Missing*"], engine=RayEngine(cluster.address))
    (failed,) = status.pending()
    state = status.states[failed.name]
    assert state.state == "failed"
    assert "not here" in state.reason


def test_versions_that_differ_are_refused_and_named():
    versions = here() | {"numpy": "1.0"}
    files, error = perform_away({"kind": "run"}, versions, {}, {})
    assert files == {}
    assert f"numpy {here()['numpy']} there, 1.0 here" in error


def test_what_arrives_is_verified(board, tmp_path, monkeypatch):
    import ray

    files = {path.relative_to(board.folder).as_posix(): path for path in board.folder.rglob("*") if path.is_file()}
    sent = {place: path.read_bytes() for place, path in files.items()}
    monkeypatch.setattr(ray, "get", lambda reference: reference)
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "node"))
    receive(BOARD, board.digest, sent)
    assert Dataset.open(dataset_folder(BOARD)).digest == board.digest
    receive(BOARD, board.digest, {})  # it is there
    with pytest.raises(DatasetError, match="is another"):
        receive(BOARD, "0" * 64, {})
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "other node"))
    place = next(one for one in sent if one.endswith("trial-0000.safetensors"))
    damaged = {**sent, place: sent[place][:-1] + bytes([sent[place][-1] ^ 1])}
    with pytest.raises(DatasetError, match="trial-0000"):
        receive(BOARD, board.digest, damaged)
    assert not dataset_folder(BOARD).exists()


def test_a_run_without_its_record_is_not_whole(tmp_path):
    """What is written last says that the rest is there."""
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_engine, "replace_atomically", lambda path: written.append(path.name) or nullcontext(path))
        write_files({"record.json": b"{}", "forecasts.safetensors": b"", "windows.parquet": b""}, tmp_path)
    assert written[-1] == "record.json"
    assert len(written) == 3


def test_an_engine_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(UnknownNameError, match="Unknown engine 'raay'"):
        build_engine("raay")
    with pytest.raises(OptionError, match="jobs is the local engine's"):
        build_engine("ray", jobs=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TiplBenchError, match=r"pip install 'tipl-bench\[ray\]'"):
        build_engine("ray")


@pytest.mark.slow
def test_an_address_that_nobody_answers_is_named():
    with pytest.raises(TiplBenchError, match=r"No Ray cluster answers at 127\.0\.0\.1:1"):
        ray_engine.RayEngine("127.0.0.1:1")
