"""A piece of work for another process, here or on another machine, and what follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

Message = dict[str, Any]
Send = Callable[[Message], None]
Function = Callable[[Message, Send], None]
Receive = Callable[[Message | None], None]
"""Called in a thread with every message of a piece of work, and with None at the end."""


@dataclass(frozen=True)
class Work:
    """What a process does.

    Parameters
    ----------
    program
        `module:function`, see `program_of`. The function is called with the task and with one that sends a message.
    task
        What JSON can hold.
    environment
        Variables besides those of the process that starts it.
    folder
        Where it leaves its files; on another machine, a folder there, whose files come back to this one.
    inputs
        Files that the task names, itself or by their folders; another machine gets copies.
    resumed_from
        Names of files in the folder that interrupted work goes on from, all or none; the last one changes last.
    last
        Name of the file whose presence says that the others are there.
    versions
        What must be the same on another machine besides the packages' versions: `cpu`, the processor's name.
    whole_node
        It uses all cores of a machine, not one.
    """

    program: str
    task: Message
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    inputs: tuple[Path, ...] = ()
    resumed_from: tuple[str, ...] = ()
    last: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    whole_node: bool = False


def program_of(function: Function) -> str:
    """A function of a module's top level, by name."""
    return f"{function.__module__}:{function.__name__}"


Label = TypeVar("Label")


def into(messages: SimpleQueue[tuple[Label, Message | None]], label: Label) -> Receive:
    """What puts the messages of a piece of work into a queue, each with its label."""
    return lambda message: messages.put((label, message))


class Process(Protocol):
    """Work that is being done; it is ended when the context is left."""

    def failure(self) -> str | None:
        """How the work ended, in words, if not well; waits for its end."""

    def __enter__(self) -> Process: ...

    def __exit__(self, *failure: object) -> None: ...


Start = Callable[[Work, Receive], Process]
"""Begins a piece of work: `ChildProcess`, or `Cluster.start`."""
