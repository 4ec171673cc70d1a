"""What a run's files, its dataset and this package alone decide: its numbers recomputed, its predictor run again.

It takes nearly all the time of a check and knows nothing of the board, so that any machine can do it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from ...benchmark.provenance import provenance
from ...benchmark.worker.usage import Limits
from ...utils.engines.work import Message, Send
from ...utils.errors import TiplBenchError
from ...utils.progress import Progress
from ..verify.folder import RunFolder, open_run
from ..verify.reproduce import ReproductionResult
from ..verify.rescore import RescoreResult, rescore
from .identity import normaliser_problem, reproduction_problem, run_again


@dataclass(frozen=True)
class Examination:
    """What examining a run found.

    Parameters
    ----------
    rescored
        What re-scoring found.
    reproduced
        What running it again gave, if it was asked for, no number differs, and it succeeded.
    problem
        Why it could not be run again, or is not the predictor of its name.
    machine
        Processor and platform of the machine that examined it, as evidence names them; empty for this one.
    """

    rescored: RescoreResult
    reproduced: ReproductionResult | None = None
    problem: str | None = None
    machine: Mapping[str, str] = field(default_factory=dict)


class Examine(Protocol):
    """Examines a run; raises `TiplBenchError` if it cannot be scored."""

    def __call__(self, run: RunFolder, progress: Progress, *, rerun: bool) -> Examination: ...


class NotExaminedError(TiplBenchError):
    """A run could not be examined, for a reason that says nothing of the run."""


EXAMINATION = TypeAdapter(Examination)


def examine(run: RunFolder, progress: Progress, *, rerun: bool, fresh: bool, limits: Limits) -> Examination:
    """Re-score a run; if no number differs, run its predictor again.

    Parameters
    ----------
    run
        The run.
    progress
        Receives the progress.
    rerun
        Whether to run it again: forecasts under the name of a predictor of this package are that predictor's.
    fresh
        Evaluate every return now, also those that the store holds.
    limits
        Time and memory of the predictor that is run again.

    Raises
    ------
    ProtocolError
        If it cannot be scored at all.
    """
    found = rescore(run, progress, fresh=fresh)
    if not rerun or found.differences:
        return Examination(found)
    try:
        with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
            folder = Path(scratch) / "again"
            again = run_again(run, folder, limits, progress)
            made = RunFolder(folder, again.again, run.dataset)
            return Examination(found, again, reproduction_problem(again) or normaliser_problem(run, made))
    except TiplBenchError as error:
        return Examination(found, problem=str(error))


def perform(task: Message, send: Send) -> None:
    """Examine the run that a task names: the program of a piece of work.

    Its task has `folder`, `rerun`, `fresh`, `timeout` and `memory` (None: all of this machine's). It tells of its
    `progress`, and at the end the `examination`, or the `problem` for which the run cannot be scored.
    """

    def tell(stage: str, done: int, total: int, word: str) -> None:
        send({"progress": [stage, done, total, word]})

    memory = {"memory": task["memory"]} if task["memory"] is not None else {}
    try:
        limits = Limits(task["timeout"], **memory)
        run = open_run(Path(task["folder"]))
        found = examine(run, tell, rerun=task["rerun"], fresh=task["fresh"], limits=limits)
    except TiplBenchError as error:
        send({"problem": str(error), "folder": task["folder"]})
        return
    here = provenance("cpu", "none")
    # Not pydantic's JSON, which has no infinite and undefined numbers, as differences may be.
    told = EXAMINATION.dump_python(found) | {"machine": {"cpu": here.cpu, "platform": here.platform}}
    send({"examination": told})


def read_examination(told: Message) -> Examination:
    """The examination that `perform` told."""
    return EXAMINATION.validate_json(json.dumps(told))
