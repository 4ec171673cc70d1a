"""Faults to order: what can go wrong between a client and the Hub, at the request a test names."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .protocol import HubError, Reply


class HangUpError(Exception):
    """Close the connection now, whatever was promised."""


class Fault:
    """One way to fail. A kind of fault overrides the step of the exchange where it strikes."""

    endless: ClassVar[bool] = False
    """Whether the reply has no `Content-Length`: it ends with the connection."""

    def before(self, stopping: threading.Event) -> Reply | None:
        """Strike before the request is carried out; a reply here is the answer."""

    def alter(self, reply: Reply) -> Reply:
        """Change the reply to a request that was carried out."""
        return reply

    def chunks(self, chunks: Iterator[tuple[int, bytes]], stopping: threading.Event) -> Iterator[bytes]:
        """Change the bytes of the reply on their way out."""
        return (data for _, data in chunks)


@dataclass(frozen=True)
class Status(Fault):
    """Refuse with a status such as 429, 500 or 503; the request is not carried out."""

    status: int
    retry_after: int | str | None = None
    """Seconds, or a date as HTTP writes it."""
    ratelimit: int | None = None
    """Seconds until requests are counted anew, as the `RateLimit` header of the IETF's draft states them."""

    def before(self, stopping: threading.Event) -> Reply:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.ratelimit is not None:
            headers |= {
                "RateLimit": f'"api";r=0;t={self.ratelimit}',
                "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
            }
        return HubError(self.status, f"Injected fault {self.status}", headers=headers).reply()


@dataclass(frozen=True)
class Hang(Fault):
    """Say nothing for some seconds, then close the connection; the request is not carried out."""

    seconds: float = 60.0
    struck: threading.Event = field(default_factory=threading.Event)
    """Set when a request has come."""

    def before(self, stopping: threading.Event) -> Reply:
        self.struck.set()
        stopping.wait(self.seconds)
        raise HangUpError


@dataclass(frozen=True)
class Lose(Fault):
    """Carry the request out, then close the connection without an answer."""

    def alter(self, reply: Reply) -> Reply:
        raise HangUpError


@dataclass(frozen=True)
class Cut(Fault):
    """Close the connection after some bytes of the body; `Content-Length` promised all of them."""

    after: int

    def chunks(self, chunks: Iterator[tuple[int, bytes]], stopping: threading.Event) -> Iterator[bytes]:
        left = self.after
        for _, data in chunks:
            yield data[:left]
            left -= len(data)
            if left <= 0:
                raise HangUpError


@dataclass(frozen=True)
class Truncate(Fault):
    """Send only the first bytes of the body, with a `Content-Length` that agrees; `X-Linked-Size` stays."""

    to: int

    def alter(self, reply: Reply) -> Reply:
        return replace(reply, stop=reply.start + min(self.to, reply.length))


@dataclass(frozen=True)
class Endless(Fault):
    """Go on with zeros after the body, until the client leaves or `limit` bytes were added; no length is promised."""

    limit: int
    endless: ClassVar[bool] = True

    def chunks(self, chunks: Iterator[tuple[int, bytes]], stopping: threading.Event) -> Iterator[bytes]:
        for _, data in chunks:
            yield data
        for _ in range(0, self.limit, 64 * 1024):
            yield bytes(64 * 1024)


@dataclass(frozen=True)
class Flip(Fault):
    """Invert the byte at an offset of the content, where a reply covers it."""

    at: int

    def chunks(self, chunks: Iterator[tuple[int, bytes]], stopping: threading.Event) -> Iterator[bytes]:
        for position, data in chunks:
            index = self.at - position
            if 0 <= index < len(data):
                data = data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]
            yield data


@dataclass(frozen=True)
class Slow(Fault):
    """Wait before every chunk of the body."""

    delay: float  # seconds
    chunk: int = 64 * 1024

    def chunks(self, chunks: Iterator[tuple[int, bytes]], stopping: threading.Event) -> Iterator[bytes]:
        for _, data in chunks:
            for start in range(0, len(data), self.chunk):
                stopping.wait(self.delay)
                yield data[start : start + self.chunk]


@dataclass
class _Order:
    pattern: re.Pattern[str]
    kind: Fault
    skip: int
    times: int | None


class Faults:
    """The faults a test has ordered from one server. The first order that matches a request strikes."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    def add(self, match: str, kind: Fault, *, times: int | None = None, skip: int = 0) -> None:
        """Order a fault.

        Parameters
        ----------
        match
            Regular expression, searched in `"METHOD /path?query"` with the percent-encoding undone.
        kind
            What goes wrong.
        times
            How many matching requests it strikes; None for all.
        skip
            How many matching requests pass unharmed before.
        """
        with self._lock:
            self._orders.append(_Order(re.compile(match), kind, skip, times))

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()

    def take(self, line: str) -> Fault:
        """The fault that strikes this request; a plain `Fault` does no harm."""
        with self._lock:
            for order in self._orders:
                if order.times == 0 or not order.pattern.search(line):
                    continue
                if order.skip:
                    order.skip -= 1
                    continue
                if order.times is not None:
                    order.times -= 1
                return order.kind
        return Fault()
