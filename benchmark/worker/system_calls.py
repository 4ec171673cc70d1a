"""System calls that the worker process may not make (seccomp): those by which it would reach other processes.

Only the standard library is imported here, see `sandbox`.
"""

from __future__ import annotations

import ctypes
import os
import struct

# linux/seccomp.h, linux/filter.h and linux/audit.h.
SET_SECCOMP, FILTER = 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1
OTHER_ABI = 0x40000000
"""Numbers from here on are those of x86's 32-bit pointers, which mean the same calls."""

MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
CALLS = {
    "connect": (42, 203),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),  # makes other calls unseen
}
SOCKET = (41, 198)
FAMILIES = (1, 16)  # Unix sockets, which processes of the worker may use among themselves, and netlink


def refuse_calls() -> bool:
    """Refuse connections, sockets of any network, System V and POSIX IPC, and keyrings; False if that is not possible.

    `PR_SET_NO_NEW_PRIVS` has to be set.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None or struct.calcsize("P") != 8:
        return False
    audit, column = machine
    refuse = (RETURN, 0, 0, REFUSE)
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, audit), refuse]
    program += [(LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, OTHER_ABI), refuse]
    for numbers in CALLS.values():
        program += [(EQUAL, 0, 1, numbers[column]), refuse]
    program += [(EQUAL, 0, 4, SOCKET[column]), (LOAD, 0, 0, FIRST_ARGUMENT)]
    program += [(EQUAL, 2, 0, FAMILIES[0]), (EQUAL, 1, 0, FAMILIES[1]), refuse, (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    return int(ctypes.CDLL(None).prctl(SET_SECCOMP, FILTER, header, 0, 0)) == 0
