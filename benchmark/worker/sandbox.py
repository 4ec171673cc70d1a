"""What a predictor's process may not do: read hidden files, write, reach the network, outlive its run, use all memory.

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
WRITE_FILE, READ_FILE = 1 << 1, 1 << 2
REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
"""Folders, files, devices, sockets, pipes and links."""
REFER, REFER_SINCE = 1 << 13, 2
TRUNCATE, TRUNCATE_SINCE = 1 << 14, 3
TCP_BIND_AND_CONNECT = 1 << 0 | 1 << 1
TCP_SINCE = 4
ABSTRACT_SOCKETS_AND_SIGNALS = 1 << 0 | 1 << 1
SCOPES_SINCE = 6
SET_PARENT_DEATH_SIGNAL, SET_NO_NEW_PRIVILEGES = 1, 38

DEVICES = ("null", "zero", "nvidia*", "dri", "kfd", "dxg")
"""What may be written to beneath /dev: what keeps nothing, and what drives accelerators. /dev/shm keeps files."""

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


def hide(hidden: Iterable[Path], shown: Iterable[Path], scratch: Path) -> str:
    """Make hidden folders unreadable, all but one folder unwritable, and the network and other processes unreachable.

    Landlock (Linux 5.13; moving between folders since 5.19, truncating since 6.2, the network since 6.7, signals since
    6.12) knows only what is permitted. To be read, that is all that is there now, but for the hidden folders; what is
    put later into a folder above one is not. To be written, it is the scratch folder: no file is changed and no note
    left for another process. Files that are open already, as standard error is, stay writable. Landlock does not know
    of files' times, modes and attributes, nor of System V memory.

    Parameters
    ----------
    hidden
        Folders; those that do not exist are passed over.
    shown
        Files that stay readable wherever they lie.
    scratch
        The folder that may be written to.

    Returns
    -------
    str
        `LANDLOCK`, or `NOTHING` where the kernel has no such thing.
    """
    version = _landlock(CREATE_RULESET, None, 0, ASK_VERSION) if sys.platform == "linux" else -1
    if version < 1 or _threads() > 1:
        return NOTHING
    on_files = READ_FILE | WRITE_FILE | (TRUNCATE if version >= TRUNCATE_SINCE else 0)
    everything = on_files | REMOVE_AND_MAKE | (REFER if version >= REFER_SINCE else 0)
    rights = struct.pack("Q", everything)
    if version >= TCP_SINCE:
        rights += struct.pack("Q", TCP_BIND_AND_CONNECT)
    if version >= SCOPES_SINCE:
        rights += struct.pack("Q", ABSTRACT_SOCKETS_AND_SIGNALS)
    rules = _landlock(CREATE_RULESET, rights, len(rights), 0)
    if rules < 0:
        return NOTHING
    try:
        for path in (*_around([folder.resolve() for folder in hidden]), *shown):
            _permit(rules, path, READ_FILE)
        for path in (device for name in DEVICES for device in Path("/dev").glob(name)):
            _permit(rules, path, on_files)
        _permit(rules, scratch, everything)
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


def _permit(rules: int, path: Path, rights: int) -> None:
    """Permit something with a file, or with everything beneath a folder."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or nothing that this user may use
        return
    try:
        _landlock(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
