"""The tasks of a suite: what each does, in a process of its own, and what its folder says of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...baselines import predictor_type
from ...baselines.optimizers.lookup import build_optimizer
from ...baselines.options import build_options
from ...baselines.saving import options_dict
from ...registry.catalog import catalog, is_bundled
from ...registry.collection.presets import presets
from ...registry.store import exclusive, local_names
from ...utils.engines.cluster import LOCAL, open_cluster
from ...utils.engines.work import Message, Send
from ...utils.errors import OptionError, ProtocolError, TiplBenchError, UnknownNameError
from ...utils.progress import Progress
from ..collection import load_or_collect
from ..protocol import protocol
from ..record import KEY_NAME, RECORD_NAME, Record, read_record
from ..request import resolved_model, run_folder
from ..run import run
from ..training.record import TrainingRecord, read_training_record
from ..training.request import TrainingRequest, default_folder, with_files
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
        What it differs from others of in the seed alone: tasks of one group take about as long as each other.
    arguments
        What `load_or_collect`, `run` or `train` is called with, as JSON can hold it.
    needs
        Names of the tasks that must be finished before.
    stated
        What the record of its run states, as far as that is known before it is run, by the names of `_stated`.
    """

    kind: Kind
    name: str
    group: str
    arguments: dict[str, Any]
    needs: tuple[str, ...] = ()
    stated: Mapping[str, Any] = field(default_factory=dict)


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
    """All tasks, each after those that it needs. Whatever the suite names is looked up: nothing is begun for a typo.

    Raises
    ------
    OptionError
        If an entry names what does not exist, or two entries give different tasks of one name; the message says where.
    """
    runs, trainings = (
        _of_entries("forecast", suite.forecast, _runs),
        _of_entries("training", suite.training, _trainings),
    )
    datasets: dict[str, Task] = {}
    for task in runs:
        for name in task.needs:
            _add_dataset(name, task.arguments["protocol"], datasets)
    found: dict[str, Task] = {}
    for task in (*datasets.values(), *runs, *trainings):
        other = found.setdefault(task.name, task)
        if other != task:
            classes = other.arguments.get("model") != task.arguments.get("model")
            way_out = "rename one's class" if classes else "make them one entry"
            raise OptionError(f"Two entries of the suite have different runs of the name {task.name}; {way_out}.")
    for task in trainings:
        for name in task.needs:
            if name not in found:
                raise OptionError(f"{task.name} needs the run {name}, which is no task of the suite.")
    return list(found.values())


Entry = TypeVar("Entry", ForecastEntry, TrainingEntry)


def _of_entries(kind: str, entries: Sequence[Entry], make: Callable[[Entry], list[Task]]) -> list[Task]:
    """The tasks of entries; an error says of which one it is."""
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found += make(entry)
        except TiplBenchError as error:
            raise OptionError(f"{kind} entry {number}: {error}") from None
    return found


def _add_dataset(name: str, version: int, known: dict[str, Task]) -> None:
    """Add a dataset and, before it, the one that it extends or truncates."""
    if name in known:
        return
    chosen = presets().get(name)
    base = getattr(chosen, "extends", None) or getattr(chosen, "truncates", None)
    needs = () if base is None or is_bundled(base) or name in local_names() else (base,)
    for one in needs:
        _add_dataset(one, version, known)
    known[name] = Task("dataset", name, f"dataset {name}", {"name": name, "protocol": version}, needs)


def _runs(entry: ForecastEntry) -> list[Task]:
    chosen, known = protocol(entry.protocol), {*catalog(), *presets(), *local_names()}
    for name in filter(None, (*entry.datasets, entry.fit_on)):
        if name not in known:
            raise UnknownNameError("dataset", name, known)
    with resolved_model(entry.model, entry.budget) as (model, _):
        kind = predictor_type(model)
        options = options_dict(build_options(kind, entry.budget, entry.settings, chosen.context))
    fixed = {
        "predictor": kind.name,
        "version": kind.version,
        "budget": entry.budget,
        "options": options,
        "fitted on": entry.fit_on,
        "protocol": chosen,
    }
    found = []
    for dataset in entry.datasets:
        if dataset == entry.fit_on:
            raise OptionError(f"{dataset} is fitted on anyway; leave out fit_on, or the dataset.")
        for seed in entry.seeds:
            short = model.rpartition(":")[2]
            folder = run_folder(dataset, short, entry.settings, entry.budget, seed, chosen, entry.fit_on)
            given = entry.model_dump(mode="json", exclude={"datasets", "seeds"})
            arguments = {**given, "model": model, "dataset": dataset, "seed": seed}
            group = " ".join((model, *entry.settings, entry.budget, dataset, entry.fit_on or ""))
            needs = tuple(name for name in (dataset, entry.fit_on) if name and not is_bundled(name))
            stated = {**fixed, "dataset": dataset, "seed": seed}
            found.append(Task("run", folder.relative_to("runs").as_posix(), group, arguments, needs, stated))
    return found


def _trainings(entry: TrainingEntry) -> list[Task]:
    needs = tuple(one.partition(RUNS + "/")[2] for one in entry.settings if RUNS in one)
    checked = [f"{one.partition('=')[0]}=persistence" if RUNS in one else one for one in entry.settings]
    plain = tuple(one.replace(RUNS + "/", "") for one in entry.settings)
    build_optimizer(entry.optimizer, entry.outer, with_files(checked)[0])
    found = []
    for environment in entry.environments:
        request = TrainingRequest.of(
            entry.optimizer, environment, entry.outer, plain, entry.on, entry.trials, entry.iterations
        )
        arguments = {**entry.model_dump(mode="json", exclude={"environments"}), "environment": environment}
        name = default_folder(request).relative_to("runs").as_posix()
        group = f"{environment} {' '.join((entry.optimizer, *entry.outer))} {request.trials} {request.iterations}"
        # What is fitted in this suite has no digest yet.
        stated = {} if needs else {"method or protocol": request.key()}
        found.append(Task("train", name, group, arguments, needs, stated))
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
    found = _stated(record)
    if other := [name for name, value in task.stated.items() if found[name] != value]:
        return Progressed("failed", reason=f"{place} holds a run of other {', '.join(other)}. Remove it to run anew.")
    return Progressed("finished", _seconds(record), record=record)


def _stated(record: Record | TrainingRecord) -> dict[str, Any]:
    """What a record says that its run is of."""
    if isinstance(record, TrainingRecord):
        return {"method or protocol": record.key}
    key, method = record.key, record.key.method
    return {
        "predictor": method.name,
        "version": method.version,
        "budget": method.budget,
        "options": dict(method.options),
        "fitted on": method.fitted_on.name if method.fitted_on else None,
        "protocol": key.protocol,
        "dataset": key.dataset.name,
        "seed": key.seed,
    }


def _seconds(record: Record | TrainingRecord) -> float:
    if isinstance(record, TrainingRecord):
        return record.cost.wall_seconds
    cost = record.cost
    return cost.fit_seconds + cost.forecast_seconds + cost.evaluation_seconds


def message_of(task: Task, folder: Path) -> Message:
    """What a process is given to perform a task."""
    runs, arguments = str(folder.absolute()), task.arguments
    if "settings" in arguments:
        arguments = arguments | {"settings": [one.replace(RUNS, runs) for one in arguments["settings"]]}
    return {
        "kind": task.kind,
        "arguments": arguments,
        "needs": [*task.needs],
        "runs": runs,
        "out": str((folder / task.name).absolute()),
    }


def perform(message: Message, send: Send) -> None:
    """Perform a task: what a worker process does. It sends its progress, and at the end an `error` if it failed."""
    if (cores := message.get("cores")) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)

    def report(stage: str, done: int, total: int, word: str) -> None:
        send({"stage": stage, "done": done, "total": total})

    try:
        _perform(message, report)
    except TiplBenchError as error:
        send({"error": str(error)})


def _perform(message: Message, report: Progress) -> None:
    given = dict(message["arguments"])
    if message["kind"] == "dataset":
        cluster = open_cluster(message.get("engine", LOCAL))
        # one after another: this machine's part of each takes all its cores
        with exclusive("a suite's collection", wait=True) if cluster else contextlib.nullcontext():
            load_or_collect(given["name"], True, protocol(given["protocol"]), report, cluster=cluster)
        return
    settings = given.pop("settings")
    if message["kind"] == "run":
        run(given.pop("model"), given.pop("dataset"), options=settings, out=message["out"], progress=report, **given)
        return
    train(
        given.pop("optimizer"), given.pop("environment"), options=settings, out=message["out"], progress=report, **given
    )
