"""Datasets from the Hub into the store: only what is asked for, verified before anyone gets a path to it."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...utils.errors import DatasetError
from ...utils.files import link_or_copy
from ..catalog import catalog, home_folder, open_dataset, resolve
from ..dataset import Dataset, verify_file
from ..manifest import MANIFEST_NAME, FileEntry, read_manifest
from ..reference import HubLocation, NamedDataset, family
from ..snapshots import DEFAULT_BRANCH, commit_folder, known_revisions, remember_revision, repo_folder, snapshot_folder
from ..store import dataset_folder, exclusive
from .fetch import fetch_file
from .remote import WORKERS, RemoteDataset

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and the file at hand."""


def load(
    text: str, trials: Iterable[int] | None = None, progress: Progress = lambda done, total, path: None
) -> Dataset:
    """Open a dataset, fetching first what is not on this machine; nothing is asked of the network for what is.

    Parameters
    ----------
    text
        Its name (`half-cheetah/ppo-v1`, or `half-cheetah/ppo` for the newest version), its folder's path, or
        `hf://datasets/OWNER/NAME[@REVISION]`.
    trials
        The trials that will be used; all by default.
    progress
        Told how fetching goes.

    Returns
    -------
    Dataset
        Its trials are read lazily.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is nowhere to be had, or is not what the catalog pins.
    """
    trials = None if trials is None else list(trials)
    chosen = resolve(text)
    if not isinstance(chosen, Path) and location_of(chosen) is not None and is_missing(chosen, trials):
        return download(text, trials=trials, progress=progress)
    return open_dataset(text, trials)


def location_of(chosen: HubLocation | NamedDataset) -> HubLocation | None:
    """Where a dataset is published; None if it is not."""
    if isinstance(chosen, HubLocation):
        return chosen
    entry = catalog().get(chosen.name)
    location = entry.location if entry else None
    return HubLocation(location.repo, chosen.commit) if location and chosen.commit else location


def is_missing(chosen: HubLocation | NamedDataset, trials: list[int] | None = None) -> bool:
    """Whether a needed file is not on this machine."""
    folder = snapshot_folder(chosen) if isinstance(chosen, HubLocation) else home_folder(chosen.name)
    if folder is None or not (folder / MANIFEST_NAME).is_file():
        return True
    files = Dataset(folder, read_manifest(folder)).files(trials)
    return not all((folder / entry.path).is_file() for entry in files)


def download(
    text: str,
    *,
    trials: Iterable[int] | None = None,
    to: Path | None = None,
    progress: Progress = lambda done, total, path: None,
) -> Dataset:
    """Fetch a published dataset, verify every byte against its manifest and the catalog, and open it.

    Files that are here already are verified too; damaged ones are fetched again.

    Parameters
    ----------
    text
        Its name, or `hf://datasets/OWNER/NAME[@REVISION]`.
    trials
        The trials to fetch; all by default.
    to
        A folder to fetch into instead of the store.
    progress
        Told how it goes.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is not published, cannot be reached, or is not what the catalog pins. Verified files stay.
    """
    chosen = resolve(text)
    location = None if isinstance(chosen, Path) else location_of(chosen)
    if isinstance(chosen, Path) or location is None:
        open_dataset(text)
        raise DatasetError(f"{text} is on this machine, and is not published; there is nothing to download.")
    if to is None and isinstance(chosen, NamedDataset) and catalog()[chosen.name].bundled:
        raise DatasetError(
            f"{chosen.name} comes with the package; there is nothing to download, except elsewhere (--to)."
        )
    identity = catalog()[chosen.name].identity if isinstance(chosen, NamedDataset) else None
    with exclusive(chosen.name if isinstance(chosen, NamedDataset) else location.repo, wait=True):
        remote = RemoteDataset.open(location, identity=identity)
        _check_tag(location, remote)
        assert remote.location.revision is not None
        if to is not None:
            folder, relatives = to, []
        elif isinstance(chosen, NamedDataset):
            folder = dataset_folder(chosen.name)
            relatives = list(folder.parent.glob(f"{family(chosen.name.split('/')[1])}-v*"))
        else:
            folder = commit_folder(location.repo, remote.location.revision)
            relatives = list(repo_folder(location.repo).glob("*"))
        _fetch(remote, folder, trials, relatives, progress)
        if to is None and isinstance(chosen, HubLocation):
            remember_revision(location, remote.location.revision)
    return open_dataset(text if to is None else str(to), trials)


def _check_tag(location: HubLocation, remote: RemoteDataset) -> None:
    """A version's tag never moves; one that did is refused."""
    known = known_revisions(location.repo).get(location.revision or DEFAULT_BRANCH)
    version = f"v{remote.manifest.version}"
    if location.revision == version and known not in (None, remote.location.revision):
        raise DatasetError(
            f"{location}: the tag was moved from commit {known} to {remote.location.revision} since it was last "
            f"fetched. Versions never move: what is here stays as it was; name the commit that you trust "
            f"({HubLocation(location.repo, known)})."
        )


def _fetch(
    remote: RemoteDataset, folder: Path, trials: Iterable[int] | None, relatives: Iterable[Path], progress: Progress
) -> None:
    """Bring the needed files into the folder, each verified."""
    if (folder / MANIFEST_NAME).exists():
        here = read_manifest(folder)
        if here.digest != remote.manifest.digest:
            raise DatasetError(
                f"{folder} holds {here.name} with digest {here.digest}, not {remote.manifest.digest} as published. "
                "Nothing was overwritten: move that folder away, or fetch into another with --to."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty and holds no dataset; choose another folder with --to.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        remote.manifest.write(folder)
    needed = Dataset(folder, remote.manifest).files(trials)
    bar = _Bar(sum(entry.size for entry in needed), progress)
    lacking = []
    for entry in needed:
        if _intact(folder / entry.path, entry) or _shared(entry, folder, relatives):
            bar.add(entry.size, entry.path)
        else:
            lacking.append(entry)
    _check_room(folder, sum(entry.size for entry in lacking))

    def one(entry: FileEntry) -> None:
        fetch_file(remote.location, entry, folder, lambda size: bar.add(size, entry.path))

    with _stopping(ThreadPoolExecutor(WORKERS)) as pool:
        list(pool.map(one, lacking))


def _intact(path: Path, entry: FileEntry) -> bool:
    try:
        verify_file(path, entry)
    except DatasetError:
        return False
    return True


def _shared(entry: FileEntry, folder: Path, relatives: Iterable[Path]) -> bool:
    """Take a file over from another version of the dataset that is here: the same bytes, so a link where that works."""
    for relative in relatives:
        path = relative / entry.path
        if relative != folder and path.is_file() and path.stat().st_size == entry.size and _intact(path, entry):
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, target)
            return True
    return False


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DatasetError(
            f"{folder}: {size:,} bytes are to be fetched and {free:,} are free; make room, fetch fewer with --trials, "
            "or put the store elsewhere (TIPL_BENCH_HOME)."
        )


@contextlib.contextmanager
def _stopping(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """On the first failure, start nothing more."""
    with pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Bar:
    """Adds up what several threads report."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self.total, self.progress, self.lock = 0, total, progress, threading.Lock()

    def add(self, size: int, path: str) -> None:
        with self.lock:
            self.done += size
            self.progress(self.done, self.total, path)
