"""What a predictor's process may not do: read hidden files, reach the network, outlive its run, use all memory.

Only the standard library is imported here: a Landlock domain holds for the thread that enters it and for what that
starts, so it is entered before any library has started threads.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

# linux/landlock.h and linux/prctl.h; the system calls have the same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION = 1
PATH_BENEATH = 1
READ_FILE = 1 << 2
TCP_BIND_AND_CONNECT = 1 << 0 | 1 << 1
TCP_SINCE = 4
SET_PARENT_DEATH_SIGNAL, SET_NO_NEW_PRIVILEGES = 1, 38

LANDLOCK, NOTHING = "landlock", "none"
"""What keeps the process from its targets: the kernel, or only that nobody tells it where they are."""


def die_with_parent() -> None:
    """Ask the kernel to end this process when the run that started it ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def limit_memory(size: int) -> None:
    """Let allocations fail beyond so many bytes of writable memory, or fewer where this user may not have as many."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def peak_memory(whose: int = resource.RUSAGE_SELF) -> int:
    """The largest resident size so far, in bytes: of this process, or of those that it started and that have ended."""
    peak = resource.getrusage(whose).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def hide(hidden: Iterable[Path], shown: Iterable[Path]) -> str:
    """Make everything under the hidden folders unreadable to this process, and the network unreachable.

    Landlock (Linux 5.13; the network since 6.7) knows only what is permitted, so all that is there now is, but for the
    hidden folders. What is put later into a folder above one is not.

    Parameters
    ----------
    hidden
        Folders; those that do not exist are passed over.
    shown
        Files that stay readable wherever they lie.

    Returns
    -------
    str
        `LANDLOCK`, or `NOTHING` where the kernel has no such thing.
    """
    version = _landlock(CREATE_RULESET, None, 0, ASK_VERSION) if sys.platform == "linux" else -1
    if version < 1 or _threads() > 1:
        return NOTHING
    rights = struct.pack("QQ", READ_FILE, TCP_BIND_AND_CONNECT) if version >= TCP_SINCE else struct.pack("Q", READ_FILE)
    rules = _landlock(CREATE_RULESET, rights, len(rights), 0)
    if rules < 0:
        return NOTHING
    try:
        for path in (*_around([folder.resolve() for folder in hidden]), *shown):
            _permit(rules, path)
        ctypes.CDLL(None).prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return LANDLOCK if _landlock(RESTRICT_SELF, rules, 0) == 0 else NOTHING
    finally:
        os.close(rules)


def _landlock(call: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None).syscall(call, *arguments))


def _threads() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1  # noqa: PTH112, PTH208


def _around(hidden: list[Path]) -> list[Path]:
    """The largest files and folders that hold nothing hidden.

    Where Python itself or a package lies within a hidden folder (an environment in the store's), it has to be readable.
    """
    permitted: list[Path] = []
    code = [Path(entry).resolve() for entry in (sys.prefix, sys.base_prefix, *sys.path)]
    within = [folder for folder in code if any(one in folder.parents for one in hidden) and folder.is_dir()]
    open_folders = [Path("/"), *within]
    while open_folders:
        for path in _entries(open_folders.pop()):
            above = any(path in folder.parents for folder in hidden)
            if path not in hidden:
                (open_folders if above else permitted).append(path)
    return permitted


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, but for links: where those lead has a place of its own."""
    try:
        return [path for path in folder.iterdir() if not path.is_symlink()]
    except OSError:  # not readable to this user anyhow
        return []


def _permit(rules: int, path: Path) -> None:
    """Permit reading a file, or everything beneath a folder."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or nothing that this user may use
        return
    try:
        _landlock(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", READ_FILE, descriptor), 0)
    finally:
        os.close(descriptor)
