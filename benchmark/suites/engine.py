"""Engines: what performs the tasks of a suite. The local one is processes of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from ...registry.collection.child import ChildProcess, Message
from .tasks import perform


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with an error, or well."""

    name: str
    error: str | None = None


Report = Callable[[str, Message], None]
"""Called with a task's name and what it says of its progress: `stage`, `done` and `total`."""


class Engine(Protocol):
    """Performs tasks, in their order as far as there is room."""

    def perform(self, tasks: Sequence[tuple[str, Message]], report: Report) -> Iterator[Outcome]:
        """Perform tasks by their names, and give each one's outcome as it ends."""


class LocalEngine:
    """Processes of this machine, each on its share of the cores.

    Parameters
    ----------
    jobs
        Tasks at once. A task uses all the cores it has, so that several at once are of use where there are many.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def perform(self, tasks: Sequence[tuple[str, Message]], report: Report) -> Iterator[Outcome]:
        """See `Engine.perform`."""
        waiting, free = [*tasks], self._shares()
        messages: SimpleQueue[tuple[str, Message | None]] = SimpleQueue()
        running: dict[str, tuple[ChildProcess, list[int], contextlib.ExitStack]] = {}
        errors: dict[str, str] = {}
        with contextlib.ExitStack() as everything:
            while waiting or running:
                while waiting and free:
                    name, message = waiting.pop(0)
                    cores, own = free.pop(), everything.enter_context(contextlib.ExitStack())
                    child = ChildProcess(perform, {**message, "cores": cores}, partial(_pass_on, messages, name), {})
                    running[name] = (own.enter_context(child), cores, own)
                name, answer = messages.get()
                if answer is None:
                    child, cores, own = running.pop(name)
                    how = child.failure()
                    own.close()
                    free.append(cores)
                    yield Outcome(name, errors.pop(name, None) or (f"The process {how}." if how else None))
                elif "error" in answer:
                    errors[name] = answer["error"]
                else:
                    report(name, answer)

    def _shares(self) -> list[list[int]]:
        """The cores of each task; none named where they are all one task's."""
        if self.jobs == 1 or not hasattr(os, "sched_getaffinity"):
            return [[] for _ in range(self.jobs)]
        cores = sorted(os.sched_getaffinity(0))
        return [cores[place :: self.jobs] or [cores[place % len(cores)]] for place in range(self.jobs)]


def _pass_on(messages: SimpleQueue[tuple[str, Message | None]], name: str, message: Message | None) -> None:
    messages.put((name, message))
