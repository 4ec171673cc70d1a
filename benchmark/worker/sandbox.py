"""Restrictions on the worker process: file access, network, memory, and lifetime.

Only the standard library is imported here: a Landlock domain applies to the thread that enters it and to that thread's
children, so it must be entered before any library has started threads.
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
"""Removing and creating folders, files, devices, sockets, pipes and links."""
REFER, REFER_SINCE = 1 << 13, 2
TRUNCATE, TRUNCATE_SINCE = 1 << 14, 3
TCP_BIND_AND_CONNECT = 1 << 0 | 1 << 1
TCP_SINCE = 4
ABSTRACT_SOCKETS_AND_SIGNALS = 1 << 0 | 1 << 1
SCOPES_SINCE = 6
SET_PARENT_DEATH_SIGNAL, SET_NO_NEW_PRIVILEGES = 1, 38

DEVICES = ("null", "zero", "nvidia*", "dri", "kfd", "dxg")
"""Writable entries of /dev: those that store nothing, and accelerators. Not /dev/shm, which stores files."""

LANDLOCK, NO_ISOLATION = "landlock", "none"
"""How test trials are kept from the predictor: by the kernel, or only by not passing their paths. Recorded values."""


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def limit_memory(size: int) -> None:
    """Limit writable memory to `size` bytes, or to this user's hard limit if that is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def peak_memory(whose: int = resource.RUSAGE_SELF) -> int:
    """Peak resident size in bytes: of this process, or (`RUSAGE_CHILDREN`) of its children that have ended."""
    peak = resource.getrusage(whose).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def restrict_filesystem(denied: Iterable[Path], allowed: Iterable[Path], scratch: Path) -> str:
    """Deny reading some folders, writing outside one folder, TCP connections, and signals to other processes.

    Landlock (Linux 5.13; moves between folders since 5.19, truncation since 6.2, TCP since 6.7, signals since 6.12) is
    an allowlist. Readable is what exists now outside the denied folders; a file created later beside a denied folder is
    not. Writable is the scratch folder alone, so that no file is changed and no data passed to another process.
    Descriptors that are already open, such as standard error, stay writable. Landlock does not restrict file times,
    modes and attributes, nor System V shared memory.

    Parameters
    ----------
    denied
        Folders; missing ones are ignored.
    allowed
        Files that stay readable although they lie in a denied folder.
    scratch
        The writable folder.

    Returns
    -------
    str
        `LANDLOCK`, or `NO_ISOLATION` if the kernel does not support it.
    """
    version = _landlock(CREATE_RULESET, None, 0, ASK_VERSION) if sys.platform == "linux" else -1
    if version < 1 or _threads() > 1:
        return NO_ISOLATION
    on_files = READ_FILE | WRITE_FILE | (TRUNCATE if version >= TRUNCATE_SINCE else 0)
    everything = on_files | REMOVE_AND_MAKE | (REFER if version >= REFER_SINCE else 0)
    rights = struct.pack("Q", everything)
    if version >= TCP_SINCE:
        rights += struct.pack("Q", TCP_BIND_AND_CONNECT)
    if version >= SCOPES_SINCE:
        rights += struct.pack("Q", ABSTRACT_SOCKETS_AND_SIGNALS)
    rules = _landlock(CREATE_RULESET, rights, len(rights), 0)
    if rules < 0:
        return NO_ISOLATION
    try:
        for path in (*_readable([folder.resolve() for folder in denied]), *allowed):
            _permit(rules, path, READ_FILE)
        for path in (device for name in DEVICES for device in Path("/dev").glob(name)):
            _permit(rules, path, on_files)
        _permit(rules, Path("/proc/self/task"), on_files)  # CUDA names its threads there, and fails if it cannot
        _permit(rules, scratch, everything)
        ctypes.CDLL(None).prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return LANDLOCK if _landlock(RESTRICT_SELF, rules, 0) == 0 else NO_ISOLATION
    finally:
        os.close(rules)


def _landlock(call: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None).syscall(call, *arguments))


def _threads() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1  # noqa: PTH112, PTH208


def _readable(denied: list[Path]) -> list[Path]:
    """The topmost files and folders that contain no denied folder.

    Python and its packages stay readable even inside a denied folder (a virtual environment within the store's folder).
    """
    permitted: list[Path] = []
    code = [Path(entry).resolve() for entry in (sys.prefix, sys.base_prefix, *sys.path)]
    within = [folder for folder in code if any(one in folder.parents for one in denied) and folder.is_dir()]
    open_folders = [Path("/"), *within]
    while open_folders:
        for path in _entries(open_folders.pop()):
            above = any(path in folder.parents for folder in denied)
            if path not in denied:
                (open_folders if above else permitted).append(path)
    return permitted


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder except symbolic links, whose targets are listed at their own place."""
    try:
        return [path for path in folder.iterdir() if not path.is_symlink()]
    except OSError:  # not readable by this user anyway
        return []


def _permit(rules: int, path: Path, rights: int) -> None:
    """Grant access rights to a file, or to everything beneath a folder."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # gone by now, or not accessible to this user
        return
    try:
        _landlock(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
