"""A Ray cluster as an engine: runs on its nodes, datasets handed over, collections block by block."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ...utils.engines.child import ChildProcess
from ...utils.engines.cluster import Cluster
from ...utils.engines.work import Message, Process, Receive, Work, program_of
from ..forecast.run_folder import PREDICTOR_NAME
from ..record import KEY_NAME, RECORD_NAME
from .engine import Engine
from .handing_over import SentDatasets, receive_all
from .tasks import perform

FITTED = (RECORD_NAME, PREDICTOR_NAME)
"""Files of a run that a later task's predictor is."""


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
        self._sent = SentDatasets(cluster)

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
        given = message["arguments"]
        datasets = self._sent.send(given[name] for name in ("dataset", "fit_on") if given.get(name))
        return self.cluster.start(work, receive, partial(receive_all, datasets))
