"""One file from the Hub: resumed where it was cut off, limited in size, and in its place only once it is verified."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ...utils.errors import DatasetError, HubError
from ...utils.files import sync
from ..files import FileEntry, verify_file
from ..reference import HubLocation
from .client import is_transient, status_of, streaming, translate_hub_errors

ATTEMPTS = 6
"""Tries that bring not one new byte before giving up."""
FRESH_STARTS = 2
"""Times a file that came whole but wrong is fetched anew."""

PAST_THE_END = 416
"""The status of a range that begins where the file has ended."""

logger = logging.getLogger(__name__)


def fetch_file(
    location: HubLocation, entry: FileEntry, folder: Path, progress: Callable[[int], None] = lambda size: None
) -> None:
    """Fetch a listed file into a dataset's folder, or go on where an earlier process was cut off.

    Parameters
    ----------
    location
        The repository, at a commit.
    entry
        The file's manifest entry.
    folder
        The dataset's folder.
    progress
        Called with the bytes that came; with a negative number where bytes are thrown away again.

    Raises
    ------
    HubError, DatasetError
        If it cannot be had, or what comes is not what the manifest says. The folder then holds no such file.
    """
    target = folder / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{entry.sha256[:16]}.incomplete")
    if partial.exists():
        progress(partial.stat().st_size)
    for start in range(1 + FRESH_STARTS):
        _fill(location, entry, partial, progress)
        try:
            verify_file(partial, entry)
            break
        except DatasetError as error:
            progress(-partial.stat().st_size)
            partial.unlink()
            if start == FRESH_STARTS:
                raise DatasetError(
                    f"{location}: {entry.path} is not what the manifest says, {start + 1} times over; it was not kept. "
                    f"The repository is damaged or was changed. ({error})"
                ) from None
            logger.info("%s: %s came damaged; fetching it again", location, entry.path)
    sync(partial)
    partial.replace(target)
    sync(target.parent)


def _fill(location: HubLocation, entry: FileEntry, partial: Path, progress: Callable[[int], None]) -> None:
    """Bring the partial file to its full size, resuming as often as new bytes come."""
    idle = 0
    with partial.open("ab", buffering=0) as stream:  # what came is kept, whatever happens to this process
        while (have := stream.tell()) < entry.size:
            failure: Exception | None = None
            try:
                with translate_hub_errors(location):
                    _append(location, entry, stream, progress)
            except HubError as error:
                failure = error
                if status_of(error) == PAST_THE_END:
                    raise _too_short(location, entry, have) from None
                if not is_transient(error.__cause__):
                    raise
            if stream.tell() > have:
                idle = 0
                continue
            idle += 1
            if idle >= ATTEMPTS:
                raise failure or _too_short(location, entry, have)
            time.sleep(min(8.0, 0.25 * 2**idle))


def _too_short(location: HubLocation, entry: FileEntry, have: int) -> HubError:
    return HubError(
        f"{location}: {entry.path} ends after {have:,} bytes there, where the manifest says {entry.size:,}. The "
        "repository is damaged or was changed."
    )


def _append(location: HubLocation, entry: FileEntry, stream: IO[bytes], progress: Callable[[int], None]) -> None:
    have = stream.tell()
    with streaming(location, entry.path, have) as (start, pieces):
        if start != have:  # the server ignored the range
            stream.truncate(start)
            stream.seek(start)
            progress(start - have)
        for piece in pieces:
            # A server may send without end; the manifest says how much is wanted.
            wanted = piece[: entry.size - stream.tell()]
            stream.write(wanted)
            progress(len(wanted))
            if len(wanted) < len(piece):
                break
