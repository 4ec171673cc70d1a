"""One file from the Hub: its stated size checked first, every byte verified, and only then in its place.

Files in Xet storage, where the Hub keeps large ones, come through `huggingface_hub.hf_hub_download`. It writes no more
than the stated size; after a kill it starts the file anew, and finished files stay.

Over plain HTTP (no hf_xet, `HF_HUB_DISABLE_XET`, a mirror) the bytes are streamed here. Why not by the client (2.4),
as measured on loopback with files of 64 MB: killed at 42 MB, it fetches all 64 MB again and leaves the 42 MB behind
(here: the missing 26 MB); a body without end is written until it ends or the disk is full, 1.1 GB where that was sent
(here: not one byte beyond the manifest's size); 100 to 130 MB/s (here: 230 to 385).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.hf_api import RepoFile, RepoFolder

from ..._version import __version__
from ...utils.errors import DatasetError, HubError
from ...utils.files import sync
from ..files import FileEntry, verify_file
from ..reference import HubLocation
from ..store import exclusive
from .client import api, streaming, with_retries
from .errors import is_transient, status_of, translate_hub_errors
from .waiting import Backoff

ATTEMPTS = 6
"""Consecutive attempts without a new byte before giving up."""
FRESH_STARTS = 2
"""Times a file that arrived whole but wrong is fetched anew."""
RANGE_NOT_SATISFIABLE = 416
"""The status where a range begins after the file's end."""
FILES_PER_REQUEST = 500
"""Files looked up by one request."""
STAGING_NAME = ".staging"
"""Folder inside a dataset's, where `hf_hub_download` works."""

Report = Callable[[int], None]

logger = logging.getLogger(__name__)


class WholeFileError(Exception):
    """The server answered a request for a range of bytes with the whole file."""


class CancelledError(Exception):
    """Raised by a progress report to stop a fetch."""


def fetch_file(location: HubLocation, entry: FileEntry, folder: Path, progress: Report, *, xet: bool) -> None:
    """Fetch a listed file into a dataset's folder, continuing an interrupted download.

    One process at a time fetches a file; what another one brought in the meantime is not fetched again.

    Parameters
    ----------
    location
        The repository, at a commit.
    entry
        The file's manifest entry.
    folder
        The dataset's folder.
    progress
        Called with the number of new bytes; negative where bytes are discarded.
    xet
        Fetch it from Xet storage (`stored_in_xet`), not over plain HTTP.

    Raises
    ------
    HubError, DatasetError
        If it cannot be fetched, or is not what the manifest says. The folder then holds no such file.
    """
    target = folder / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    place = hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:16]
    with exclusive(f"fetch--{place}", wait=True, required=False):
        if is_valid(target, entry):
            progress(entry.size)
        else:
            _fetch_verified(location, entry, folder, progress, _fetch_xet if xet else _fetch_http)


def is_valid(path: Path, entry: FileEntry) -> bool:
    """Whether a file is here and has the manifest's bytes."""
    try:
        verify_file(path, entry)
    except DatasetError:
        return False
    return True


def _fetch_verified(
    location: HubLocation,
    entry: FileEntry,
    folder: Path,
    progress: Report,
    fetch: Callable[[HubLocation, FileEntry, Path, Report], Path],
) -> None:
    target = folder / entry.path
    for start in range(1 + FRESH_STARTS):
        fetched = fetch(location, entry, folder, progress)
        try:
            verify_file(fetched, entry)
            break
        except DatasetError as error:
            progress(-fetched.stat().st_size)
            fetched.unlink()
            if start == FRESH_STARTS:
                raise DatasetError(
                    f"{location}: {entry.path} is not what the manifest says, in {start + 1} attempts; it was not "
                    f"kept. The repository is damaged or was changed. ({error})"
                ) from None
            logger.info("%s: %s arrived damaged; fetching it again", location, entry.path)
    sync(fetched)
    fetched.replace(target)
    sync(target.parent)


def stored_in_xet(location: HubLocation, entries: Sequence[FileEntry]) -> set[str]:
    """Look files up before any byte is fetched; those to be fetched from Xet storage.

    Raises
    ------
    HubError
        If the Hub states another size than the manifest, or cannot be reached.
    """
    sizes = {entry.path: entry for entry in entries}
    usable = importlib.util.find_spec("hf_xet") is not None and not constants.HF_HUB_DISABLE_XET
    stored = set()
    for start in range(0, len(entries), FILES_PER_REQUEST):
        paths = [entry.path for entry in entries[start : start + FILES_PER_REQUEST]]
        for found in with_retries(location, partial(_paths_info, location, paths)):
            if isinstance(found, RepoFile) and found.path in sizes:
                if found.size != sizes[found.path].size:
                    raise _wrong_size(location, sizes[found.path], found.size)
                if found.xet_hash and usable:
                    stored.add(found.path)
    return stored


def _paths_info(location: HubLocation, paths: list[str]) -> list[RepoFile | RepoFolder]:
    return api().get_paths_info(location.repo, paths, revision=location.revision, repo_type="dataset")


def _wrong_size(location: HubLocation, entry: FileEntry, size: int) -> HubError:
    return HubError(
        f"{location}: {entry.path} has {size:,} bytes there, where the manifest says {entry.size:,}. The repository is "
        "damaged or was changed."
    )


def _fetch_xet(location: HubLocation, entry: FileEntry, folder: Path, progress: Report) -> Path:
    """Fetch a file through the Hub's client into the staging folder."""
    written = 0

    class Bar:
        """The part of a tqdm bar that the client uses."""

        def __init__(self, **options: Any) -> None: ...

        def update(self, size: int) -> None:
            nonlocal written
            written += size
            with contextlib.suppress(CancelledError):  # the client would print it, and go on with this file
                progress(size)

        def ignore(self, *arguments: Any, **options: Any) -> None: ...

        update_transfer = set_postfix_str = set_transfer_postfix_str = close = ignore

    try:
        path = with_retries(
            location,
            lambda: hf_hub_download(
                location.repo,
                entry.path,
                repo_type="dataset",
                revision=location.revision,
                local_dir=folder / STAGING_NAME,
                library_name="tipl-bench",
                library_version=__version__,
                tqdm_class=Bar,
            ),
        )
    except (RuntimeError, OSError) as error:  # what hf_xet raises
        raise HubError(
            f"{location}: {entry.path} could not be fetched from Xet storage ({error}). Repeat the command, which "
            "keeps finished files, or set HF_HUB_DISABLE_XET=1 to fetch over plain HTTP."
        ) from error
    progress(entry.size - written)
    return Path(path)


def _fetch_http(location: HubLocation, entry: FileEntry, folder: Path, progress: Report) -> Path:
    """Bring a partial file to its full size."""
    target = folder / entry.path
    part = target.with_name(f".{target.name}.{entry.sha256[:16]}.incomplete")
    fetch_range(location, entry, part, progress, first=0, size=entry.size)
    return part


def fetch_range(
    location: HubLocation, entry: FileEntry, part: Path, progress: Report, *, first: int, size: int
) -> None:
    """Bring a partial file to `size` bytes of a listed file from its byte `first` on, resuming while new bytes arrive.

    Parameters
    ----------
    location, entry, progress
        As for `fetch_file`.
    part
        The partial file; what it holds already is not asked for again.
    first, size
        Which bytes of the listed file.

    Raises
    ------
    HubError
        If the bytes cannot be fetched; what arrived stays in `part`.
    WholeFileError
        If the server does not send ranges, and `first` is not 0.
    """
    backoff = Backoff(ATTEMPTS)
    with part.open("ab", buffering=0) as stream:  # what arrived is kept, whatever happens to this process
        progress(stream.tell())
        while (have := stream.tell()) < size:
            failure: HubError | None = None
            try:
                with translate_hub_errors(location):
                    _append(location, entry.path, stream, progress, first, size)
            except HubError as error:
                failure = error
                if status_of(error) == RANGE_NOT_SATISFIABLE:
                    raise _wrong_size(location, entry, first + have) from None
                if not is_transient(error.__cause__):
                    raise
            if stream.tell() > have:
                backoff = Backoff(ATTEMPTS)
            else:
                backoff.pause(failure or _wrong_size(location, entry, first + have))


def _append(location: HubLocation, path: str, stream: IO[bytes], progress: Report, first: int, size: int) -> None:
    """Write the bytes that are missing, and not one more, however long the answer is."""
    have = stream.tell()
    # The end of the range is left open where it is the file's: that is what caches of the Hub are asked for.
    last = None if first == 0 else first + size - 1
    with streaming(location, path, first + have, last) as (start, pieces):
        if start != first + have:  # the server ignored the range
            if first:
                raise WholeFileError
            stream.truncate(start)
            stream.seek(start)
            progress(start - have)
        for piece in pieces:
            wanted = piece[: size - stream.tell()]
            stream.write(wanted)
            progress(len(wanted))
            if len(wanted) < len(piece):
                break
