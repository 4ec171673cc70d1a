"""Descendants of a process, how they end, and the memory that they took, by the kernel's count."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

UNKNOWN_STATUS = 256
"""Stands for the exit status of a child that the kernel reaped, as it does where this process ignores SIGCHLD."""


def own_peak() -> int:
    """Peak resident size of this process in bytes."""
    return _in_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def living_peak(root: int) -> int:
    """Largest peak resident size in bytes of the living descendants of a process; 0 if there is none, or no /proc."""
    children = children_by_parent()
    peak, waiting = 0, children.get(root, [])
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, ())
        with contextlib.suppress(OSError):
            _, found, rest = Path(f"/proc/{process}/status").read_bytes().partition(b"\nVmHWM:")
            peak = max(peak, int(rest.split()[0]) * 1024 if found else 0)
    return peak


def children_by_parent() -> dict[int, list[int]]:
    """The process ids of each living process's children; empty without /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended by now
            parent = int(entry.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    return children


def wait(process: int) -> tuple[int, int] | None:
    """Exit status of an ended child, and the peak resident size of it and its own ended children; None while it runs.

    The peak is 0 unless it is above this process's own: Linux counts the memory of the process that starts another as
    the other's.
    """
    try:
        ended, status, usage = os.wait4(process, os.WNOHANG)
    except ChildProcessError:
        return UNKNOWN_STATUS, 0
    if not ended:
        return None
    peak = _in_bytes(usage.ru_maxrss)
    return os.waitstatus_to_exitcode(status), peak if peak > own_peak() else 0


def _in_bytes(size: int) -> int:
    return size if sys.platform == "darwin" else size * 1024
