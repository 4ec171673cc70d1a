"""A subreaper process between the run and the worker, which kills everything that the worker started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time

from .usage import children_by_parent

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
REAP_TIMEOUT = 5.0
"""Seconds for which remaining descendants are killed."""


def run_under_subreaper(inherited: int) -> None:
    """Fork: return in the child; the parent becomes a subreaper, waits, and exits with the child's status.

    Orphaned descendants are reparented to the nearest subreaper, even from a session of their own. They are killed when
    the child has ended, when the run ends, or when the run sends SIGTERM. Linux only; elsewhere this does nothing.

    Parameters
    ----------
    inherited
        The worker's socket, which the subreaper closes.
    """
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGTERM, lambda number, frame: _kill(child))
    os.close(inherited)
    ended = None
    while ended != child:
        ended, status = os.waitpid(-1, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _kill_descendants()
    _exit_like(os.waitstatus_to_exitcode(status))


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def _kill_descendants() -> None:
    """Kill all children, and their children, which are reparented to this process."""
    until = time.monotonic() + REAP_TIMEOUT
    while time.monotonic() < until and (children := children_by_parent().get(os.getpid())):
        for process in children:
            _kill(process)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)


def _exit_like(code: int) -> None:
    """Exit with a status, or by the signal that a negative status stands for, without a second core dump."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
