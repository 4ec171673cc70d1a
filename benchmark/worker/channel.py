"""Message framing between a run and its worker: a JSON object, then the raw bytes of its arrays. No pickle."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...utils.canonical import strict_json

Array = npt.NDArray[Any]
PREFIX = struct.Struct("<IQ")
HEAD_LIMIT = 1 << 20
"""Maximum bytes of a message's JSON."""
DTYPES = frozenset(np.dtype(kind).str for kind in "?bBhHiIlLefd")
"""Permitted dtypes of arrays: numbers and booleans."""
MAX_DIMENSIONS = 32


class Channel:
    """One end of a socket; each request has one answer, which any number of progress messages precede."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, head: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        """Send a message; raises `OSError` if the connection is closed or the other side does not read in time."""
        whole = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
        layout = {name: [array.dtype.str, array.shape] for name, array in whole.items()}
        text = json.dumps({**head, "arrays": layout}).encode()
        self.end.sendall(PREFIX.pack(len(text), sum(array.nbytes for array in whole.values())) + text)
        for array in whole.values():
            self.end.sendall(_bytes(array))

    def receive(self, limit: int, deadline: float | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
        """Receive a message.

        Parameters
        ----------
        limit
            Maximum bytes of all arrays.
        deadline
            On the monotonic clock; None for no deadline.

        Raises
        ------
        EOFError
            If the connection is closed.
        TimeoutError
            If the deadline passes.
        ValueError, TypeError
            If the bytes received are not a message, or are too many.
        """
        prefix = bytearray(PREFIX.size)
        self._fill(prefix, deadline)
        head_size, body_size = PREFIX.unpack(prefix)
        if head_size > HEAD_LIMIT or body_size > limit:
            raise ValueError(f"a message of {head_size} + {body_size} bytes; the limit is {HEAD_LIMIT} + {limit}")
        text = bytearray(head_size)
        self._fill(text, deadline)
        head = strict_json(text.decode())
        if not isinstance(head, dict):
            raise ValueError("a message that is not a JSON object")
        arrays = _allocate(head.pop("arrays", {}), body_size)
        for array in arrays.values():
            self._fill(_bytes(array), deadline)
        return head, arrays

    def _fill(self, buffer: bytearray | memoryview, deadline: float | None) -> None:
        view, done = memoryview(buffer), 0
        while done < len(view):
            self.end.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
            count = self.end.recv_into(view[done:])
            if count == 0:
                raise EOFError("the connection is closed")
            done += count


def _bytes(array: Array) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _allocate(layout: Any, size: int) -> dict[str, Array]:
    """Allocate the arrays that a message describes, checking their dtypes and that their sizes add up to `size`."""
    if not isinstance(layout, dict):
        raise ValueError("an array description that is not an object")
    for name, (kind, shape) in layout.items():
        numbers = all(type(length) is int and 0 <= length <= size for length in shape)
        if kind not in DTYPES or len(shape) > MAX_DIMENSIONS or not numbers:
            raise ValueError(f"an array {name!r:.60} of type {kind!r:.60} and shape {shape!r:.60}")
    described = sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in layout.values())
    if described != size:
        raise ValueError(f"arrays of {described} bytes in a message of {size}")
    return {name: np.empty(shape, kind) for name, (kind, shape) in layout.items()}
