"""Whatever a predictor starts ends with it: a process between the run and the predictor's waits to see to that."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
PATIENCE = 5.0
"""Seconds for which new processes are ended; who starts them faster than that goes on."""


def stand_between(inherited: int) -> None:
    """Return in a child; this process closes the inherited descriptor, waits, and ends as the child did.

    Orphans go to the nearest subreaper above them, whatever session they made for themselves: here, where they are
    ended once the child has ended, or the run has, or the run asks for it by a SIGTERM. Only Linux has that.
    """
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGTERM, lambda number, frame: _end(child))
    os.close(inherited)
    ended = None
    while ended != child:
        ended, status = os.waitpid(-1, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_children()
    _end_as(os.waitstatus_to_exitcode(status))


def _end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def _end_children() -> None:
    """End all children, and theirs, which become this process's own."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (children := _children()):
        for process in children:
            _end(process)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)


def _children() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            parent = entry.read_bytes().rpartition(b")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(entry.parent.name))
    return found


def _end_as(code: int) -> None:
    """End with an exit status, or by the signal that a negative one stands for, leaving no second core."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
