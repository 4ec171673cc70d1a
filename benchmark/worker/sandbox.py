"""Restrictions on the worker process: files, network, memory, and lifetime.

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from .namespaces import enter_namespaces
from .system_calls import refuse_calls

# linux/landlock.h and linux/prctl.h; the system calls have the same numbers on every architecture.
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
WRITE_FILE, READ_FILE = 1 << 1, 1 << 2
REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
"""Removing and creating folders, files, devices, sockets, pipes and links."""
REFER, REFER_SINCE = 1 << 13, 2
TRUNCATE, TRUNCATE_SINCE = 1 << 14, 3
TCP_BIND_AND_CONNECT = 1 << 0 | 1 << 1
TCP_SINCE = 4
ABSTRACT_SOCKETS_AND_SIGNALS = 1 << 0 | 1 << 1
SCOPES_SINCE = 6
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

LINUX_CAPABILITY_VERSION_3, CAP_DAC_OVERRIDE = 0x20080522, 1  # linux/capability.h

DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "dri", "kfd", "dxg")
"""Usable entries of /dev: those that store nothing, and accelerators. Not /dev/shm, which stores files."""

Isolation = Literal["none", "landlock", "landlock+seccomp", "landlock+namespaces", "landlock+seccomp+namespaces"]
"""What kept the predictor from held-out data, as records state it: nothing but that their paths are not passed, or the
kernel's Landlock, with a filter of system calls and namespaces of network, IPC and mounts where the system has them."""
NO_ISOLATION: Isolation = "none"


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_memory(size: int) -> None:
    """Limit writable memory to `size` bytes, or to this user's hard limit if that is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def close_sandbox(readable: Iterable[Path], scratch: Path) -> Isolation:
    """Deny reading and writing other files, the network, shared memory, and signals to other processes.

    Landlock (Linux 5.13; moves between folders since 5.19, truncation since 6.2, TCP since 6.7, signals and abstract
    sockets since 6.12) permits to read the given files, and to write to the scratch folder and to accelerators alone.
    Descriptors that are already open stay usable. All of it applies to the one thread that there is at this point, and
    to every thread and process that it starts. Namespaces and a filter of system calls do the rest, where the system
    permits them. Privileges of root are given up, but for access to other people's files.

    Parameters
    ----------
    readable
        Files, and folders with all that is in them; missing ones are ignored.
    scratch
        The writable folder.

    Returns
    -------
    Isolation
        What is in force: "none" if the kernel does not support Landlock, or privileges could not be given up.
    """
    if sys.platform != "linux":
        return NO_ISOLATION
    version = _landlock(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1 or _threads() > 1:
        return NO_ISOLATION
    namespaces = enter_namespaces(scratch)
    if not _restrict_files(version, readable, scratch) or not _drop_capabilities():
        return NO_ISOLATION
    if refuse_calls():
        return "landlock+seccomp+namespaces" if namespaces else "landlock+seccomp"
    return "landlock+namespaces" if namespaces else "landlock"


def _restrict_files(version: int, readable: Iterable[Path], scratch: Path) -> bool:
    on_files = READ_FILE | WRITE_FILE | (TRUNCATE if version >= TRUNCATE_SINCE else 0)
    everything = on_files | REMOVE_AND_MAKE | (REFER if version >= REFER_SINCE else 0)
    rights = struct.pack("Q", everything)
    if version >= TCP_SINCE:
        rights += struct.pack("Q", TCP_BIND_AND_CONNECT)
    if version >= SCOPES_SINCE:
        rights += struct.pack("Q", ABSTRACT_SOCKETS_AND_SIGNALS)
    rules = _landlock(SYS_LANDLOCK_CREATE_RULESET, rights, len(rights), 0)
    if rules < 0:
        return False
    try:
        for path in (*readable, Path("/proc/self")):
            _permit(rules, path, READ_FILE)
        for path in (device for name in DEVICES for device in Path("/dev").glob(name)):
            _permit(rules, path, on_files)
        if any(Path("/dev").glob("nvidia*")):  # CUDA names its threads there, and fails if it cannot
            _permit(rules, Path("/proc/self/task"), on_files)
        _permit(rules, scratch, everything)
        if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return _landlock(SYS_LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _drop_capabilities() -> bool:
    """Give up every capability but that of reading files of other users, which the sandbox limits; False on failure."""
    libc, kept = ctypes.CDLL(None), 1 << CAP_DAC_OVERRIDE
    header, sets = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0), ctypes.create_string_buffer(24)
    if libc.capget(header, sets) != 0:
        return False
    effective, permitted, *_ = struct.unpack("6I", sets.raw)
    return int(libc.capset(header, struct.pack("6I", effective & kept, permitted & kept, 0, 0, 0, 0))) == 0


def first_readable(held_out: Iterable[Path], readable: Iterable[Path]) -> Path | None:
    """The first held-out file that this process can open although it is not among those that it may read."""
    permitted = frozenset(map(str, readable))
    for path in held_out:
        for file in (path,) if path.is_file() else _files(path, permitted):
            if os.path.realpath(file) not in permitted and _opens(file):
                return file
    return None


def _files(folder: Path, permitted: frozenset[str]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if os.path.realpath(f"{parent}/{name}") not in permitted]
        yield from (Path(parent, name) for name in files)


def _opens(file: Path) -> bool:
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _landlock(call: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None).syscall(call, *arguments))


def _threads() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1  # noqa: PTH112, PTH208


def _permit(rules: int, path: Path, rights: int) -> None:
    """Grant access rights to a file, or to everything beneath a folder."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # gone by now, or not accessible to this user
        return
    try:
        _landlock(SYS_LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
