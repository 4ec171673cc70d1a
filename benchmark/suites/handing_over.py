"""Datasets for the nodes of a cluster: handed over by digest, verified where they land."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...registry.catalog import is_bundled
from ...registry.dataset import Dataset
from ...registry.store import dataset_folder, exclusive, local_names
from ...utils.engines.cluster import Cluster
from ...utils.errors import DatasetError
from ...utils.files import new_folder

Sent = tuple[str, Mapping[str, Any]]
"""A dataset's digest, and references to its files in Ray's object store, by their places in its folder."""


class SentDatasets:
    """Datasets in a cluster's object store, each put there once.

    Parameters
    ----------
    cluster
        The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sent: dict[str, Sent] = {}

    def send(self, names: Iterable[str]) -> dict[str, Sent]:
        """What `receive_all` takes of those datasets that this machine's store holds; packages bring the others."""
        return {name: self._send(name) for name in names if name in local_names() and not is_bundled(name)}

    def _send(self, name: str) -> Sent:
        if name not in self._sent:
            dataset = Dataset.open(dataset_folder(name))
            files = [path for path in dataset.folder.rglob("*") if path.is_file()]
            sent = {path.relative_to(dataset.folder).as_posix(): self._cluster.put(path) for path in files}
            self._sent[name] = (dataset.digest, sent)
        return self._sent[name]


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
