"""Blocks of trials trained side by side, each process on a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from ...rl import Optimizer
from ...utils.engines.child import ChildProcess
from ...utils.engines.work import Function, Message, Process, Send, Start, Work, into, program_of
from ...utils.errors import DatasetError, TiplBenchError, reason
from ...utils.machine import cpu_name
from ..collection_config import CollectionConfig
from .block import collect_block, resumable_names

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ANY_PROCESSOR = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"}
"""Environment of a process that sums in one order on every x86-64 processor: in MKL, and in torch's own loops. Both
choose by the processor otherwise, once, as they are loaded."""
Report = Callable[[list[int], int, str], None]
"""Called with a block, its iterations done, and a word on how it goes."""


@dataclass(frozen=True)
class Trainer:
    """What trains the blocks of a collection whose config names a method.

    Parameters
    ----------
    program
        What a process does with its task; it compares the task's `code` with the code that it finds.
    code
        Versions of the method's code that no version of this package covers, by name.
    """

    program: Function
    code: Mapping[str, str] = field(default_factory=dict)


def collect_side_by_side(
    config: CollectionConfig,
    blocks: Sequence[list[int]],
    folder: Path,
    *,
    processes: int,
    threads: int,
    report: Report,
    seeds: Sequence[int] | None = None,
    checkpoints: int | None = None,
    trainer: Trainer | None = None,
    start: Start = ChildProcess,
) -> None:
    """Train blocks as `collect_block` does, in several processes.

    Parameters
    ----------
    config
        The collection.
    blocks
        The blocks, dealt out to the processes in turn.
    folder
        Where finished trials stand.
    processes
        How many processes. Results do not depend on it.
    threads
        Physics threads of each.
    report
        Called after every iteration of every block, in the calling thread.
    seeds, checkpoints
        As for `collect_block`.
    trainer
        What trains, of a collection whose config names a method; `train_blocks` by default.
    start
        What starts the processes, here or on a cluster.

    Raises
    ------
    DatasetError
        If a block could not be trained; the other processes are ended then.
    """
    messages: SimpleQueue[tuple[int, Message | None]] = SimpleQueue()
    at_work, running = dict[int, list[int]](), dict[int, Process]()
    with contextlib.ExitStack() as stack:
        for place in range(processes):
            own = blocks[place::processes]
            task = {
                "config": config.model_dump(mode="json"),
                "blocks": own,
                "folder": str(folder.absolute()),
                "threads": threads,
                "seeds": seeds,
                "checkpoints": checkpoints,
                "code": dict(trainer.code) if trainer else {},
            }
            work = Work(
                program_of(trainer.program if trainer else train_blocks),
                task,
                ONE_THREAD | (ANY_PROCESSOR if config.any_processor else {}),
                folder,
                resumed_from=resumable_names(own[0]) if len(own) == 1 else (),
                versions={} if config.any_processor else {"cpu": cpu_name()},
            )
            at_work[place] = own[0]
            running[place] = stack.enter_context(start(work, into(messages, place)))
        while running:
            place, message = messages.get()
            if message is None:
                _check(running.pop(place), at_work[place], here=start is ChildProcess)
            elif error := message.get("error"):
                raise DatasetError(error)
            else:
                at_work[place] = message["block"]
                report(message["block"], message["done"], message["word"])


def _check(process: Process, block: Sequence[int], *, here: bool) -> None:
    """Raise `DatasetError` if the process ended without finishing its work."""
    if how := process.failure():
        less = "; with --threads 1 it needs the least memory" if here else ""
        raise DatasetError(
            f"The process that trained {_trials(block)} {how}. What is finished stays: the same command "
            f"goes on from there{less}."
        )


def _trials(block: Sequence[int]) -> str:
    return f"trials {block[0]} to {block[-1]}" if len(block) > 1 else f"trial {block[0]}"


def train_blocks(task: Message, send: Send, optimizer: Callable[[], Optimizer] | None = None) -> None:
    """What a worker does: train the blocks of a task, each with an optimizer that is built for it if one is given."""

    def report(stage: str, done: int, total: int, word: str) -> None:
        send({"block": block, "done": done, "word": word})

    for block in task["blocks"]:
        try:
            collect_block(
                CollectionConfig.model_validate(task["config"]),
                block,
                Path(task["folder"]),
                threads=task["threads"],
                progress=report,
                seeds=task["seeds"],
                checkpoints=task["checkpoints"],
                optimizer=optimizer() if optimizer else None,
            )
        except TiplBenchError as error:
            send({"error": str(error)})
        except Exception as error:
            send(
                {
                    "error": f"{_trials(block).capitalize()} could not be trained ({reason(error)}). What is finished "
                    "stays: the same command goes on from there."
                }
            )
