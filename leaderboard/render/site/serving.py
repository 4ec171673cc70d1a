"""The site on a loopback address, for a look at it as a host would show it."""

from __future__ import annotations

import functools
import http.server
import io
import re
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from ....utils.errors import TiplBenchError, reason
from .render import FOLDER, OWN_FILE

HOST = "127.0.0.1"
SITE = re.compile(
    rf"(index\.html|leaderboard\.(json|csv|parquet|bib)|training\.json|{FOLDER}/{OWN_FILE.pattern}|tables/[a-z0-9.-]+\.csv)?(\?[^#]*)?"
)
BESIDE = re.compile(r"/(intervals|reference)\.md")
"""What is served: the site's own files and what it links to beside its folder, which may hold much else."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The site under its folder's name; nothing is kept by the browser, so that a rebuilt page is seen at once."""

    def __init__(self, *arguments: Any, folder: Path, **options: Any) -> None:
        self.prefix = f"/{quote(folder.name)}/"
        super().__init__(*arguments, directory=str(folder.parent), **options)

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        if self.path == "/":
            self.send_response(302)
            self.send_header("Location", self.prefix)
            self.end_headers()
            return None
        inside = self.path.startswith(self.prefix) and SITE.fullmatch(self.path.removeprefix(self.prefix))
        if not inside and not BESIDE.fullmatch(self.path):
            self.send_error(404)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet about each request."""


def server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of a site's folder, bound but not yet serving; `server_port` is its port.

    Parameters
    ----------
    folder
        What `render` wrote into.
    port
        A free port, or 0 for any.

    Raises
    ------
    TiplBenchError
        If the folder holds no page, or the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise TiplBenchError(
            f"{folder} holds no index.html; write it with `tipl-bench leaderboard build`, or name its folder (`out=`)."
        )
    try:
        return http.server.ThreadingHTTPServer((HOST, port), functools.partial(_Handler, folder=folder.resolve()))
    except (OSError, OverflowError) as error:
        raise TiplBenchError(
            f"Port {port} cannot be used ({reason(error)}); choose another (`port=`), 0 for any."
        ) from error
