"""Download datasets from the Hub: only the requested trials, each file verified before it gets its name."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ...utils.errors import DatasetError
from ...utils.files import link_or_copy, write_text
from ...utils.progress import Progress
from ..dataset import Dataset
from ..derived import DERIVED_NAME, DerivedManifest, derived_folder, derived_lock
from ..files import FileEntry, note_verified, request_trials, requested_trials
from ..manifest import MANIFEST_NAME, Identity, read_manifest
from ..reference import DatasetRef, HubLocation, family
from ..store import (
    DEFAULT_BRANCH,
    commit_folder,
    dataset_folder,
    exclusive,
    known_revisions,
    remember_revision,
    repo_folder,
)
from .fetch import STAGING_NAME, CancelledError, fetch_file, is_valid, stored_in_xet
from .remote import WORKERS, RemoteDataset, cached_snapshot

logger = logging.getLogger(__name__)


def download(
    reference: DatasetRef,
    *,
    identity: Identity | None,
    derived: Mapping[str, str],
    trials: Iterable[int] | None,
    to: Path | None,
    progress: Progress,
) -> None:
    """Fetch a published dataset and verify every byte against its manifest.

    Files that are here already are verified too; damaged ones are fetched again.

    Parameters
    ----------
    reference
        The dataset; it has a location.
    identity
        What the catalog pins, if it does.
    derived
        What the catalog pins of derived data, by protocol version (`p1`).
    trials
        The trials to fetch; all if None.
    to
        A folder to fetch into instead of the store.
    progress
        Receives the bytes done, with the file at hand.

    Raises
    ------
    DatasetError
        If it cannot be reached, or is not what the catalog pins. Verified files stay.
    """
    name, location = reference.name, reference.location
    assert location is not None
    with exclusive(name or location.repo, wait=True, required=to is None):
        remote = RemoteDataset.open(location, identity=identity)
        commit = remote.location.revision
        assert commit is not None
        _check_tag(reference, remote)
        others: list[Path] = []
        if to is not None:
            folder = to
        elif name:
            folder = dataset_folder(name)
            others = list(folder.parent.glob(f"{family(name.split('/')[1])}-v*"))
        else:
            folder = commit_folder(location.repo, commit)
            others = list(repo_folder(location.repo).glob("*"))
        cached = cached_snapshot(remote.location)
        others += [cached] if cached else []
        with contextlib.ExitStack() as locks:  # nobody may take derived data that are not whole yet for a leftover
            for protocol in remote.protocols:
                locks.enter_context(derived_lock(remote.manifest, protocol))
            _fetch(remote, folder, trials, derived, others, progress)
        if to is None and name is None:
            remember_revision(location, commit)


def _check_tag(reference: DatasetRef, remote: RemoteDataset) -> None:
    """Refuse a version's tag that was moved since it was last fetched."""
    location = reference.location
    assert location is not None
    known = known_revisions(location.repo).get(location.revision or DEFAULT_BRANCH)
    moved = known not in (None, remote.location.revision)
    if reference.kind == "hub" and reference.version == remote.manifest.version and moved:
        raise DatasetError(
            f"{location}: the tag was moved from commit {known} to {remote.location.revision} since it was last "
            f"fetched. A version must not change: the local copy was kept; name the commit that you trust "
            f"({HubLocation(location.repo, known)})."
        )


def _fetch(
    remote: RemoteDataset,
    folder: Path,
    trials: Iterable[int] | None,
    pinned: Mapping[str, str],
    others: Iterable[Path],
    progress: Progress,
) -> None:
    """Fetch the needed files into the folder, each verified."""
    derived = _read_derived(remote, pinned)
    needed = Dataset(folder, remote.manifest).files(trials)
    if (folder / MANIFEST_NAME).exists():
        here = read_manifest(folder)
        if here.digest != remote.manifest.digest:
            raise DatasetError(
                f"{folder} holds {here.name} with digest {here.digest}, not {remote.manifest.digest} as published. "
                "Nothing was overwritten: move that folder away, or fetch into another (`to=`)."
            )
        if trials is None or requested_trials(folder) is not None:  # of a whole dataset, some trials are no part
            request_trials(folder, trials)
    elif folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty and holds no dataset; choose another folder (`to=`).")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        request_trials(folder, trials)
        remote.manifest.write(folder)
    for content, manifest in derived:  # first, so that whatever is fetched no further is known to be missing
        path = derived_folder(folder, manifest.protocol) / DERIVED_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, content.decode())
    needed += [entry for _, manifest in derived for entry in manifest.entries()]
    bar = ByteProgress(sum(entry.size for entry in needed), progress)
    lacking = []
    for entry in needed:
        if is_valid(folder / entry.path, entry) or _shared(entry, folder, others):
            bar.add(entry.size, entry.path)
        else:
            lacking.append(entry)
    if lacking and remote.snapshot:
        raise DatasetError(
            f"{remote.location}: the Hub cannot be reached, and its cache on this machine ({remote.snapshot}) lacks "
            f"{len(lacking)} of {len(needed)} files, or has them damaged; the first is {lacking[0].path}."
        )
    check_free_space(folder, sum(entry.size for entry in lacking))

    in_xet = stored_in_xet(remote.location, lacking)

    def one(entry: FileEntry) -> None:
        report = partial(bar.add, path=entry.path)
        fetch_file(remote.location, entry, folder, report, xet=entry.path in in_xet)

    try:
        with cancel_on_error(ThreadPoolExecutor(WORKERS), bar) as pool:
            list(pool.map(one, lacking))
    finally:
        shutil.rmtree(folder / STAGING_NAME, ignore_errors=True)
    stated = read_manifest(folder)
    if remote.manifest.format != 1 and not all(is_valid(folder / entry.path, entry) for entry in stated.sidecars):
        remote.manifest.write(folder)  # published as derived data since: the Hub no longer has sidecars
    note_verified(folder, needed)


def _read_derived(remote: RemoteDataset, pinned: Mapping[str, str]) -> list[tuple[bytes, DerivedManifest]]:
    """The manifests of all derived data of a remote dataset, compared with what the catalog pins."""
    found = [remote.derived(protocol) for protocol in remote.protocols]
    for _, manifest in found:
        expected = pinned.get(f"p{manifest.protocol}")
        if expected is None:
            logger.info("%s: data derived by protocol %s are not in the catalog", remote.location, manifest.protocol)
        elif manifest.sha256 != expected:
            raise DatasetError(
                f"{remote.location}: data derived by protocol {manifest.protocol} have sha256 {manifest.sha256}, but "
                f"the catalog pins {expected}. Nothing was fetched."
            )
    return found


def _shared(entry: FileEntry, folder: Path, others: Iterable[Path]) -> bool:
    """Link or copy a file with the same bytes from another version of the dataset on this machine."""
    for other in others:
        path = other / entry.path
        if other != folder and path.is_file() and path.stat().st_size == entry.size and is_valid(path, entry):
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path.resolve(), target)  # in the client's cache, files are links
            return True
    return False


def check_free_space(folder: Path, size: int) -> None:
    """Refuse a download that the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DatasetError(
            f"{folder}: {size:,} bytes are to be fetched and {free:,} are free; free some space, fetch fewer with "
            "`trials=`, or put the store elsewhere (TIPL_BENCH_HOME)."
        )


@contextlib.contextmanager
def cancel_on_error(pool: ThreadPoolExecutor, progress: ByteProgress) -> Iterator[ThreadPoolExecutor]:
    """On the first failure or Ctrl-C, start no more work and stop what is running at its next report."""
    with pool:
        try:
            yield pool
        except BaseException:
            progress.cancelled = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class ByteProgress:
    """Sum of the bytes that several threads report."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self.total, self.progress, self.lock = 0, total, progress, threading.Lock()
        self.cancelled = False

    def add(self, size: int, path: str) -> None:
        """Report new bytes of a file; raises `CancelledError` once another thread has failed."""
        with self.lock:
            if self.cancelled:
                raise CancelledError
            self.done += size
            self.progress("download", self.done, self.total, path)
