"""Messages between a run and its predictor's process: a JSON object and arrays as safetensors. No pickle."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ...registry.canonical import strict_json

Array = npt.NDArray[Any]
PREFIX = struct.Struct("<IQ")
HEAD_LIMIT = 1 << 20
"""Bytes of a message's JSON at most."""


class Channel:
    """One end of a socket; both sides take turns, but for reports of progress."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, head: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        """Send a message; `OSError` if nobody is there or the other side does not read in time."""
        text = json.dumps(head).encode()
        body = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}) if arrays else b""
        self.end.sendall(PREFIX.pack(len(text), len(body)) + text)
        if body:
            self.end.sendall(body)

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
        ValueError
            If what comes is not a message, or too large.
        """
        head_size, body_size = PREFIX.unpack(self._read(PREFIX.size, deadline))
        if head_size > HEAD_LIMIT or body_size > limit:
            raise ValueError(f"a message of {head_size} and {body_size} bytes, where {HEAD_LIMIT} and {limit} may be")
        head = strict_json(bytes(self._read(head_size, deadline)).decode())
        if not isinstance(head, dict):
            raise ValueError("a message that is not a JSON object")
        body = bytes(self._read(body_size, deadline))
        try:
            # safetensors' arrays are views of the bytes, which cannot be written to; a predictor may do as it likes.
            return head, {name: array.copy() for name, array in load(body).items()} if body else {}
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"arrays that are not safetensors ({error})") from None

    def _read(self, size: int, deadline: float | None) -> bytearray:
        buffer = bytearray(size)
        view, done = memoryview(buffer), 0
        while done < size:
            self.end.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
            count = self.end.recv_into(view[done:])
            if count == 0:
                raise EOFError("the other side is gone")
            done += count
        return buffer
