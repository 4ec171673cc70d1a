"""The Hub's client with actionable errors, retries, and limits on the size of answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from ..._version import __version__
from ...utils.errors import HubError, MissingFileError
from ..reference import HubLocation

TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""Base of the HTTP library's errors; which library that is depends on the client's version."""
TIMEOUT = 30.0
"""Seconds without an answer or a byte."""
ATTEMPTS = 5
Answer = TypeVar("Answer")


def api() -> HfApi:
    """The client, with the token of huggingface_hub's own login."""
    return HfApi(library_name="tipl-bench", library_version=__version__)


@contextlib.contextmanager
def translate_hub_errors(location: HubLocation) -> Iterator[None]:
    """Re-raise the client's errors as `HubError`, naming what is wrong, where, and the way out."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise HubError(f"{location}: not on this machine, and HF_HUB_OFFLINE forbids fetching it; unset it.") from None
    except (GatedRepoError, RepositoryNotFoundError):
        raise HubError(
            f"{location}: there is no such dataset repository, or it is private and you are not logged in to an "
            "account that may see it (`hf auth login`)."
        ) from None
    except RevisionNotFoundError:
        raise HubError(f"{location}: the repository has no such revision.") from None
    except LocalEntryNotFoundError as error:  # what the client makes of a connection that fails
        raise _unreachable(location, error) from error
    except EntryNotFoundError as error:
        raise MissingFileError(f"{location}: a file is missing there ({_first_line(error)}).") from None
    except LocalTokenNotFoundError:
        raise HubError(f"{location}: writing needs a login; run `hf auth login`.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        way_out = {
            401: "log in with `hf auth login`",
            403: "your account may not do this there; log in to another with `hf auth login`",
            429: "the Hub limits requests; wait some minutes and repeat the command: it continues from there",
        }.get(status, "repeat the command later: it continues from there")
        raise HubError(f"{location}: the Hub answered {status} ({_first_line(error)}); {way_out}.") from error
    except TRANSPORT_ERROR as error:
        raise _unreachable(location, error) from error


def _unreachable(location: HubLocation, error: Exception) -> HubError:
    return HubError(
        f"{location}: the Hub cannot be reached ({_first_line(error) or type(error).__name__}); repeat the command "
        "when it can: it continues from there."
    )


def with_retries(location: HubLocation, ask: Callable[[], Answer]) -> Answer:
    """The answer to a request that changes nothing, repeated where the Hub is busy or the connection is cut.

    The client itself repeats only downloads. Errors are as from `translate_hub_errors`.
    """
    for attempt in range(ATTEMPTS):
        try:
            with translate_hub_errors(location):
                return ask()
        except HubError as error:
            if attempt == ATTEMPTS - 1 or not is_transient(error.__cause__):
                raise
            time.sleep(min(8.0, 0.25 * 2**attempt))
    raise AssertionError("unreachable")


def status_of(error: HubError) -> int | None:
    """The HTTP status behind an error, if there was one."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else None


def is_transient(cause: BaseException | None) -> bool:
    """Whether a failure may go away by itself: a cut connection or a busy server."""
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in (408, 429) or cause.response.status_code >= 500
    return isinstance(cause, TRANSPORT_ERROR)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


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
    # A cut connection is left to the caller, who knows how much arrived.
    with http_stream_backoff(
        "GET", url, retry_on_exceptions=(), headers=headers, timeout=TIMEOUT, follow_redirects=True
    ) as response:
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
