"""Linux namespaces of the worker process: no network, its own System V memory, and files that cannot be changed.

Only the standard library is imported here, see `sandbox`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

# linux/sched.h, linux/mount.h; `mount_setattr` (Linux 5.12) has the same number on every architecture.
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1


def enter_namespaces(scratch: Path) -> bool:
    """Enter new namespaces of network, IPC and mounts, in which only the scratch folder can be written to.

    Read-only mounts also keep times, modes and attributes of files as they are, which Landlock does not. A user
    namespace is entered first unless this is root, who needs none and keeps access to other people's files.

    Returns
    -------
    bool
        False if this system does not permit it; nothing has changed then.
    """
    attempt = os.fork()  # half-way in, there is no way back
    if attempt == 0:
        try:
            _enter(scratch)
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(attempt, 0)[1] != 0:
        return False
    _enter(scratch)
    return True


def _enter(scratch: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    user, group, spaces = os.geteuid(), os.getegid(), CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET
    if libc.unshare(spaces) != 0:
        _check(libc.unshare(spaces | CLONE_NEWUSER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    folder = os.fsencode(scratch)
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    _check(libc.mount(folder, folder, None, MS_BIND, None))
    set_read_only = struct.pack("4Q", MOUNT_ATTR_RDONLY, 0, 0, 0)  # struct mount_attr: set, clear
    clear_read_only = struct.pack("4Q", 0, MOUNT_ATTR_RDONLY, 0, 0)
    _check(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, set_read_only, 32))
    for writable in (folder, b"/proc"):  # where threads are named
        _check(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, writable, 0, clear_read_only, 32))
    os.chdir(scratch)  # the same folder until now, by the mount beneath


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
