"""A process of this package that works on a task and tells how it goes; it ends with the one that started it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from .work import Message, Receive, Work

CHILD_PROGRAM = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import work; work()"


class ChildProcess:
    """A process that does a piece of work, ended when the context is left.

    It has one line of JSON on its standard input, which stays open: when the parent ends, for whatever reason, so does
    it. It answers with lines of JSON.

    Parameters
    ----------
    work
        What it does.
    receive
        Called in a thread of this process.
    """

    def __init__(self, work: Work, receive: Receive) -> None:
        self._receive = receive
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        path = [str(Path(entry).absolute()) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", CHILD_PROGRAM, json.dumps(path), work.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **work.environment},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C goes to the parent alone
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, as `failure` will tell
            self._process.stdin.write(json.dumps(work.task) + "\n")
            self._process.stdin.flush()
        self._relay = threading.Thread(target=self._pass_on, args=[self._process.stdout], daemon=True)
        self._relay.start()

    def _pass_on(self, lines: IO[str]) -> None:
        for line in lines:
            if line.endswith("\n"):  # the last one may have been cut off by the process's end
                self._receive(json.loads(line))
        self._receive(None)

    def failure(self) -> str | None:
        """How the process ended, in words, if not well; waits for its end."""
        code = self._process.wait()
        if code == 0:
            return None
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        last = f" ({last})" if last else ""
        how = f"was killed ({signal.Signals(-code).name}), perhaps for want of memory" if code < 0 else "ended early"
        return f"{how}{last}"

    @property
    def killed(self) -> bool:
        """Whether a signal ended the process; known once it has ended."""
        return (self._process.returncode or 0) < 0

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *failure: object) -> None:
        self._process.kill()
        with self._process, self._errors:  # waits, and closes the pipes
            self._relay.join()


def work() -> None:
    """The process's program: call the function that the arguments name with the task that standard input holds."""
    module, _, name = sys.argv[2].partition(":")
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def send(message: Message) -> None:
        print(json.dumps(message), file=answers, flush=True)

    getattr(importlib.import_module(module), name)(task, send)


def _end_with_parent() -> None:
    """End this process when its standard input does: the parent is gone."""
    os.read(0, 1)
    os._exit(1)
