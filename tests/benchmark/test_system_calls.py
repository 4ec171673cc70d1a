"""The filter of system calls, tried in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, resource, socket, sys
from tipl_bench.benchmark.worker.system_calls import refuse_calls

if sys.argv[1] == "filtered":
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    if not refuse_calls():
        sys.exit("no filter")
other = os.getppid()
same = resource.prlimit(other, resource.RLIMIT_MSGQUEUE) if sys.argv[1] != "filtered" else (1, 1)
tries = {
    "limit": lambda: resource.prlimit(other, resource.RLIMIT_MSGQUEUE, same),
    "own limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)),
    "affinity": lambda: os.sched_setaffinity(other, os.sched_getaffinity(0)),
    "own affinity": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "scheduler": lambda: os.sched_setscheduler(other, os.SCHED_OTHER, os.sched_param(0)),
    "parameter": lambda: os.sched_setparam(other, os.sched_param(0)),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, other, os.getpriority(os.PRIO_PROCESS, other)),
    "usersock": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2).close(),
    "route": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
    "datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close(),
    "pair": lambda: [end.close() for end in socket.socketpair()],
    "stream": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
    "internet": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
}
for name, attempt in tries.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
"""


def possible(kind: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, check=False)
    if "no filter" in done.stderr:
        pytest.skip("this system has no such filter")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp exists only on Linux")
def test_the_filter_keeps_a_process_to_itself_and_leaves_it_what_it_needs():
    """Each is possible without the filter, as root or on the user's own processes."""
    own = {"own limit", "own affinity", "route", "pair", "stream"}
    others = {"limit", "affinity", "scheduler", "parameter", "priority", "usersock", "datagram", "internet"}
    assert possible("plain") == own | others
    assert possible("filtered") == own
