"""A Ray cluster: pieces of work on its nodes as in processes here, their files verified and put in place whole."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import OptionError, TiplBenchError, UnknownNameError, reason
from ..files import sync
from .node import Part, machine_versions, perform_away, resumable_files
from .work import Receive, Work

logger = logging.getLogger(__name__)

RETRIES = 5
"""Times that a piece of work begins anew on another worker when its worker or node is lost."""
CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""
PARTS_AHEAD = 8
"""Parts that a node sends before this process has taken them."""
LOCAL, RAY = "local", "ray"


def open_cluster(engine: str) -> Cluster | None:
    """The cluster that an engine's name stands for; None for `local`.

    Parameters
    ----------
    engine
        `local`, `ray` for the cluster that Ray finds, or the address of one.

    Raises
    ------
    UnknownNameError, OptionError
        If it is none of these, or the address of Ray's client.
    TiplBenchError
        See `Cluster`.
    """
    if engine == LOCAL:
        return None
    if engine != RAY and ":" not in engine:
        raise UnknownNameError("engine", engine, [LOCAL, RAY, "HOST:PORT"])
    address = os.environ.get("RAY_ADDRESS") if engine == RAY else engine
    if address and address.startswith("ray://"):
        raise OptionError(
            f"{address}: Ray's client sends no files part by part. Run the command on a machine of the cluster and "
            "name the cluster's own HOST:PORT."
        )
    return Cluster(address if address and ":" in address else None)


class Cluster:
    """A Ray cluster. Nothing is shared with its nodes but Ray's object store.

    Parameters
    ----------
    address
        `HOST:PORT`; without one, that which Ray finds (`RAY_ADDRESS`, or one of this machine), or a new one on this
        machine.

    Raises
    ------
    TiplBenchError
        If Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None = None) -> None:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise TiplBenchError(
                "The engine ray needs Ray, which is not installed: pip install 'tipl-bench[ray]'."
            ) from None
        if not ray.is_initialized():
            try:
                if address is not None:  # Ray itself tries for minutes
                    host, _, port = address.rpartition(":")
                    socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=False if address is None else None,
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise TiplBenchError(
                    f"No Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'this machine')} "
                    f"({reason(error)}). Start one with `ray start --head`, or name another address."
                ) from None
        self.ray = ray
        self.address: str = ray.get_runtime_context().gcs_address
        alive = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        self.cores, self.node_cores = max(1, int(sum(alive))), int(min((one for one in alive if one >= 1), default=1))
        """Of all nodes, and what work reserves that uses all of a node."""
        self._known: dict[tuple[Path, int], Any] = {}

    def start(self, work: Work, receive: Receive, prepare: Callable[[], None] | None = None) -> ClusterProcess:
        """Begin a piece of work on the next free core, or node; `prepare` is called there before."""
        return ClusterProcess(self, work, receive, prepare)

    def put(self, path: Path) -> Any:
        """A reference to a file's bytes in Ray's object store, put there once."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._known:
            self._known[key] = self.ray.put(path.read_bytes())
        return self._known[key]


class ClusterProcess:
    """A piece of work on a cluster, ended when the context is left; begun anew when its worker or node is lost.

    Parameters
    ----------
    cluster
        Where.
    work
        What it does. It goes on from the last files that it sent to resume from, if there are any.
    receive
        Called in a thread of this process.
    prepare
        Called on the node before.
    """

    def __init__(
        self, cluster: Cluster, work: Work, receive: Receive, prepare: Callable[[], None] | None = None
    ) -> None:
        self._cluster, self._work, self._receive, self._prepare = cluster, work, receive, prepare
        self._failure: str | None = None
        self._running: Any = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def failure(self) -> str | None:
        """How the work ended, in words, if not well; waits for its end."""
        self._thread.join()
        return self._failure

    def __enter__(self) -> ClusterProcess:
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        if self._running is not None and self._thread.is_alive():
            self._cluster.ray.cancel(self._running, force=True)
        self._thread.join()

    def _follow(self) -> None:
        """Do the work to its end, however often it takes."""
        try:
            for attempt in range(1 + RETRIES):
                if attempt:
                    logger.info("%s %s; begun anew (%d of %d)", self._work.program, self._failure, attempt, RETRIES)
                self._failure = self._attempt()
                if self._failure is None or self._ended.is_set():
                    break
        except _Failed as error:
            self._failure = f"{error} on the cluster"
        except Exception as error:  # of the node's part of this, or of this machine's disk
            self._failure = f"failed on the cluster ({reason(error)})"
        finally:
            self._receive(None)

    def _attempt(self) -> str | None:
        """Do the work once; how it was lost if it was. Raises what would happen again."""
        ray, arrived = self._cluster.ray, _Arrivals(self._work)
        resumed = {path: ray.put(path.read_bytes()) for path in resumable_files(self._work)}
        inputs = {path: self._cluster.put(path) for path in self._work.inputs}
        versions = {**machine_versions(), **self._work.versions}
        remote = ray.remote(
            num_cpus=self._cluster.node_cores if self._work.whole_node else 1,
            num_returns="streaming",
            max_retries=0,
            _generator_backpressure_num_objects=PARTS_AHEAD,
        )(perform_away)
        try:
            self._running = remote.remote(self._work, versions, inputs, resumed, self._prepare)
            if self._ended.is_set():
                ray.cancel(self._running, force=True)
            for reference in self._running:
                part = ray.get(reference)
                if how := part.get("failed"):
                    raise _Failed(how)
                if how := part.get("lost"):
                    return f"{how} on the cluster"
                for message in part.get("messages", ()):
                    self._receive(message)
                if "messages" not in part and (damage := arrived.take(part)):
                    return damage
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            return f"was lost on the cluster ({reason(error).splitlines()[0]})"
        finally:
            arrived.clear()
        return None


class _Failed(Exception):  # noqa: N818 - how the process ended
    """A process of its own accord ended without finishing its work."""


class _Arrivals:
    """The files of a piece of work as they arrive: put in place together when they are whole."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.digests: dict[str, Any] = {}

    def take(self, part: Part) -> str | None:
        """Keep a part of a file, or put what arrived in place; what is wrong with it if it is not what was sent."""
        if "name" in part:
            path = self._temporary(part["name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if part["name"] in self.digests else "wb") as stream:
                stream.write(part["bytes"])
            self.digests.setdefault(part["name"], hashlib.sha256()).update(part["bytes"])
            return None
        return self._place(part["files"], whole=part["whole"])

    def _place(self, files: Mapping[str, str], *, whole: bool) -> str | None:
        if files != {name: digest.hexdigest() for name, digest in self.digests.items()}:
            return "sent files that arrived with other bytes"
        folder = self._folder
        latest = {self.work.last, *self.work.resumed_from[-1:]}
        for name in sorted(files, key=lambda one: one in latest):
            sync(self._temporary(name))
            self._temporary(name).replace(folder / name)
        for name in self.work.resumed_from if whole else ():
            if name not in files:
                (folder / name).unlink(missing_ok=True)
        if files:
            sync(folder)
        self.digests.clear()
        return None

    @property
    def _folder(self) -> Path:
        assert self.work.folder is not None, "work without a folder sends no files"
        return self.work.folder

    def _temporary(self, name: str) -> Path:
        """As `replace_atomically` has it, so that what a killed process leaves is cleared up as its files are."""
        return self._folder / f".{name}.{os.getpid()}.partial"

    def clear(self) -> None:
        """Remove what is not whole."""
        for name in self.digests:
            with contextlib.suppress(OSError):
                self._temporary(name).unlink(missing_ok=True)
