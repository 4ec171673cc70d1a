"""The tasks of a suite: what each does, in a process of its own, and how far its folder says that it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...registry.catalog import catalog
from ...registry.collection.child import Message, Send
from ...registry.store import local_names
from ...utils.errors import ProtocolError, TiplBenchError
from ...utils.progress import Progress
from ..collection import collect_named
from ..forecast.run_folder import KEY_NAME
from ..protocol import protocol
from ..record import RECORD_NAME, Record, read_record
from ..request import run_folder
from ..run import run
from ..training.record import TrainingRecord, read_training_record
from ..training.request import TrainingRequest, default_folder
from ..training.run import train
from .suite import RUNS, ForecastEntry, Suite, TrainingEntry

Kind = Literal["dataset", "run", "train"]
State = Literal["finished", "failed", "begun", "waiting"]


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Parameters
    ----------
    kind
        Collect a dataset, run a predictor, or train with a method.
    name
        The run's folder below the suite's, or the dataset's name.
    group
        Tasks of one group take about as long as each other.
    arguments
        What `collect_named`, `run` or `train` is called with, as JSON can hold it.
    """

    kind: Kind
    name: str
    group: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Progressed:
    """How far a task is.

    Parameters
    ----------
    state
        Finished, failed, begun (and interrupted, or at work), or waiting.
    seconds
        What it took, if it is finished.
    reason
        Why it failed.
    record
        Its record, if it is a finished run.
    """

    state: State
    seconds: float | None = None
    reason: str = ""
    record: Record | TrainingRecord | None = None


def tasks_of(suite: Suite) -> list[Task]:
    """All tasks, in an order in which each finds what it needs: datasets, then runs, then training."""
    runs = [task for entry in suite.forecast for task in _runs(entry)]
    names = {name for entry in suite.forecast for name in (*entry.datasets, *filter(None, [entry.fit_on]))}
    datasets = [
        Task("dataset", name, f"dataset {name}", {"name": name}) for name in sorted(names) if not _bundled(name)
    ]
    trainings = [task for entry in suite.training for task in _trainings(entry)]
    return list({task.name: task for task in (*datasets, *runs, *trainings)}.values())


def _bundled(name: str) -> bool:
    entry = catalog().get(name)
    return entry is not None and entry.bundled


def _runs(entry: ForecastEntry) -> list[Task]:
    found = []
    for dataset in entry.datasets:
        for seed in entry.seeds:
            model, chosen = entry.model.rpartition(":")[2], protocol(entry.protocol)
            folder = run_folder(dataset, model, entry.settings, entry.budget, seed, chosen, entry.fit_on)
            arguments = {
                **entry.model_dump(mode="json", exclude={"datasets", "seeds"}),
                "dataset": dataset,
                "seed": seed,
            }
            group = f"{entry.model} {entry.budget} {dataset}"
            found.append(Task("run", folder.relative_to("runs").as_posix(), group, arguments))
    return found


def _trainings(entry: TrainingEntry) -> list[Task]:
    found = []
    for environment in entry.environments:
        plain = tuple(setting.replace(RUNS + "/", "") for setting in entry.settings)
        request = TrainingRequest.of(
            entry.optimizer, environment, entry.outer, plain, entry.on, entry.trials, entry.iterations
        )
        arguments = {**entry.model_dump(mode="json", exclude={"environments"}), "environment": environment}
        group = f"{environment} {entry.on} {request.trials} {request.iterations}"
        found.append(Task("train", default_folder(request).relative_to("runs").as_posix(), group, arguments))
    return found


def progressed(task: Task, folder: Path) -> Progressed:
    """How far a task is, as its run's folder below `folder`, or the store, says."""
    if task.kind == "dataset":
        return Progressed("finished" if task.name in local_names() else "waiting")
    place = folder / task.name
    if not (place / RECORD_NAME).is_file():
        return Progressed("begun" if (place / KEY_NAME).is_file() else "waiting")
    try:
        record = read_record(place / RECORD_NAME) if task.kind == "run" else read_training_record(place)
    except ProtocolError as error:
        return Progressed("begun", reason=str(error))  # damaged: the run makes it again
    if record.status.state == "failed":
        return Progressed("failed", reason=f"{record.status.stage}: {record.status.reason}")
    return Progressed("finished", _seconds(record), record=record)


def _seconds(record: Record | TrainingRecord) -> float:
    if isinstance(record, TrainingRecord):
        return record.cost.wall_seconds
    cost = record.cost
    return cost.fit_seconds + cost.forecast_seconds + cost.evaluation_seconds


def message_of(task: Task, folder: Path, cores: Sequence[int] = ()) -> Message:
    """What a process is given to perform a task."""
    return {
        "kind": task.kind,
        "arguments": task.arguments,
        "runs": str(folder.absolute()),
        "out": str((folder / task.name).absolute()),
        "cores": [*cores],
    }


def perform(message: Message, send: Send) -> None:
    """Perform a task: what a worker process does. It sends its progress, and at the end an `error` if it failed."""
    if message["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, message["cores"])

    def report(stage: str, done: int, total: int, word: str) -> None:
        send({"stage": stage, "done": done, "total": total})

    try:
        _perform(message, report)
    except TiplBenchError as error:
        send({"error": str(error)})


def _perform(message: Message, report: Progress) -> None:
    given = dict(message["arguments"])
    if message["kind"] == "dataset":
        collect_named(given["name"], None, None, report)
        return
    settings = [setting.replace(RUNS, message["runs"]) for setting in given.pop("settings")]
    if message["kind"] == "run":
        run(given.pop("model"), given.pop("dataset"), options=settings, out=message["out"], progress=report, **given)
        return
    train(
        given.pop("optimizer"), given.pop("environment"), options=settings, out=message["out"], progress=report, **given
    )
