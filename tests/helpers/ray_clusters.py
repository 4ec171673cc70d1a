"""A Ray cluster of two nodes on this machine, and what may be lost of it on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

READY = "ready"


class TwoNodes:
    """Nodes of one core, each with a store of its own below a folder, in a process that shares nothing with this one.

    Parameters
    ----------
    folder
        Where the stores are.
    """

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, str(folder)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}  # workers import pieces of work
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        ready = next(line for line in self.process.stdout if line.startswith(READY))
        self.address, self.client = ready.split()[1:]
        """As its own machines name it, and that of Ray's client."""

    def lose_a_node(self) -> None:
        """Kill the second one."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[TwoNodes]:
    """A cluster as long as the context lasts."""
    import ray

    found = TwoNodes(folder)
    try:
        yield found
    finally:
        ray.shutdown()
        found.process.communicate(timeout=60)


def _serve(folder: Path) -> None:
    """Start the nodes; lose the second at a line of standard input, and end at its end."""
    from ray.cluster_utils import Cluster

    def node(name: str) -> dict[str, Any]:
        return {"num_cpus": 1, "env_vars": {"TIPL_BENCH_HOME": str(folder / name), "OMP_NUM_THREADS": "1"}}

    port = free_port()
    head = {**node("first"), "include_dashboard": False, "ray_client_server_port": port}
    found: Any = Cluster(initialize_head=True, head_node_args=head)
    second = found.add_node(**node("second"))
    print(READY, found.address, f"ray://127.0.0.1:{port}", flush=True)
    for _ in sys.stdin:
        found.remove_node(second, allow_graceful=False)
    found.shutdown()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def workers() -> list[int]:
    """Process ids of workers that are at a piece of work, of clusters that this process started."""
    found = _processes()
    parents = {own: parent for own, parent, _ in found}

    def is_ours(own: int) -> bool:
        while own in parents and own != os.getpid():
            own = parents[own]
        return own == os.getpid()

    return [own for own, _, words in found if "ray::WorkActor.next_part" in words and is_ours(own)]


def working(begun: set[int]) -> set[int]:
    """Process ids of workers at a piece of work and of their child processes, and of those of `begun` that live."""
    found, at_work = _processes(), set(workers())
    return {own for own, parent, _ in found if own in begun | at_work or parent in at_work}


def _processes() -> list[tuple[int, int, str]]:
    """Id, the parent's id, and command of every process of this machine."""
    lines = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
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


def lose(cluster: TwoNodes, what: str) -> None:
    """Lose a worker, a node or the node that connects this process, or nothing."""
    if what == "a worker":
        os.kill(workers()[0], signal.SIGKILL)
    elif what == "this process's node":
        import ray

        own = f"--node_id={ray.get_runtime_context().get_node_id()}"
        (raylet,) = (found for found, _, words in _processes() if own in words)
        os.kill(raylet, signal.SIGKILL)
    elif what == "a node":
        cluster.lose_a_node()


def losing(cluster: TwoNodes, what: str) -> tuple[Callable[[str, int, int, str], None], list[tuple[int, int]]]:
    """A progress callback that loses it when the first iteration is done, and what it heard."""
    heard: list[tuple[int, int]] = []

    def report(stage: str, done: int, total: int, word: str) -> None:
        if not heard:
            lose(cluster, what)
        heard.append((done, total))

    return report, heard


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
