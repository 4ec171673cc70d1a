"""Blocks of trials trained side by side, each process on a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

from ...rl import Optimizer
from ...utils.errors import DatasetError, TiplBenchError, reason
from ..collection_config import CollectionConfig
from .block import collect_block
from .child import ChildProcess, Message, Send

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ANY_PROCESSOR = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"}
"""Environment of a process that sums in one order on every x86-64 processor: in MKL, and in torch's own loops. Both
choose by the processor otherwise, once, as they are loaded."""
Worker = Callable[[Message, Send], None]
Report = Callable[[list[int], int, str], None]
"""Called with a block, its iterations done, and a word on how it goes."""


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
    worker: Worker | None = None,
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
    worker
        What a process does with its task, instead of `train_blocks`: for a collection whose config names a method.

    Raises
    ------
    DatasetError
        If a block could not be trained; the other processes are ended then.
    """
    messages: SimpleQueue[tuple[_Process, Message | None]] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        for place in range(processes):
            task = {
                "config": config.model_dump(mode="json"),
                "blocks": blocks[place::processes],
                "folder": str(folder),
                "threads": threads,
                "seeds": seeds,
                "checkpoints": checkpoints,
            }
            environment = ONE_THREAD | (ANY_PROCESSOR if config.any_processor else {})
            stack.enter_context(_Process(worker or train_blocks, task, messages, environment))
        running = processes
        while running:
            process, message = messages.get()
            if message is None:
                process.check()
                running -= 1
            elif error := message.get("error"):
                raise DatasetError(error)
            else:
                process.block = message["block"]
                report(message["block"], message["done"], message["word"])


class _Process(ChildProcess):
    """A process that trains blocks; its messages go to a queue, None at its end."""

    def __init__(
        self,
        worker: Worker,
        task: Message,
        messages: SimpleQueue[tuple[_Process, Message | None]],
        environment: dict[str, str],
    ) -> None:
        self.block: list[int] = task["blocks"][0]
        super().__init__(worker, task, lambda message: messages.put((self, message)), environment)

    def check(self) -> None:
        """Raise `DatasetError` if the process ended without finishing its work."""
        if how := self.failure():
            raise DatasetError(
                f"The process that trained {_trials(self.block)} {how}. What is finished stays: the same command "
                "goes on from there; with --threads 1 it needs the least memory."
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
