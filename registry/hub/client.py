"""The Hub's client with retries, and limits on the size of answers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from ..._version import __version__
from ...utils.errors import HubError
from ..reference import HubLocation, is_repo
from .errors import is_transient, translate_hub_errors
from .waiting import Backoff, bounded_waits, wait_of

TIMEOUT = 30.0
"""Seconds without an answer or a byte."""
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


def api() -> HfApi:
    """The client, with the token of huggingface_hub's own login."""
    return HfApi(library_name="tipl-bench", library_version=__version__)


def with_retries(location: HubLocation, ask: Callable[[], Answer], *, repeatable: bool = True) -> Answer:
    """The answer to a request, repeated where the Hub is busy or the connection is cut.

    Parameters
    ----------
    location
        The repository, for messages.
    ask
        Makes the request.
    repeatable
        Whether it may be carried out twice. If not, it is repeated only where the Hub refused it and asks to wait.

    Raises
    ------
    HubError
        As from `translate_hub_errors`, after the attempts and within the waits of `Backoff`.
    """
    backoff = Backoff()
    while True:
        try:
            with translate_hub_errors(location), bounded_waits():
                return ask()
        except HubError as error:
            again = is_transient(error.__cause__) if repeatable else wait_of(error.__cause__) is not None
            if not again:
                raise
            backoff.pause(error)


def current_name(location: HubLocation, name: str) -> str:
    """The repository's name where it answered by another than it was asked for, as one that was renamed does."""
    if name == location.repo or not is_repo(name):
        return location.repo
    logger.warning("%s was renamed to %s; its old name may cease to work", location, name)
    return name


def file_url(location: HubLocation, path: str) -> str:
    """Where a file of a dataset repository is served."""
    return hf_hub_url(location.repo, path, repo_type="dataset", revision=location.revision)


@contextlib.contextmanager
def streaming(
    location: HubLocation, path: str, first: int = 0, last: int | None = None
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Request a file, or its bytes first..last, both included.

    Yields
    ------
    int, iterator of bytes
        The position of the first byte that comes (0 where the server ignored the range), and the pieces.
    """
    # Without compression: digests and ranges are of the bytes as stored.
    headers = build_hf_headers(library_name="tipl-bench", library_version=__version__) | {"Accept-Encoding": "identity"}
    if first or last is not None:
        headers["Range"] = f"bytes={first}-{'' if last is None else last}"
    url = file_url(location, path)
    # Repeating is left to the caller, who knows how much arrived.
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        hf_raise_for_status(response)
        yield (first if response.status_code == 206 else 0), response.iter_bytes()


def read_bytes(location: HubLocation, path: str, *, limit: int, first: int = 0, last: int | None = None) -> bytes:
    """A small file's bytes, or a range of a large one's; raises `HubError` if more than `limit` come."""

    def ask() -> bytes:
        content = bytearray()
        with streaming(location, path, first, last) as (start, pieces):
            skip = first - start  # where the range was ignored
            for piece in pieces:
                content += piece
                if len(content) - skip > limit:
                    if last is not None:
                        break
                    raise HubError(
                        f"{location}: {path} is larger than {limit} bytes, more than a trajectory dataset has."
                    )
        wanted = None if last is None else last - first + 1
        return bytes(content[skip:][:wanted])

    return with_retries(location, ask)
