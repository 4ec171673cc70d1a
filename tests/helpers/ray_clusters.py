"""A Ray cluster of two nodes on this machine, and what may be lost of it on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[Any]:
    """Nodes of one core, each with a store of its own below a folder; `client` is the address of Ray's client."""
    import ray
    from ray.cluster_utils import Cluster

    def node(name: str) -> dict[str, Any]:
        return {"num_cpus": 1, "env_vars": {"TIPL_BENCH_HOME": str(folder / name), "OMP_NUM_THREADS": "1"}}

    port = free_port()
    head = {**node("first"), "include_dashboard": False, "ray_client_server_port": port}
    found: Any = Cluster(initialize_head=True, head_node_args=head)
    found.client = f"ray://127.0.0.1:{port}"
    found.second = found.add_node(**node("second"))
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def workers() -> list[int]:
    """Process ids of workers that are at a piece of work."""
    return [own for own, _, words in _processes() if "ray::WorkActor.next_part" in words]


def working(begun: set[int]) -> set[int]:
    """Process ids of workers at a piece of work and of their child processes, and of those of `begun` that live."""
    found, at_work = _processes(), set(workers())
    return {own for own, parent, _ in found if own in begun | at_work or parent in at_work}


def _processes() -> list[tuple[int, int, str]]:
    """Id, the parent's id, and command of every process of this machine."""
    lines = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    return [
        (int(own), int(parent), words)
        for own, parent, words in (line.split(None, 2) for line in lines.splitlines()[1:])
    ]


def soon(act: Callable[[], None]) -> threading.Thread:
    """Do something as soon as a worker is at a piece of work."""

    def wait() -> None:
        while not workers():
            time.sleep(0.05)
        time.sleep(0.5)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def lose(cluster: Any, what: str) -> None:
    """Lose a worker or a node, or nothing."""
    if what == "a worker":
        os.kill(workers()[0], signal.SIGKILL)
    elif what == "a node":
        cluster.remove_node(cluster.second, allow_graceful=False)


def losing(cluster: Any, what: str) -> tuple[Callable[[str, int, int, str], None], list[tuple[int, int]]]:
    """A progress callback that loses it when the first iteration is done, and what it heard."""
    heard: list[tuple[int, int]] = []

    def report(stage: str, done: int, total: int, word: str) -> None:
        if not heard:
            lose(cluster, what)
        heard.append((done, total))

    return report, heard
