"""What a worker may use, and its descendants, how they end, and the memory that they took, by the kernel's count."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...utils.errors import OptionError

MIN_MEMORY = 1 << 27  # what Python and its packages take before a predictor starts
MAX_TIMEOUT, MAX_MEMORY = 10**8, 1 << 50
"""Largest limits, in seconds (three years) and bytes, that sockets and the kernel accept."""
UNKNOWN_STATUS = 256
"""Stands for the exit status of a child that the kernel reaped, as it does where this process ignores SIGCHLD."""


@dataclass(frozen=True)
class Limits:
    """Time and memory limits of a predictor.

    Parameters
    ----------
    timeout
        Seconds for fitting, and for each batch of forecasts; None for no limit.
    memory
        Bytes of writable memory, shared memory and files in memory included; by default this machine's physical memory,
        so that running out ends the worker and nothing else.
    """

    timeout: float | None = None
    memory: int = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def __post_init__(self) -> None:
        """Raise `OptionError` for a value out of range."""
        if self.timeout is not None and not 0 < self.timeout <= MAX_TIMEOUT:
            raise OptionError(f"Invalid timeout {self.timeout:g}: use more than 0 and at most {MAX_TIMEOUT:,} seconds.")
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            limit, least, most = self.memory / 2**30, MIN_MEMORY / 2**30, MAX_MEMORY >> 30
            raise OptionError(f"Invalid memory limit {limit:g} GiB: use {least:g} GiB to {most:,} GiB.")


def own_peak() -> int:
    """Peak resident size of this process in bytes."""
    return _in_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def living_peak(root: int) -> int:
    """Largest peak resident size in bytes of the living descendants of a process; 0 if there is none, or no /proc."""
    return max((_size(Path(f"/proc/{process}/status"), b"VmHWM:") for process in descendants(root)), default=0)


def exceeds_memory(root: int, folder: Path, limit: int) -> bool:
    """Whether the living descendants of a process hold more than `limit` bytes in all; False without /proc.

    That is their own memory, and every shared mapping, open file and file in `folder` that is kept in memory. What is
    shared counts once, as mapped or as allocated, whichever is more: a process can take pages out of its resident size
    that stay in memory.
    """
    processes = [Path(f"/proc/{process}") for process in descendants(root)]
    shared = _shared_memory(processes, folder)
    own = sum(_size(place / "status", b"RssAnon:") for place in processes)
    if own + shared <= limit:
        return False
    # Forked processes share pages; the kernel takes long to count these.
    return sum(_size(place / "smaps_rollup", b"Pss_Anon:") for place in processes) + shared > limit


def _shared_memory(processes: Iterable[Path], folder: Path) -> int:
    devices, sizes = _memory_devices(), defaultdict[int, int](int)

    def add(file: Path | str) -> None:
        with contextlib.suppress(OSError):  # closed or removed by now
            status = os.stat(file)  # noqa: PTH116
            if status.st_dev in devices and stat.S_ISREG(status.st_mode):
                sizes[status.st_ino] = max(sizes[status.st_ino], status.st_blocks * 512)

    for place in processes:
        mapped = defaultdict[int, int](int)
        with contextlib.suppress(OSError):  # ended by now
            for line in (place / "maps").read_bytes().splitlines():
                ends, access, _, device, inode, *_ = line.split(maxsplit=5)
                if access.endswith(b"s") and _device(device.decode(), 16) in devices:
                    start, end = (int(number, 16) for number in ends.split(b"-"))
                    mapped[int(inode)] += end - start
            for file in (place / "fd").iterdir():
                add(file)
        for number, size in mapped.items():
            sizes[number] = max(sizes[number], size)
    with contextlib.suppress(OSError):  # removed by now
        for parent, _, names in os.walk(folder) if folder.stat().st_dev in devices else ():
            for name in names:
                add(f"{parent}/{name}")
    return sum(sizes.values())


@cache
def _memory_devices() -> frozenset[int]:
    """The devices of files that are kept in memory: shared mappings and mounted ones."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        mapping = os.memfd_create("probe")
    except (OSError, AttributeError):  # not Linux
        return frozenset()
    with os.fdopen(mapping):
        kept = {_device(mount[2], 10) for mount in mounts if {"tmpfs", "ramfs"} & {*mount[6:]}}
        return frozenset({os.fstat(mapping).st_dev, *kept})


def _device(text: str, base: int) -> int:
    major, _, minor = text.partition(":")
    return os.makedev(int(major, base), int(minor, base))


def _size(file: Path, name: bytes) -> int:
    """A size in a file of /proc, in bytes; 0 if it is not there."""
    with contextlib.suppress(OSError):  # ended by now
        _, found, rest = file.read_bytes().partition(b"\n" + name)
        return int(rest.split(maxsplit=1)[0]) * 1024 if found else 0
    return 0


def descendants(root: int) -> list[int]:
    """The living descendants of a process; none without /proc."""
    children = children_by_parent()
    found = list(children.get(root, ()))
    for process in found:
        found += children.get(process, ())
    return found


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


def signal_name(number: int) -> str:
    """A signal as programmers know it."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _in_bytes(size: int) -> int:
    return size if sys.platform == "darwin" else size * 1024
