"""Memory that processes took, by the kernel's count."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path


def own_peak() -> int:
    """Peak resident size of this process in bytes."""
    return _in_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def living_peak(root: int) -> int:
    """Largest peak resident size in bytes of the living descendants of a process; 0 if there is none, or no /proc."""
    children: dict[int, list[Path]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended by now
            parent = int(entry.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(entry.parent)
    peak, waiting = 0, children.get(root, [])
    while waiting:
        process = waiting.pop()
        waiting += children.get(int(process.name), ())
        with contextlib.suppress(OSError):
            _, found, rest = (process / "status").read_bytes().partition(b"\nVmHWM:")
            peak = max(peak, int(rest.split()[0]) * 1024 if found else 0)
    return peak


def wait(process: int) -> tuple[int, int] | None:
    """Exit status of an ended child, and the peak resident size of it and its own ended children; None while it runs.

    The peak is 0 unless it is above this process's own: Linux counts the memory of the process that starts another as
    the other's.
    """
    try:
        ended, status, usage = os.wait4(process, os.WNOHANG)
    except ChildProcessError:  # reaped already, as where SIGCHLD is ignored
        return 0, 0
    if not ended:
        return None
    peak = _in_bytes(usage.ru_maxrss)
    return os.waitstatus_to_exitcode(status), peak if peak > own_peak() else 0


def _in_bytes(size: int) -> int:
    return size if sys.platform == "darwin" else size * 1024
