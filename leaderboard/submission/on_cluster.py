"""Runs examined on the nodes of a cluster, all at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from ...benchmark.forecast.run_folder import WINDOWS_NAME
from ...benchmark.suites.handing_over import SentDatasets, receive_all
from ...benchmark.worker.usage import Limits
from ...registry.catalog import is_bundled
from ...registry.store import dataset_folder
from ...utils.engines.cluster import Cluster, ClusterProcess
from ...utils.engines.work import Message, Work, into, program_of
from ...utils.errors import ProtocolError, TiplBenchError
from ...utils.progress import Progress
from ..verify.folder import SUBMITTED, RunFolder, open_fit_set, open_record, open_run
from ..verify.parquet import check_size
from .check import OpenDataset
from .examination import Examination, NotExaminedError, perform, read_examination
from .identity import is_in_tree


class ClusterExaminations:
    """Examinations of runs, each on a node of a cluster; they are ended when the context is left.

    Parameters
    ----------
    cluster
        The cluster. Datasets that a node's store lacks are handed over and verified there.
    fresh
        Evaluate every return, also those that a node's store holds.
    limits
        Time and memory of a predictor that is run again; the default memory is a node's.
    """

    def __init__(self, cluster: Cluster, *, fresh: bool, limits: Limits) -> None:
        self._cluster, self._fresh, self._limits = cluster, fresh, limits
        self._datasets = SentDatasets(cluster)
        self._messages: SimpleQueue[tuple[Path, Message | None]] = SimpleQueue()
        self._names: dict[Path, str] = {}
        self._processes: dict[Path, ClusterProcess] = {}
        self._said: dict[Path, Message] = {}
        self._ended: set[Path] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def begin(self, folders: Sequence[Path], open_dataset: OpenDataset, *, rerun: bool) -> None:
        """Begin to examine runs, those that can be; the check of the others says what is wrong with them."""
        for number, folder in enumerate(folders):
            with contextlib.suppress(TiplBenchError):
                record = open_record(folder)
                if not record.why_not_submittable:
                    run = open_run(folder, open_dataset(record.key.dataset.name))
                    self._begin(run, f"run {number + 1} of {len(folders)}", rerun=rerun and is_in_tree(record))

    def examine(self, run: RunFolder, progress: Progress, *, rerun: bool) -> Examination:
        """What examining a run found; waits for it, and tells of the progress of all.

        Raises
        ------
        ProtocolError
            If it cannot be scored.
        NotExaminedError
            If the cluster could not do it.
        """
        self._begin(run, run.folder.name, rerun=rerun)
        while run.folder not in self._ended:
            folder, message = self._messages.get()
            if message is None:
                self._ended.add(folder)
                how = self._processes[folder].failure() or "ended early"
                self._said.setdefault(folder, {"error": f"The process that examined it {how}."})
            elif "progress" in message:
                stage, *facts = message["progress"]
                progress(f"{self._names[folder]}: {stage}", *facts)
            else:
                self._said[folder] = message
        said = self._said[run.folder]
        if "error" in said:
            raise NotExaminedError(f"{run.folder}: not examined on the cluster. {said['error']}")
        if "problem" in said:
            raise ProtocolError(said["problem"].replace(said["folder"], str(run.folder)))
        found = read_examination(said["examination"])
        if found.rescored.record != run.record:
            raise NotExaminedError(f"{run.folder}: its record arrived on the cluster as another.")
        return found

    def _begin(self, run: RunFolder, name: str, *, rerun: bool) -> None:
        """Begin to examine a run, once."""
        if run.folder in self._processes:
            return
        windows = run.folder / WINDOWS_NAME
        if windows.exists():
            check_size(windows)  # what is handed over passes through memory
        files = (*(run.folder / name for name in SUBMITTED), *([windows] if windows.exists() else []))
        fit_set = open_fit_set(run.record) if rerun else None
        task = {
            "folder": str(run.folder.absolute()),
            "rerun": rerun,
            "fresh": self._fresh,
            "timeout": self._limits.timeout,
            "memory": None if self._limits.memory == Limits().memory else self._limits.memory,
        }
        work = Work(program_of(perform), task, inputs=files, whole_node=True)
        datasets = [dataset for dataset in (run.dataset, fit_set) if dataset]
        for dataset in datasets:
            if not is_bundled(dataset.name) and dataset.folder.absolute() != dataset_folder(dataset.name).absolute():
                raise NotExaminedError(
                    f"{run.folder}: its dataset, {dataset.folder}, is not the {dataset.name} of this machine's store. "
                    "Check it on this machine alone, without a cluster."
                )
        sent = self._datasets.send(dataset.name for dataset in datasets)
        process = self._cluster.start(work, into(self._messages, run.folder), partial(receive_all, sent))
        self._names[run.folder] = name
        self._processes[run.folder] = self._stack.enter_context(process)
