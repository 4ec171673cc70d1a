"""A Ray cluster: pieces of work on its nodes as in processes here, their files verified and put in place whole."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from pathlib import Path
from typing import Any

from ..errors import TiplBenchError, UnknownNameError, reason
from ..files import sync
from ..text import one_line
from .node import Part, WorkActor, machine_versions, resumable_files
from .work import Receive, Work

logger = logging.getLogger(__name__)

RETRIES = 5
"""Times that a piece of work begins anew on another worker when its worker or node is lost."""
CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""
CHECK_SECONDS = 10.0
"""How often work that waits for the cluster looks whether the node is there that connects this process to it."""
PARTS_AHEAD = 8
"""Parts that a node sends before this process has taken them."""
LOCAL, RAY, CLIENT = "local", "ray", "ray://"
"""Names of engines, and what the address of Ray's client begins with."""
CLIENT_PORT = 10001
SETTINGS = {
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "3",
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "3",
}
"""Of Ray, unless they are set: a connection that is lost starts no cluster here; the client's three attempts to connect
take ten seconds."""
NOT_STARTED, STARTS = "Starting Ray client server failed", 3
"""What Ray's client says when its process on the cluster ended as it began, as one on a busy machine may, and how often
it is asked for."""
NODE_LOST = (
    "could not go on, since the node that connects this command to the cluster has ended (`ray start` begins another)"
)
MISMATCH = "Version mismatch: "
"""What Ray's error of versions begins with."""


def open_cluster(engine: str) -> Cluster | None:
    """The cluster that an engine's name stands for; None for `local`.

    Parameters
    ----------
    engine
        `local`, `ray` for the cluster that Ray finds, or the address of one; see `Cluster`.

    Raises
    ------
    UnknownNameError
        If it is none of these.
    TiplBenchError
        See `Cluster`.
    """
    if engine == LOCAL:
        return None
    if engine != RAY and ":" not in engine:
        raise UnknownNameError("engine", engine, [LOCAL, RAY, "HOST:PORT", f"{CLIENT}HOST:PORT"])
    address = os.environ.get("RAY_ADDRESS") if engine == RAY else engine
    return Cluster(address if address and ":" in address else None)


class Cluster:
    """A Ray cluster. Nothing is shared with its nodes but Ray's object store.

    Parameters
    ----------
    address
        `HOST:PORT` on a machine of the cluster; `ray://HOST:PORT`, the port of Ray's client, on any other. Without one,
        that which Ray finds (`RAY_ADDRESS`, or one of this machine), or a new one on this machine.

    Raises
    ------
    TiplBenchError
        If Ray is not installed, no cluster answers, or Ray's client has other versions than the cluster.
    """

    def __init__(self, address: str | None = None) -> None:
        for name, value in SETTINGS.items():  # before the import, which reads them
            os.environ.setdefault(name, value)
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise TiplBenchError(
                "The engine ray needs Ray, which is not installed: pip install 'tipl-bench[ray]'."
            ) from None
        if not ray.is_initialized():
            _connect(ray, address)
        self.ray = ray
        self.address: str = address or ray.get_runtime_context().gcs_address
        alive = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        self.cores, self.node_cores = max(1, int(sum(alive))), int(min((one for one in alive if one >= 1), default=1))
        """Of all nodes, and what work reserves that uses all of a node."""
        self._known: dict[tuple[Path, int], Any] = {}
        self._node = ray.get_runtime_context().get_node_id()
        self._checking, self._checked, self._lost = threading.Lock(), time.monotonic(), False

    def start(self, work: Work, receive: Receive, prepare: Callable[[], None] | None = None) -> ClusterProcess:
        """Begin a piece of work on the next free core, or node; `prepare` is called there before."""
        return ClusterProcess(self, work, receive, prepare)

    def put(self, path: Path) -> Any:
        """A reference to a file's bytes in Ray's object store, put there once."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._known:
            self._known[key] = self.ray.put(path.read_bytes())
        return self._known[key]

    def is_lost(self) -> bool:
        """Whether the node is gone that connects this process to the cluster: nothing can be begun without it.

        Ray waits for such a node for good. The cluster is asked every `CHECK_SECONDS`, however many threads ask.
        """
        with self._checking:
            if not self._lost and time.monotonic() - self._checked >= CHECK_SECONDS:
                # A connection that is lost is for Ray, which connects again or ends the work.
                with contextlib.suppress(Exception):
                    self._lost = all(node["NodeID"] != self._node or not node["Alive"] for node in self.ray.nodes())
                self._checked = time.monotonic()
            return self._lost


def _connect(ray: Any, address: str | None) -> None:
    """Connect this process; raises `TiplBenchError` if that does not succeed."""
    given, answered = {} if address else {"include_dashboard": False}, False
    try:
        if address is not None:  # Ray itself tries for minutes
            host, _, port = address.removeprefix(CLIENT).rpartition(":")
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
            answered = True
        for again in range(STARTS - 1, -1, -1):
            try:
                with warnings.catch_warnings(action="ignore"):  # the error says the same
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **given)
                break
            except (OSError, RuntimeError) as error:
                if NOT_STARTED not in str(error) or not again:
                    raise
    except (OSError, ValueError, RuntimeError, ImportError, ray.exceptions.RayError) as error:
        where, why = address or os.environ.get("RAY_ADDRESS", "this machine"), reason(error).strip()
        if MISMATCH in why:
            versions = " ".join(why.partition(MISMATCH)[2].split())
            raise TiplBenchError(
                f"The cluster at {where} has another version of Ray or Python than this machine. Install the same "
                f"({one_line(versions, 300)})."
            ) from None
        why = one_line(why.splitlines()[-1], 300)  # the last line of a traceback says most
        client = f"; the port of Ray's client is {CLIENT_PORT} unless its --ray-client-server-port names another"
        token = (
            " If one does, it may have a token, and this machine another or none: give it the cluster's, as the file "
            "~/.ray/auth_token, or as RAY_AUTH_TOKEN with RAY_AUTH_MODE=token."
        )
        raise TiplBenchError(
            f"No Ray cluster answers at {where} ({why}). Start one with `ray start --head`, or name another address"
            f"{client if where.startswith(CLIENT) else ''}.{token if answered else ''}"
        ) from None


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
        self._actor: Any = None
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
        self._kill()
        self._thread.join()

    def _kill(self) -> None:
        """End the actor, and with it its child process."""
        if self._actor is not None:
            with contextlib.suppress(Exception):  # of a connection that is lost: the cluster ends it
                self._cluster.ray.kill(self._actor)

    def _follow(self) -> None:
        """Do the work to its end, however often it takes."""
        try:
            for attempt in range(1 + RETRIES):
                if attempt:
                    what = self._work.folder or self._work.program
                    logger.warning("%s: %s; begun anew (%d of %d).", what, self._failure, attempt, RETRIES)
                self._failure = self._attempt()
                if self._failure is None or self._ended.is_set():
                    break
        except _Failed as error:
            self._failure = str(error)
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
        cores = self._cluster.node_cores if self._work.whole_node else 1
        try:
            self._actor = ray.remote(num_cpus=cores, max_restarts=0)(WorkActor).remote()
            if self._ended.is_set():
                return "was ended"
            for part in self._parts(versions, inputs, resumed):
                if how := part.get("failed"):
                    raise _Failed(f"{how} on the cluster")
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
            self._kill()
            arrived.clear()
        return None

    def _parts(self, *given: Any) -> Iterator[Part]:
        """What the actor gives, asked for ahead; its futures keep no thread of Ray's client's server waiting."""
        self._result(self._actor.begin.remote(self._work, *given, self._prepare))
        ahead = deque(self._actor.next_part.remote() for _ in range(PARTS_AHEAD))
        while (part := self._result(ahead.popleft())) is not None:
            ahead.append(self._actor.next_part.remote())
            yield part

    def _result(self, reference: Any) -> Any:
        """What a method of the actor gave, as soon as it is there."""
        future = reference.future()
        while not future.done():
            if self._cluster.is_lost():
                raise _Failed(NODE_LOST)
            wait([future], timeout=CHECK_SECONDS)
        return future.result()


class _Failed(Exception):  # noqa: N818 - how the process ended
    """Work ended in a way that beginning anew does not mend, such as an error of its own."""


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
