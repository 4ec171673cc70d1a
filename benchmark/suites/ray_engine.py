"""A Ray cluster as an engine: runs on its nodes, datasets handed over by digest, collections block by block."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...registry.catalog import catalog
from ...registry.dataset import Dataset
from ...registry.store import dataset_folder, exclusive, local_names
from ...utils.engines.child import ChildProcess
from ...utils.engines.cluster import Cluster
from ...utils.engines.work import Message, Process, Receive, Work, program_of
from ...utils.errors import DatasetError
from ...utils.files import new_folder
from ..forecast.run_folder import KEY_NAME, PREDICTOR_NAME
from ..record import RECORD_NAME
from .engine import Engine
from .tasks import perform

FITTED = (RECORD_NAME, PREDICTOR_NAME)
"""Files of a run that a later task's predictor is."""

Sent = tuple[str, Mapping[str, Any]]
"""A dataset's digest, and references to its files in Ray's object store, by their places in its folder."""


class RayEngine(Engine):
    """A Ray cluster.

    A run is a node's; a dataset that its store lacks is handed over and verified there. What collects a dataset is a
    process of this machine, and the blocks are the cluster's.

    Parameters
    ----------
    cluster
        The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._sent: dict[str, Sent] = {}

    def places(self, tasks: int) -> list[list[int]]:
        """See `Engine`: the cluster decides when a task begins."""
        return [[] for _ in range(tasks)]

    def start(self, message: Message, cores: list[int], receive: Receive) -> Process:
        """See `Engine`."""
        if message["kind"] == "dataset":
            return ChildProcess(Work(program_of(perform), {**message, "engine": self.cluster.address}), receive)
        needed = message["needs"] if message["kind"] == "train" else []
        folder = Path(message["out"])
        begun = [folder / KEY_NAME] if (folder / KEY_NAME).is_file() else []  # so that the node refuses another run's
        work = Work(
            program_of(perform),
            message,
            folder=folder,
            inputs=(*begun, *(Path(message["runs"]) / place / name for place in needed for name in FITTED)),
            last=RECORD_NAME,
            whole_node=True,
        )
        datasets = {name: self._handed_over(name) for name in _datasets_of(message)}
        return self.cluster.start(work, receive, partial(receive_all, datasets))

    def _handed_over(self, name: str) -> Sent:
        """A dataset in Ray's object store, put there once."""
        if name not in self._sent:
            dataset = Dataset.open(dataset_folder(name))
            files = [path for path in dataset.folder.rglob("*") if path.is_file()]
            sent = {path.relative_to(dataset.folder).as_posix(): self.cluster.put(path) for path in files}
            self._sent[name] = (dataset.digest, sent)
        return self._sent[name]


def _datasets_of(message: Message) -> list[str]:
    """Datasets that a task needs and that no package brings."""
    given, known = message["arguments"], catalog()
    named = [given[name] for name in ("dataset", "fit_on") if given.get(name)]
    return [name for name in named if not (name in known and known[name].bundled) and name in local_names()]


def receive_all(datasets: Mapping[str, Sent]) -> None:
    """Put datasets into this node's store; see `receive`."""
    for name, (digest, files) in datasets.items():
        receive(name, digest, files)


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
        if not target.exists():
            with new_folder(target) as staging:
                for place, reference in files.items():
                    path = staging / place
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(ray.get(reference))
                Dataset.open(staging).verify()
        if (found := Dataset.open(target).digest) != digest:
            raise DatasetError(f"{target} is another {name} (digest {found[:12]}, not {digest[:12]}); remove it there.")
