"""The messages of the server: requests, replies, refusals and byte ranges."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

if TYPE_CHECKING:
    from .accounts import User
    from .hub import Hub

CHUNK = 64 * 1024


class HubError(Exception):
    """A refusal: its status, its message, and the `X-Error-Code` that the client turns into an exception type."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, dict(headers or {})

    def reply(self) -> Reply:
        headers = {"X-Error-Message": re.sub(r"[^ -~]", " ", self.message), **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return Reply.json({"error": self.message}, self.status, headers)


@dataclass(frozen=True)
class Request:
    """One HTTP request, its body still unread on the socket."""

    hub: Hub
    method: str
    path: str  # still percent-encoded: a revision may hold an encoded slash
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    stream: Body
    user: User | None

    @cached_property
    def body(self) -> bytes:
        return b"".join(self.stream.chunks())

    def json(self) -> Any:
        if not self.body:
            return {}
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HubError(400, f"The body is not JSON: {error}") from error

    def form(self) -> dict[str, list[str]]:
        """The fields of a form, sent url-encoded or as JSON."""
        if "json" not in self.headers.get("Content-Type", ""):
            return parse_qs(self.body.decode())
        return {key: value if isinstance(value, list) else [str(value)] for key, value in self.json().items()}

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass
class Body:
    """A request's body on its socket, of a stated length or in HTTP/1.1 chunks."""

    source: IO[bytes]
    length: int | None  # None: chunked

    def chunks(self) -> Iterator[bytes]:
        """The bytes that are left; a second call finds none."""
        while self.length is None:
            size = int(self.source.readline().split(b";")[0] or b"0", 16)
            data = self.source.read(size)
            self.source.readline()  # the line end after a chunk, or the empty line after the last
            if size == 0:
                self.length = 0
            yield data
        while self.length > 0:
            data = self.source.read(min(CHUNK, self.length))
            if not data:
                raise ConnectionError("the client left in the middle of its body")
            self.length -= len(data)
            yield data


@dataclass(frozen=True)
class Reply:
    """One HTTP reply.

    `start` and `stop` bound the part of `content` that is sent: all of it unless a range was asked for.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Path = b""
    start: int = 0
    stop: int | None = None

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, encode(data))

    @property
    def size(self) -> int:
        """Bytes of the whole content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def length(self) -> int:
        """Bytes that are sent."""
        return (self.size if self.stop is None else self.stop) - self.start

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """The bytes that are sent, each chunk after its offset in the content."""
        stop = self.start + self.length
        if isinstance(self.content, bytes):
            for position in range(self.start, stop, CHUNK):
                yield position, self.content[position : min(position + CHUNK, stop)]
            return
        with self.content.open("rb") as file:
            position = file.seek(self.start)
            while position < stop and (data := file.read(min(CHUNK, stop - position))):
                yield position, data
                position += len(data)

    def within(self, request: Request) -> Reply:
        """The part named by the request's `Range` header: 206, or 416 where the content ends before it."""
        headers = {**self.headers, "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "").replace(" ", ""))
        if match is None or not any(match.groups()):
            return replace(self, headers=headers)
        first, last = match.groups()
        size = self.size
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            return Reply(416, {**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return replace(self, status=206, headers=headers, start=start, stop=stop)


def encode(data: Any) -> bytes:
    return json.dumps(data).encode()


def paginated(items: list[Any], request: Request, size: int) -> Reply:
    """One page of a listing, with a `Link` header to the next one."""
    start = int(request.query.get("cursor", ["0"])[0])
    headers = {}
    if start + size < len(items):
        kept = {name: values for name, values in request.query.items() if name != "cursor"}
        pairs = [f"{quote(name)}={quote(value)}" for name, values in kept.items() for value in values]
        link = f"{request.hub.url}{request.path}?{'&'.join([*pairs, f'cursor={start + size}'])}"
        headers["Link"] = f'<{link}>; rel="next"'
    return Reply.json(items[start : start + size], headers=headers)


def new_identifier() -> str:
    return secrets.token_hex(12)
