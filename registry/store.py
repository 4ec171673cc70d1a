"""The local store: folders of named datasets, folders of Hub snapshots, and locks."""

from __future__ import annotations

import contextlib
import functools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import DatasetError, reason
from ..utils.files import is_file, write_text
from .locations import HOME_VARIABLE, cache_root
from .manifest import MANIFEST_NAME
from .reference import COMMIT_PATTERN, HubLocation, is_name, is_repo

REVISIONS_NAME = "revisions.json"
DEFAULT_BRANCH = "main"
TENSORS_FOLDER = "tensors"
"""In a dataset's folder: tensors of trials that were not downloaded whole, one file each, of its bytes alone."""


class CacheWarning(UserWarning):
    """A cache could not be used; what it would have held is computed again."""


@contextlib.contextmanager
def optional_write(loss: str) -> Iterator[None]:
    """Write into a cache of the store: if that fails, warn once of the loss and go on without it."""
    try:
        yield
    except OSError as error:
        warn_of_cache(
            f"The cache in {cache_root()} cannot be written ({reason(error)}): {loss}. Set {HOME_VARIABLE} to a "
            "folder that you can write."
        )


@functools.cache  # Python's own filter would forget what it has shown whenever any library changes the filters
def warn_of_cache(message: str) -> None:
    """Issue a `CacheWarning`, each message once a process."""
    warnings.warn(CacheWarning(message), stacklevel=2)


def dataset_folder(name: str) -> Path:
    """Where the finished dataset `name` stands, if it is here."""
    return cache_root() / "datasets" / name


def staging_folder(name: str) -> Path:
    """Where the dataset `name` is collected until it is finished."""
    return cache_root() / "collecting" / name


def local_names() -> list[str]:
    """Names of the finished datasets in the store, catalogued or not."""
    root = dataset_folder("")
    found: list[Path] = []
    with contextlib.suppress(PermissionError):  # a store of somebody else's
        found += root.glob(f"*/*/{MANIFEST_NAME}")
    names = (path.parent.relative_to(root).as_posix() for path in found)
    return sorted(name for name in names if is_name(name))


def stored_folders() -> list[tuple[str, Path]]:
    """Every dataset's folder in the store, with the name or the address that it is referred to by."""
    found = [(name, dataset_folder(name)) for name in local_names()]
    with contextlib.suppress(PermissionError):
        for path in sorted((cache_root() / "hub").glob(f"*/*/{MANIFEST_NAME}")):
            repo, commit = path.parent.parent.name.replace("--", "/", 1), path.parent.name
            if is_repo(repo) and re.fullmatch(COMMIT_PATTERN, commit):
                found.append((str(HubLocation(repo, commit)), path.parent))
    return found


def repo_folder(repo: str) -> Path:
    """Folder of all snapshots of a Hub repository, one folder a commit."""
    return cache_root() / "hub" / repo.replace("/", "--")


def commit_folder(repo: str, commit: str) -> Path:
    """Folder of the snapshot of one commit, if it is here."""
    return repo_folder(repo) / commit


def known_revisions(repo: str) -> dict[str, str]:
    """The commit that each revision of a repository stood for when it was last fetched; a commit stands for itself."""
    path = repo_folder(repo) / REVISIONS_NAME
    if not is_file(path):
        return {}
    try:
        found = strict_json(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(re.fullmatch(COMMIT_PATTERN, str(c)) for c in found.values()):
            raise ValueError("not a table of commits")
    except ValueError as error:
        raise DatasetError(
            f"{path}: not readable ({reason(error)}); remove this file to have revisions looked up again."
        ) from None
    return {revision: str(commit) for revision, commit in found.items()}


def remember_revision(location: HubLocation, commit: str) -> None:
    """Write down what a revision stands for: of a commit too, as `cleanup` keeps what was asked for by its commit."""
    known = known_revisions(location.repo) | {location.revision or DEFAULT_BRANCH: commit}
    write_text(repo_folder(location.repo) / REVISIONS_NAME, canonical_json(known))


def snapshot_folder(location: HubLocation) -> Path | None:
    """The folder of a location's snapshot, or None if its revision was never fetched here."""
    revision = location.revision or DEFAULT_BRANCH
    commit = revision if location.pinned else known_revisions(location.repo).get(revision)
    return commit_folder(location.repo, commit) if commit else None


def stream_lock(digest: str, trial: int | str) -> str:
    """The name of the lock under which tensors of one trial of a dataset are fetched."""
    return f"stream-{digest[:16]}-{trial}"


@contextlib.contextmanager
def exclusive(name: str, *, wait: bool = False, required: bool = True) -> Iterator[None]:
    """Hold the store's lock on one dataset; the lock goes with the process, however it ends.

    Parameters
    ----------
    name
        The dataset.
    wait
        Wait for another process that holds it, rather than raise.
    required
        The work writes into the store. Other work goes on without the lock where the store cannot be written.

    Raises
    ------
    DatasetError
        If another process holds it, or the store cannot be written.
    """
    path = cache_root() / "locks" / f"{name.replace('/', '--')}.lock"
    lock = FileLock(path)  # one that waits on a file that was removed takes the new one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise DatasetError(
            f"Another process is working on {name} in {cache_root()} (lock {path}); wait for it, or set "
            f"{HOME_VARIABLE} to another folder."
        ) from None
    except OSError as error:
        if required:
            raise DatasetError(
                f"The store {cache_root()} cannot be written ({reason(error)}); nothing was done. Set "
                f"{HOME_VARIABLE} to a folder that you can write."
            ) from None
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # somebody else's folder
                path.unlink(missing_ok=True)
        lock.release()
