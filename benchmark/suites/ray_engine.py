"""A Ray cluster as an engine: tasks on its nodes, datasets handed over by digest, runs brought back whole."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...registry.catalog import catalog
from ...registry.collection.child import Message
from ...registry.dataset import Dataset
from ...registry.store import dataset_folder, exclusive, local_names
from ...utils.errors import DatasetError, TiplBenchError, reason
from ...utils.files import replace_atomically
from ...utils.machine import package_versions
from ..forecast.run_folder import PREDICTOR_NAME
from ..record import RECORD_NAME
from .engine import LocalEngine, Outcome, Report, Waiting
from .tasks import perform

RETRIES = 5
"""Times that a task begins anew on another worker when its worker or node is lost."""
CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer."""
PROGRESS_SECONDS = 1.0
"""How often a task tells of its progress, and is asked."""
FITTED = (RECORD_NAME, PREDICTOR_NAME)
"""Files of a run that a later task's predictor is."""

Files = dict[str, bytes]


class Heard:
    """The latest that each task said of its progress."""

    def __init__(self) -> None:
        self.latest: dict[str, Message] = {}

    def tell(self, name: str, said: Message) -> None:
        """Keep what a task says."""
        self.latest[name] = said

    def take(self) -> dict[str, Message]:
        """What was said since the last call."""
        latest, self.latest = self.latest, {}
        return latest


class RayEngine:
    """A Ray cluster.

    Nothing is shared but Ray's object store: a dataset that a node's store lacks is handed over and verified there,
    and a run's files are written by this process when its task has ended, so that a worker that is lost leaves
    nothing. Datasets are collected by this process before.

    Parameters
    ----------
    address
        Of the cluster; without one, that which Ray finds (`RAY_ADDRESS`, or one of this machine), or a new one on this
        machine.

    Raises
    ------
    TiplBenchError
        If Ray is not installed, no cluster answers, or a node has other versions than this process.
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
                    host, _, port = address.removeprefix("ray://").rpartition(":")
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
        alive = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        self.cores = int(min((one for one in alive if one >= 1), default=1))
        """What a task reserves: all of a node, as a task uses all that it has."""

    def perform(self, tasks: Sequence[tuple[str, Message]], report: Report) -> Iterator[Outcome]:
        """See `Engine.perform`; datasets are collected here first."""
        waiting, datasets = Waiting(tasks), dict[str, Any]()
        pending: dict[Any, tuple[str, Path]] = {}
        collected = [task for task in tasks if task[1]["kind"] == "dataset"]
        for outcome in LocalEngine().perform(collected, report):
            yield outcome
            waiting.tasks.pop(outcome.name, None)
            yield from waiting.end(outcome.name, failed=outcome.error is not None)
        remote = self.ray.remote(num_cpus=self.cores, max_retries=RETRIES)(perform_away)
        heard = self._listener()
        while waiting or pending:
            while task := waiting.next():
                name, message = task
                needed = {one: self._handed_over(one, datasets) for one in _datasets_of(message)}
                reference = remote.remote(message, here(), needed, _fitted_files(message), name, heard)
                pending[reference] = (name, Path(message["out"]))
            ended, _ = self.ray.wait([*pending], num_returns=1, timeout=PROGRESS_SECONDS)
            for name, said in self.ray.get(heard.take.remote()).items():
                if any(name == one for one, _ in pending.values()):
                    report(name, said)
            for one in ended:
                name, folder = pending.pop(one)
                try:
                    files, error = self.ray.get(one)
                except Exception as failure:  # Ray's, of workers and nodes that are lost for good
                    files, error = {}, f"It was lost on the cluster ({reason(failure)})."
                if files:
                    write_files(files, folder)
                yield Outcome(name, error)
                yield from waiting.end(name, failed=error is not None)

    def _listener(self) -> Any:
        """An actor on this process's node, whose loss would end this process too, that tasks tell of their progress."""
        strategy = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        node = strategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        return self.ray.remote(num_cpus=0, scheduling_strategy=node)(Heard).remote()

    def _handed_over(self, name: str, known: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """A dataset's digest, and its files in Ray's object store, put there once."""
        if name not in known:
            dataset = Dataset.open(dataset_folder(name))
            files = {
                path.relative_to(dataset.folder).as_posix(): path
                for path in dataset.folder.rglob("*")
                if path.is_file()
            }
            known[name] = (dataset.digest, {place: self.ray.put(path.read_bytes()) for place, path in files.items()})
        found: tuple[str, dict[str, Any]] = known[name]
        return found


def here() -> dict[str, str]:
    """The versions that a worker must have."""
    return {"tipl-bench": __version__, **package_versions()}


def _datasets_of(message: Message) -> list[str]:
    """Datasets that a task needs and that no package brings."""
    given, known = message["arguments"], catalog()
    named = [given[name] for name in ("dataset", "fit_on") if given.get(name)]
    return [name for name in named if not (name in known and known[name].bundled) and name in local_names()]


def _fitted_files(message: Message) -> dict[str, Files]:
    """The fitted states of the runs that a task needs, by their folders below the suite's."""
    folders = {place: Path(message["runs"]) / place for place in message["needs"] if message["kind"] == "train"}
    return {place: {name: (folder / name).read_bytes() for name in FITTED} for place, folder in folders.items()}


def perform_away(
    message: Message,
    versions: Mapping[str, str],
    datasets: Mapping[str, tuple[str, Mapping[str, Any]]],
    fitted: Mapping[str, Files],
    name: str = "",
    heard: Any = None,
) -> tuple[Files, str | None]:
    """Perform a task on a worker: the files of its run, and the error if it failed.

    Parameters
    ----------
    message
        See `tasks.message_of`.
    versions
        Those of the process that asks.
    datasets
        By name, a dataset's digest and references to its files in Ray's object store.
    fitted
        Files of runs that the task's predictors are, by their folders below the suite's.
    name, heard
        The task's name, and the actor that is told of its progress; None tells nobody.
    """
    other = [f"{name} {own} there, {versions[name]} here" for name, own in here().items() if own != versions[name]]
    if other:
        return {}, f"A worker has other versions: {', '.join(other)}. Install the same on all nodes (constraints.txt)."
    errors: list[str] = []
    told = -PROGRESS_SECONDS

    def answered(answer: Message) -> None:
        nonlocal told
        if "error" in answer:
            errors.append(answer["error"])
        elif heard is not None and time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            heard.tell.remote(name, answer)

    with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
        runs, out = Path(scratch) / "runs", Path(scratch) / "run"
        try:
            for dataset, (digest, files) in datasets.items():
                receive(dataset, digest, files)
            for place, kept in fitted.items():
                write_files(kept, runs / place)
        except (TiplBenchError, OSError) as error:
            return {}, f"Its data could not be received: {error}"
        perform(
            {**message, "runs": str(runs), "out": str(out)},
            answered,
        )
        found = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} if out.is_dir() else {}
    return found, errors[0] if errors else None


def receive(name: str, digest: str, files: Mapping[str, Any]) -> None:
    """Put a dataset into this node's store, verified byte for byte, unless it is there.

    Raises
    ------
    DatasetError
        If another dataset of its name is there, or what arrives is not what was sent.
    """
    import ray

    with exclusive(name, wait=True):
        target = dataset_folder(name)
        staging = target.with_name(f".{target.name}.received")
        if not target.exists():
            shutil.rmtree(staging, ignore_errors=True)
            for place, reference in files.items():
                path = staging / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(ray.get(reference))
            dataset = Dataset.open(staging)
            dataset.verify()
            staging.replace(target)
        if (found := Dataset.open(target).digest) != digest:
            raise DatasetError(f"{target} is another {name} (digest {found[:12]}, not {digest[:12]}); remove it there.")


def write_files(files: Files, folder: Path) -> None:
    """Write a run's files, the record last: a folder with a record is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda one: one == RECORD_NAME):
        with replace_atomically(folder / name) as temporary:
            temporary.write_bytes(files[name])
