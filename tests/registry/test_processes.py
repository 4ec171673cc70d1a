"""Collections in several processes: the same bytes, no process left behind, errors as one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.small_collections import TINY, contents, silent, tiny_config
from tipl_bench.registry.collection.collect import collect
from tipl_bench.registry.collection.processes import collect_side_by_side
from tipl_bench.registry.store import staging_folder
from tipl_bench.utils.errors import DatasetError

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")
CONFIG = tiny_config(version=2)
COLLECT = """
import sys
from helpers.small_collections import TINY, tiny_config
from tipl_bench.registry.collection.collect import collect
config = tiny_config(version=int(sys.argv[1]))
collect(TINY, config, threads=2, progress=lambda *_: print("!", flush=True) or input())
"""
"""Reports one iteration, then waits."""


def children(pid):
    """Child processes, whichever of a process's threads started them."""
    return [int(n) for path in Path(f"/proc/{pid}/task").glob("*/children") for n in path.read_text().split()]


def is_running(pid):
    """Whether a process runs; a zombie, which its new parent has not waited for, does not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_when_a_collection_in_two_processes_is_killed_then_both_end_and_it_is_finished_to_the_same_bytes(
    version, store, monkeypatch
):
    config = tiny_config(version=version)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", COLLECT, str(version)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout.readline() == b"!\n"
        workers = children(parent.pid)
        parent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.01)
    assert list(staging_folder(TINY).rglob("trial-*"))
    before, reports = children(os.getpid()), []
    if version == 3:  # goes on wherever it was begun
        monkeypatch.setattr("tipl_bench.registry.collection.collect.cpu_name", lambda: "another")
    continued = collect(TINY, config, threads=5, progress=lambda *report: reports.append(report))
    assert children(os.getpid()) == before
    assert {stage for stage, *_ in reports} <= {"collect"}
    assert reports == sorted(reports, key=lambda report: report[1])
    monkeypatch.setenv("TIPL_BENCH_HOME", str(store.with_name("one-process")))
    whole = collect(TINY, config, threads=1, progress=silent)
    assert contents(continued.folder) == contents(whole.folder)


def test_when_a_worker_fails_or_is_killed_then_one_sentence_says_what_to_do(tmp_path):
    before = children(os.getpid())
    with pytest.raises(DatasetError, match=r"^Trials 0 to 1 could not be trained \(No such file.* on from there\.$"):
        collect_side_by_side(CONFIG, [[0, 1]], tmp_path / "missing", processes=1, threads=1, report=lambda *_: None)

    def kill(*_):
        os.kill(max(set(children(os.getpid())) - set(before)), signal.SIGKILL)

    with pytest.raises(DatasetError, match=r"process that trained trial [34] was killed \(SIGKILL\).*--threads 1"):
        collect_side_by_side(CONFIG, [[3], [4]], tmp_path, processes=2, threads=1, report=kill)
    assert children(os.getpid()) == before
