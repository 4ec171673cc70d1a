"""The sockets: two loopback ports, one for the Hub and one for its storage."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import traceback
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from .accounts import USERS, User, authenticate
from .faults import Fault, Faults, HangUpError
from .hub import Hub
from .protocol import Body, HubError, Reply, Request
from .repository import Repository
from .routes import dispatch
from .xet import XetStorage


class Call(NamedTuple):
    """A request that arrived: `path` with its query, the percent-encoding undone; `status` 0 if never answered."""

    method: str
    path: str
    status: int


class HubServer:
    """A Hub on loopback, running from the moment it is made until `close`.

    Parameters
    ----------
    root
        Folder for the repositories; made if it is missing.
    users
        Token to user.
    port
        Port of the Hub; 0 for any that is free.

    Attributes
    ----------
    url, storage_url
        The Hub's address (`HF_ENDPOINT`), and that of its storage.
    faults
        Where tests order what goes wrong.
    log
        Every request so far, in the order of the answers.
    bytes_sent
        Bytes of all bodies so far.
    """

    def __init__(self, root: Path, users: Mapping[str, User] = USERS, *, port: int = 0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.hub = root, Hub(root, users)
        self.faults, self.log, self.bytes_sent = Faults(), list[Call](), 0
        self.stopping, self.lock = threading.Event(), threading.Lock()
        self._listeners = [_Listener(self, port), _Listener(self, 0)]
        self.url, self.storage_url = (f"http://127.0.0.1:{listener.server_port}" for listener in self._listeners)
        self.hub.url, self.hub.storage_url = self.url, self.storage_url
        for listener in self._listeners:
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop: refuse new connections and drop those that are open."""
        self.stopping.set()
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()
            listener.drop_connections()

    def create(self, name: str, *, private: bool = False, gated: bool = False) -> Repository:
        """Make an empty dataset repository, whoever owns it."""
        return self.hub.create(name, private=private, gated=gated)

    def rename(self, old: str, new: str) -> None:
        """Move a repository; requests for its old name are redirected, as on the real Hub."""
        self.hub.rename(old, new)

    def enable_xet(self) -> XetStorage:
        """Serve large files through Xet storage too, as the real Hub does; clients may still use plain HTTP."""
        self.hub.xet = XetStorage(self.root / "xet")
        return self.hub.xet

    def repository(self, name: str) -> Repository:
        """A repository, to look into or to edit past every check."""
        return self.hub.repository(name)

    def calls(self, match: str = "") -> list[Call]:
        """The requests so far whose `"METHOD /path?query"` matches, in order."""
        with self.lock:
            return [call for call in self.log if re.search(match, f"{call.method} {call.path}")]

    def forget(self) -> None:
        """Start the log and the count of bytes anew."""
        with self.lock:
            self.log.clear()
            self.bytes_sent = 0


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: HubServer, port: int) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would ask the name service for this machine's name, and wait for it.
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: together they would wait for an acknowledgement
    server: _Listener

    def _serve(self) -> None:
        owner = self.server.owner
        target = unquote(self.path)
        fault = owner.faults.take(f"{self.command} {target}")
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        stream = Body(self.rfile, None if chunked else int(self.headers.get("Content-Length") or 0))
        try:
            reply = fault.alter(fault.before(owner.stopping) or self._carry_out(stream))
            for _ in stream.chunks():  # what was left unread would be taken for the next request
                pass
        except HangUpError:
            self._record(target, 0)
            self.close_connection = True
            return
        self._record(target, reply.status)
        self._send(reply, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815, the names http.server looks for

    def _carry_out(self, stream: Body) -> Reply:
        hub, address = self.server.owner.hub, urlsplit(self.path)
        try:
            user = authenticate(self.headers.get("Authorization"), hub.users)
            query = parse_qs(address.query, keep_blank_values=True)
            return dispatch(Request(hub, self.command, address.path, query, self.headers, stream, user))
        except HubError as error:
            return error.reply()
        except Exception as error:
            traceback.print_exc()
            return HubError(500, f"The test server failed: {error!r}").reply()

    def _record(self, target: str, status: int) -> None:
        owner = self.server.owner
        with owner.lock:
            owner.log.append(Call(self.command, target, status))

    def _send(self, reply: Reply, fault: Fault) -> None:
        self.send_response_only(reply.status)
        for name, value in {**reply.headers, "X-Request-Id": str(uuid.uuid4())}.items():
            self.send_header(name, value)
        if fault.endless:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(reply.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for data in fault.chunks(reply.chunks(), self.server.owner.stopping):
                with self.server.owner.lock:
                    self.server.owner.bytes_sent += len(data)
                self.wfile.write(data)
        except (HangUpError, OSError):
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the log is a list."""
