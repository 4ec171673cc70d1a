"""Engines: what performs the tasks of a suite. The local one is processes of this machine."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from ...utils.engines.child import ChildProcess
from ...utils.engines.work import Message, Process, Receive, Work, into, program_of
from .tasks import perform


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with an error, or well."""

    name: str
    error: str | None = None


Report = Callable[[str, Message], None]
"""Called with a task's name and what it says of its progress: `stage`, `done` and `total`."""


class Waiting:
    """Tasks that are not begun: which one can be, as those that it needs are finished.

    Parameters
    ----------
    tasks
        By their names; what they need and is not among them is finished.
    """

    def __init__(self, tasks: Sequence[tuple[str, Message]]) -> None:
        self.tasks = dict(tasks)
        self.unfinished = {*self.tasks}
        self.failed: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.tasks)

    def next(self) -> tuple[str, Message] | None:
        """Take the first task that can begin; None if there is none yet."""
        for name, message in self.tasks.items():
            if not self.unfinished.intersection(message["needs"]):
                del self.tasks[name]
                return name, message
        return None

    def end(self, name: str, *, failed: bool) -> Iterator[Outcome]:
        """Note that a task has ended; gives those that can never begin, as what they need has failed."""
        if not failed:
            self.unfinished.discard(name)
            return
        for other in [one for one, message in self.tasks.items() if name in message["needs"]]:
            del self.tasks[other]
            yield Outcome(other, f"It needs {name}, which is not finished.")
            yield from self.end(other, failed=True)


class Engine(ABC):
    """Performs tasks, in their order as far as there is room."""

    def perform(self, tasks: Sequence[tuple[str, Message]], report: Report) -> Iterator[Outcome]:
        """Perform tasks by their names, and give each one's outcome as it ends."""
        waiting, free = Waiting(tasks), self.places(len(tasks))
        messages: SimpleQueue[tuple[str, Message | None]] = SimpleQueue()
        running: dict[str, tuple[Process, list[int], contextlib.ExitStack]] = {}
        errors: dict[str, str] = {}
        with contextlib.ExitStack() as everything:
            while waiting or running:
                while free and (task := waiting.next()):
                    name, message = task
                    cores, own = free.pop(), everything.enter_context(contextlib.ExitStack())
                    process = own.enter_context(self.start(message, cores, into(messages, name)))
                    running[name] = (process, cores, own)
                name, answer = messages.get()
                if answer is None:
                    process, cores, own = running.pop(name)
                    how = process.failure()
                    own.close()
                    free.append(cores)
                    error = errors.pop(name, None) or (f"The process {how}." if how else None)
                    yield Outcome(name, error)
                    yield from waiting.end(name, failed=error is not None)
                elif "error" in answer:
                    errors[name] = answer["error"]
                else:
                    report(name, answer)

    @abstractmethod
    def places(self, tasks: int) -> list[list[int]]:
        """As many as there can be tasks at once: the cores of each, none named where they are all one task's."""

    @abstractmethod
    def start(self, message: Message, cores: list[int], receive: Receive) -> Process:
        """Begin a task."""


class LocalEngine(Engine):
    """Processes of this machine, each on its share of the cores.

    Parameters
    ----------
    jobs
        Tasks at once. A task uses all the cores it has, so that several at once are of use where there are many.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def places(self, tasks: int) -> list[list[int]]:
        """See `Engine`."""
        if self.jobs == 1 or not hasattr(os, "sched_getaffinity"):
            return [[] for _ in range(self.jobs)]
        cores = sorted(os.sched_getaffinity(0))
        return [cores[place :: self.jobs] or [cores[place % len(cores)]] for place in range(self.jobs)]

    def start(self, message: Message, cores: list[int], receive: Receive) -> Process:
        """See `Engine`."""
        threads = {"OMP_NUM_THREADS": str(len(cores))} if cores else {}
        return ChildProcess(Work(program_of(perform), {**message, "cores": cores}, threads), receive)
