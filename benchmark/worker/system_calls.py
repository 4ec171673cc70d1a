"""System calls that the worker process may not make (seccomp): those by which it would reach other processes.

Only the standard library is imported here, see `sandbox`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h; offsets within `struct seccomp_data`.
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
BPF_LD_W_ABS, BPF_JEQ_K, BPF_JGE_K, BPF_RET_K, BPF_AND_K = 0x20, 0x15, 0x35, 0x06, 0x54
NR_OFFSET, ARCH_OFFSET, ARGS_OFFSET = 0, 4, 16
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
X32_SYSCALL_BIT = 0x40000000
"""Numbers from here on are those of x86's 32-bit pointers, which mean the same calls."""

# AUDIT_ARCH_* of linux/audit.h, and the column of the calls' numbers.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
REFUSED_CALLS = {
    "connect": (42, 203),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),  # makes other calls unseen
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}
OWN_PROCESS_CALLS = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
"""Calls whose first argument is a process: 0, the caller itself, is permitted alone."""
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
AF_UNIX, AF_NETLINK, NETLINK_ROUTE = 1, 16, 0  # processes of the worker may use Unix sockets among themselves
SOCK_TYPE_MASK, SOCK_DGRAM, SOCK_RAW = 0xF, 2, 3  # these two reach an address without a connection


def refuse_calls() -> bool:
    """Refuse connections, sockets of any network and of datagrams, IPC, keyrings, and limits of other processes.

    `PR_SET_NO_NEW_PRIVS` has to be set. Returns False if that is not possible.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None or struct.calcsize("P") != 8:
        return False
    audit, column = machine
    refuse = (BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | errno.EPERM)
    program = [(BPF_LD_W_ABS, 0, 0, ARCH_OFFSET), (BPF_JEQ_K, 1, 0, audit), refuse]
    program += [(BPF_LD_W_ABS, 0, 0, NR_OFFSET), (BPF_JGE_K, 0, 1, X32_SYSCALL_BIT), refuse]
    for numbers in REFUSED_CALLS.values():
        program += [(BPF_JEQ_K, 0, 1, numbers[column]), refuse]
    allow = (BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW)
    first, second, third = ((BPF_LD_W_ABS, 0, 0, ARGS_OFFSET + 8 * number) for number in range(3))
    for numbers in OWN_PROCESS_CALLS.values():
        program += [(BPF_JEQ_K, 0, 4, numbers[column]), first, (BPF_JEQ_K, 1, 0, 0), refuse, allow]
    program += [(BPF_JEQ_K, 7, 0, SOCKETPAIR[column]), (BPF_JEQ_K, 0, 11, SOCKET[column])]
    program += [first, (BPF_JEQ_K, 4, 0, AF_UNIX), (BPF_JEQ_K, 1, 0, AF_NETLINK), refuse]
    program += [third, (BPF_JEQ_K, 5, 4, NETLINK_ROUTE)]
    program += [second, (BPF_AND_K, 0, 0, SOCK_TYPE_MASK)]
    program += [(BPF_JEQ_K, 1, 0, SOCK_DGRAM), (BPF_JEQ_K, 0, 1, SOCK_RAW), refuse, allow]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    return int(ctypes.CDLL(None).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)) == 0
