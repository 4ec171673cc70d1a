"""Messages between a run and its predictor's process: a JSON object, then its arrays' bytes as they lie. No pickle."""

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
"""Bytes of a message's JSON at most."""
TYPES = frozenset(np.dtype(kind).str for kind in "?bBhHiIlLefd")
"""Numbers and truth values: what may come as an array."""
DIMENSIONS = 32


class Channel:
    """One end of a socket; both sides take turns, but for reports of progress."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, head: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        """Send a message; `OSError` if nobody is there or the other side does not read in time."""
        whole = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
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
            Bytes of arrays at most.
        deadline
            On the monotonic clock.

        Raises
        ------
        EOFError
            If the other side is gone.
        TimeoutError
            If the deadline passes.
        ValueError, TypeError
            If what comes is not a message, or too large.
        """
        prefix = bytearray(PREFIX.size)
        self._fill(prefix, deadline)
        head_size, body_size = PREFIX.unpack(prefix)
        if head_size > HEAD_LIMIT or body_size > limit:
            raise ValueError(f"a message of {head_size} and {body_size} bytes, where {HEAD_LIMIT} and {limit} may be")
        text = bytearray(head_size)
        self._fill(text, deadline)
        head = strict_json(text.decode())
        if not isinstance(head, dict):
            raise ValueError("a message that is not a JSON object")
        arrays = _blank(head.pop("arrays", {}), body_size)
        for array in arrays.values():
            self._fill(_bytes(array), deadline)
        return head, arrays

    def _fill(self, buffer: bytearray | memoryview, deadline: float | None) -> None:
        view, done = memoryview(buffer), 0
        while done < len(view):
            self.end.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
            count = self.end.recv_into(view[done:])
            if count == 0:
                raise EOFError("the other side is gone")
            done += count


def _bytes(array: Array) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _blank(layout: Any, size: int) -> dict[str, Array]:
    """Arrays to receive into: of plain numbers, and together as large as the message says."""
    if not isinstance(layout, dict):
        raise ValueError("arrays that are not described")
    for name, (kind, shape) in layout.items():
        numbers = all(type(length) is int and 0 <= length <= size for length in shape)
        if kind not in TYPES or len(shape) > DIMENSIONS or not numbers:
            raise ValueError(f"an array {name!r:.60} of type {kind!r:.60} and shape {shape!r:.60}")
    described = sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in layout.values())
    if described != size:
        raise ValueError(f"arrays of {described} bytes in a message of {size}")
    return {name: np.empty(shape, kind) for name, (kind, shape) in layout.items()}
