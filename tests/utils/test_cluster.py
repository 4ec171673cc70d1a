"""What nodes of a cluster do, without one: files that come back whole, work that goes on, versions that differ."""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.pieces_of_work import COUNTED, copy, count, fail, refuse
from tipl_bench.utils.engines import cluster, node
from tipl_bench.utils.engines.cluster import ClusterProcess, open_cluster
from tipl_bench.utils.engines.node import machine_versions, perform_away, relocate
from tipl_bench.utils.engines.work import Work, program_of
from tipl_bench.utils.errors import DatasetError, TiplBenchError, UnknownNameError

RESUMED = ("rows.partial", "count.snapshot")


class LostError(Exception):
    """As Ray's errors of workers and nodes."""


class TaskError(LostError):
    """As Ray's error of a function that raised."""


class InProcess:
    """What is used of Ray, in this process: an actor is its object, a method's result comes at once."""

    exceptions = SimpleNamespace(RayError=LostError, RayTaskError=TaskError)

    def __init__(self, alter=lambda part: part):
        self.alter, self.begun = alter, 0

    def remote(self, **options):
        return lambda kind: SimpleNamespace(remote=lambda: self._begin(kind()))

    def _begin(self, actor):
        self.begun += 1
        self.actor = actor
        return SimpleNamespace(
            begin=SimpleNamespace(remote=lambda *given: self._result(lambda: actor.begin(*given))),
            next_part=SimpleNamespace(remote=lambda: self._result(lambda: self._altered(actor.next_part()))),
        )

    def _altered(self, part):
        return self.alter(part) if isinstance(part, dict) else part

    def _result(self, call):
        future = Future()
        try:
            future.set_result(call())
        except LostError as error:
            future.set_exception(error)
        return SimpleNamespace(future=lambda: future)

    def put(self, found):
        return found

    def get(self, reference):
        return reference

    def kill(self, actor):
        self.actor._parts.close()


@pytest.fixture
def perform(monkeypatch):
    """Do a piece of work as a cluster does: how it failed, what it told, and the times that it was begun."""
    monkeypatch.setattr(node, "PROGRESS_SECONDS", 0.05)

    def do(work, alter=lambda part: part, prepare=None):
        ray = InProcess(alter)
        monkeypatch.setitem(sys.modules, "ray", ray)
        where = SimpleNamespace(ray=ray, cores=2, node_cores=1, put=Path.read_bytes)
        told = []
        with ClusterProcess(where, work, told.append, prepare) as process:
            failure = process.failure()
        assert told.pop() is None
        return failure, told, ray.begun

    return do


def counting(folder, **task):
    folder.mkdir()
    return Work(program_of(count), {"folder": str(folder), **task}, folder=folder, resumed_from=RESUMED, last="record")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_killed_work_goes_on_from_what_it_sent_and_its_files_come_whole(tmp_path, perform, monkeypatch):
    placed, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: placed.append(Path(to).name) or replace(path, to))
    failure, told, begun = perform(counting(tmp_path / "run", killed_at=3))
    assert (failure, begun) == (None, 2)
    assert told == [{"done": n} for n in range(1, COUNTED + 1)]
    assert names(tmp_path / "run") == ["empty", "record", "rows"]
    assert (tmp_path / "run" / "rows").read_text() == str(COUNTED)
    assert placed[-1] == "record", "it says that the others are there"
    assert [placed.index(name) for name in RESUMED] == [0, 1], "a snapshot is never ahead of the rows"


def test_files_too_large_to_resume_from_stay_there(tmp_path, perform, monkeypatch):
    monkeypatch.setattr(node, "RESUMABLE_BYTES", 0)
    monkeypatch.setattr(cluster, "RETRIES", 1)
    failure, told, begun = perform(counting(tmp_path / "run", killed_at=COUNTED))
    assert "was killed (SIGKILL)" in failure
    assert begun == 2
    assert told == [{"done": n} for n in range(1, COUNTED + 1)] * 2
    assert names(tmp_path / "run") == []


def test_files_that_arrive_damaged_are_sent_again(tmp_path, perform):
    damaged = []

    def alter(part):
        if part.get("name") == "record" and part["bytes"] and not damaged:
            damaged.append(part)
            return {**part, "bytes": part["bytes"][:-1] + b"?"}
        return part

    failure, _, begun = perform(counting(tmp_path / "run"), alter)
    assert (failure, begun) == (None, 2)
    assert (tmp_path / "run" / "record").read_text() == "counted"
    assert names(tmp_path / "run") == ["empty", "record", "rows"]


def test_a_lost_node_is_replaced_and_an_error_is_not(tmp_path, perform):
    failure, told, begun = perform(Work(program_of(fail), {}))
    assert failure == "ended early (ValueError: a mistake) on the cluster"
    assert (told, begun) == ([], 1)
    for error, expected in ((LostError("its node died"), 6), (TaskError("a mistake"), 1)):

        def lose(part, error=error):
            raise error

        work = counting(tmp_path / type(error).__name__)
        failure, told, begun = perform(work, lose)
        assert begun == expected
        assert str(error) in failure
        assert told == []


def test_inputs_are_read_where_they_were_sent_to(tmp_path, perform):
    """Whatever the names of their folders, one of which begins as another does."""
    place = tmp_path / 'runs "a"\\b' / "state.bin"
    place.parent.mkdir()
    place.write_bytes(b"state")
    (tmp_path / "runs").mkdir()
    task = {"folder": str(tmp_path / "runs"), "setting": f"rule.file={place}", "runs": str(place.parent)}
    work = Work(program_of(copy), task, folder=tmp_path / "runs", inputs=(place,))
    failure, [told], _ = perform(work)
    assert failure is None
    assert (tmp_path / "runs" / "copy").read_bytes() == b"state"
    assert told["read"].endswith(str(place))
    assert told["read"] != str(place)
    assert told["beside"] == ["state.bin"]
    assert relocate(Work("a:b", {"folder": "/x"}), tmp_path).task == {"folder": "/x"}


def test_versions_that_differ_are_refused_and_named():
    other = machine_versions() | {"numpy": "1.0", "cpu": "another"}
    [part] = perform_away(Work("a:b", {}), other, {}, {})
    [message] = part["messages"]
    assert f"numpy {machine_versions()['numpy']} there, 1.0 here" in message["error"]
    assert "another here" in message["error"]


def test_errors_name_paths_of_this_machine_and_scratch_folders_of_killed_workers_go(tmp_path, perform, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / ".tipl-bench-x.99999999.partial" / "trials").mkdir(parents=True)
    work = Work(program_of(refuse), {"folder": str(tmp_path / "run")}, folder=tmp_path / "run")
    assert perform(work) == (None, [{"error": f"{tmp_path / 'run'}/snapshot cannot be resumed"}], 1)
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


def test_work_on_a_cluster_that_this_process_is_cut_off_from_ends(monkeypatch):
    monkeypatch.setattr(cluster, "CHECK_SECONDS", 0.01)
    answers, told = [False, False, True], []
    actor = SimpleNamespace(begin=SimpleNamespace(remote=lambda *given: SimpleNamespace(future=Future)))
    ray = SimpleNamespace(
        exceptions=InProcess.exceptions,
        remote=lambda **options: lambda kind: SimpleNamespace(remote=lambda: actor),
        kill=lambda actor: None,
    )
    where = SimpleNamespace(ray=ray, cores=2, node_cores=1, put=Path.read_bytes, is_lost=lambda: answers.pop(0))
    with ClusterProcess(where, Work(program_of(fail), {}), told.append) as process:
        assert "the node that connects this command to the cluster has ended" in process.failure()
    assert (answers, told) == ([], [None])


def test_a_cluster_is_lost_when_its_list_of_nodes_says_so(monkeypatch):
    monkeypatch.setattr(cluster, "CHECK_SECONDS", 0.0)
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"CPU": 2.0}} for name in ("own", "other")]

    def listed():
        if not nodes:
            raise ConnectionError("connecting again")
        return nodes

    context = SimpleNamespace(get_node_id=lambda: "own")
    ray = SimpleNamespace(is_initialized=lambda: True, nodes=listed, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)
    found = cluster.Cluster("127.0.0.1:1")
    assert not found.is_lost()
    kept = [*nodes]
    nodes.clear()
    assert not found.is_lost(), "an answer that did not come says nothing"
    nodes[:] = [kept[0] | {"Alive": False}, kept[1]]
    assert found.is_lost()


def test_data_that_does_not_arrive_is_said(tmp_path, perform):
    def prepare():
        raise DatasetError("the store is another's")

    _, told, begun = perform(counting(tmp_path / "run"), prepare=prepare)
    assert told == [{"error": "Its data could not be received: the store is another's"}]
    assert begun == 1


def test_an_engine_that_is_not_there_is_named(monkeypatch):
    assert open_cluster("local") is None
    with pytest.raises(UnknownNameError, match="Unknown engine 'raay'"):
        open_cluster("raay")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(TiplBenchError, match=f"No Ray cluster answers at {address}"):
            open_cluster(address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(TiplBenchError, match=f"No Ray cluster answers at {address}"):
            open_cluster("ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TiplBenchError, match=r"pip install 'tipl-bench\[ray\]'"):
        open_cluster("ray")
