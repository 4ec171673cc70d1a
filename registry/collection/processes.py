"""Blocks of trials trained side by side, each process on a thread of its own.

The parent starts `python -c BOOT`, writes one JSON line to its standard input and keeps that open: when it ends, for
whatever reason, so does the worker. The worker answers with one JSON line an iteration.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from ...utils.errors import DatasetError, TiplBenchError, reason
from ..collection_config import CollectionConfig
from .block import collect_block

BOOT = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import work; work()"
ANY_PROCESSOR = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"}
"""Environment of a process that sums in one order on every x86-64 processor: in MKL, and in torch's own loops. Both
choose by the processor otherwise, once, as they are loaded."""
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

    Raises
    ------
    DatasetError
        If a block could not be trained; the other processes are ended then.
    """
    messages: SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = SimpleQueue()
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
            stack.enter_context(_Worker(task, messages))
        running = processes
        while running:
            worker, message = messages.get()
            if message is None:
                worker.check()
                running -= 1
            elif error := message.get("error"):
                raise DatasetError(error)
            else:
                worker.block = message["block"]
                report(message["block"], message["done"], message["word"])


class _Worker:
    """A process that trains blocks, ended when the context is left; its messages go to a queue, None at its end."""

    def __init__(self, task: dict[str, Any], messages: SimpleQueue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        self.block: list[int] = task["blocks"][0]
        self._messages = messages
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        path = [str(Path(entry).absolute()) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", BOOT, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(ANY_PROCESSOR if task["config"].get("version") == 3 else {})},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C goes to the parent alone
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, as `check` will tell
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        self._relay = threading.Thread(target=self._receive, args=[self._process.stdout], daemon=True)
        self._relay.start()

    def _receive(self, lines: IO[str]) -> None:
        for line in lines:
            self._messages.put((self, json.loads(line)))
        self._messages.put((self, None))

    def check(self) -> None:
        """Raise `DatasetError` if the process ended without finishing its work."""
        code = self._process.wait()
        if code == 0:
            return
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        last = f" ({last})" if last else ""
        how = f"was killed ({signal.Signals(-code).name}), perhaps for want of memory" if code < 0 else "ended early"
        raise DatasetError(
            f"The process that trained {_trials(self.block)} {how}{last}. What is finished stays: the same command "
            "goes on from there; with --threads 1 it needs the least memory."
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *failure: object) -> None:
        self._process.kill()
        with self._process, self._errors:  # waits, and closes the pipes
            self._relay.join()


def _trials(block: Sequence[int]) -> str:
    return f"trials {block[0]} to {block[-1]}" if len(block) > 1 else f"trial {block[0]}"


def work() -> None:
    """The worker's program: train the blocks that standard input names, and tell how it goes on standard output."""
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def send(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    def report(stage: str, done: int, total: int, word: str) -> None:
        send(block=block, done=done, word=word)

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
            )
        except TiplBenchError as error:
            send(error=str(error))
        except Exception as error:
            send(
                error=f"{_trials(block).capitalize()} could not be trained ({reason(error)}). What is finished stays: "
                "the same command goes on from there."
            )


def _end_with_parent() -> None:
    """End this process when its standard input does: the parent is gone."""
    os.read(0, 1)
    os._exit(1)
