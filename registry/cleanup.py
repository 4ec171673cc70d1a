"""What may be removed from the store, and its removal: a dataset by name, or whatever nothing refers to."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..utils.canonical import canonical_json
from ..utils.errors import DatasetError, reason
from ..utils.files import is_being_written, write_text
from .catalog import catalog
from .locations import cache_root
from .manifest import MANIFEST_NAME, read_manifest
from .reference import COMMIT_PATTERN, DatasetRef, HubLocation, is_repo
from .store import (
    REVISIONS_NAME,
    TENSORS_FOLDER,
    dataset_folder,
    exclusive,
    known_revisions,
    repo_folder,
    snapshot_folder,
    staging_folder,
    stream_lock,
)

PARTIAL_PATTERN = re.compile(r"\..*\.(incomplete|partial)|\.staging")
"""Files and folders that a write or a download leaves if it is killed."""
FORMER_CACHES = ("references", "returns", "publishing")
"""Folders in which earlier versions kept returns and indices; nothing reads them any more."""
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True)
class Removal:
    """Something in the store that may be removed.

    Parameters
    ----------
    path
        A file, a folder, or a link, which is removed itself and not followed.
    what
        What it is.
    size
        Bytes of its files.
    freed
        Those of them that no other folder shares (hard links).
    locks
        Names of the locks (`store.exclusive`) that are held while it is removed.
    damage
        Why it is listed although it is kept: what is damaged, and what to do.
    """

    path: Path
    what: str
    size: int
    freed: int
    locks: tuple[str, ...] = ()
    damage: str | None = None


def find_dataset(reference: DatasetRef) -> list[Removal]:
    """What of a dataset is in the store: its folder, and a collection of it that was not finished.

    Raises
    ------
    DatasetError
        If it is bundled, is a folder outside the store, or is not here.
    """
    name, entry = reference.name, catalog().get(reference.name or "")
    if reference.path:
        raise DatasetError(f"{reference.path} is a folder of your own, outside the store; remove it yourself.")
    if entry and entry.bundled:
        raise DatasetError(f"{name} comes with the package and cannot be deleted.")
    if name:
        places = [(dataset_folder(name), "dataset"), (staging_folder(name), "unfinished collection")]
        lock = name
    else:
        assert reference.location is not None
        folder, lock = snapshot_folder(reference.location), reference.location.repo
        places = [(folder, "snapshot")] if folder else []
    found = [_removal(path, what, lock, *_stream_locks(path)) for path, what in places if os.path.lexists(path)]
    if not found:
        raise DatasetError(f"{reference} is not in the store ({cache_root()}); there is nothing to delete.")
    return found


def find_unreferenced() -> list[Removal]:
    """What nothing in the store refers to.

    Partial files of downloads and writes that were killed, and folders of datasets that they began; snapshots of the
    Hub that no tag or branch stands for here, no catalog pins and nobody asked for by their commit; caches of earlier
    versions. Collections that were not finished are kept, and so is what is damaged, which is listed with its `damage`.
    """
    root = cache_root()
    partial = (path for path in _entries(root) if PARTIAL_PATTERN.fullmatch(path.name))
    found = [_removal(path, "partial file") for path in partial if not is_being_written(path)]  # no lock is on these
    for folder in (path for owner in _folders(root / "datasets") for path in _folders(owner)):
        name = folder.relative_to(root / "datasets").as_posix()
        if not PARTIAL_PATTERN.fullmatch(folder.name):
            found += _partial(folder, name, name)
        elif not is_being_written(folder):
            lock = f"{folder.parent.name}/{folder.name.removeprefix('.').rsplit('.', 2)[0]}"
            found.append(_removal(folder, "dataset that a killed process began", lock))
    for folder in _folders(root / "hub"):
        repo = folder.name.replace("--", "/", 1)
        if is_repo(repo):
            found += _unreferenced_snapshots(folder, repo)
    found += [_removal(path, "cache of an earlier version") for path in _folders(root) if path.name in FORMER_CACHES]
    return found + [_removal(p, "damaged cache") for p in _entries(root) if p.name.endswith(DAMAGED_SUFFIX)]


def _unreferenced_snapshots(folder: Path, repo: str) -> Iterator[Removal]:
    """Of one repository: snapshots that nothing refers to, and partial files in the others."""
    referred = {entry.commit for entry in catalog().values() if entry.repo == repo}
    damaged = False
    try:
        referred |= {*known_revisions(repo).values()}
    except DatasetError as error:
        damaged = True  # which snapshots are referred to is not known
        yield replace(_removal(folder / REVISIONS_NAME, "list of revisions"), damage=str(error))
    for path in _entries(folder):
        if re.fullmatch(COMMIT_PATTERN, path.name) and path.name not in referred and not damaged:
            yield _removal(path, "snapshot that no tag or branch stands for", repo, *_stream_locks(path))
        elif path.is_dir() and not path.is_symlink():
            yield from _partial(path, repo, str(HubLocation(repo, path.name)))
        elif PARTIAL_PATTERN.fullmatch(path.name):
            yield _removal(path, "partial file", repo)


def _partial(folder: Path, lock: str, reference: str) -> Iterator[Removal]:
    """What killed downloads and writes left in a dataset's folder; the folder itself if its manifest is damaged."""
    digest = None
    if os.path.lexists(folder / MANIFEST_NAME):
        try:
            digest = read_manifest(folder).digest
        except DatasetError as error:
            way_out = f"`tipl-bench datasets delete {reference}` removes the dataset."
            yield replace(_removal(folder, "dataset"), damage=f"{error} {way_out}")
    for place, folders, files in os.walk(folder):
        for name in sorted(name for name in (*folders, *files) if PARTIAL_PATTERN.fullmatch(name)):
            locks = [lock]
            if digest and (derived := re.match(r"\.(p\d+)\.", name)):
                locks.append(f"derived-{digest}-{derived[1]}")
            if digest and Path(place).parent == folder / TENSORS_FOLDER:
                locks.append(stream_lock(digest, Path(place).name))
            yield _removal(Path(place, name), "partial download or write", *locks)
        folders[:] = [name for name in folders if not PARTIAL_PATTERN.fullmatch(name)]


def _stream_locks(folder: Path) -> list[str]:
    """The locks of what may be streamed into a dataset's folder at this moment."""
    streamed = _folders(folder / TENSORS_FOLDER)
    with contextlib.suppress(DatasetError):
        return [stream_lock(read_manifest(folder).digest, trial.name) for trial in streamed] if streamed else []
    return []


def remove(removals: Iterable[Removal]) -> tuple[list[Removal], list[str]]:
    """Remove what was found, as far as no other process uses it.

    Returns
    -------
    list of Removal, list of str
        What was removed, and why the others were not, or not wholly.

    Raises
    ------
    DatasetError
        If something is not inside the store; nothing of it was touched.
    """
    removed, kept = [], []
    for removal in removals:
        _check_inside(removal.path)
        try:
            with contextlib.ExitStack() as locks:
                for name in removal.locks:
                    locks.enter_context(exclusive(name))
                _delete(removal.path)
        except DatasetError as error:
            kept.append(f"{removal.path}: {error}")
        except OSError as error:
            kept.append(f"{removal.path}, or a part of it: {reason(error)} ({error.filename or removal.path})")
        else:
            removed.append(removal)
    return removed, kept


def _check_inside(path: Path) -> None:
    """Refuse a path that leads out of the store, as by a link in the place of one of its folders."""
    root = cache_root()
    inside = path.is_relative_to(root) and path != root and ".." not in path.parts
    if not inside or path.parent.resolve() != root.resolve() / path.parent.relative_to(root):
        raise DatasetError(f"{path}: leads out of the store ({root}); nothing of it was removed.")


def _delete(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    (path / MANIFEST_NAME).unlink(missing_ok=True)  # first, so that what a kill leaves is no dataset
    shutil.rmtree(path)  # removes links in it, and follows none
    if re.fullmatch(COMMIT_PATTERN, path.name):
        with contextlib.suppress(DatasetError):  # a damaged list, which stays as it is
            _forget(path.parent, path.name)
    with contextlib.suppress(OSError):  # other versions are there
        path.parent.rmdir()


def _forget(folder: Path, commit: str) -> None:
    """Forget what a removed commit was known as."""
    repo = folder.name.replace("--", "/", 1)
    known = {revision: other for revision, other in known_revisions(repo).items() if other != commit}
    if known:
        write_text(repo_folder(repo) / REVISIONS_NAME, canonical_json(known))
    else:
        (repo_folder(repo) / REVISIONS_NAME).unlink(missing_ok=True)


def _removal(path: Path, what: str, *locks: str) -> Removal:
    places = [path]
    if path.is_dir() and not path.is_symlink():
        places = [Path(place, name) for place, _, files in os.walk(path) for name in files]
    stats = [place.lstat() for place in places]
    size = sum(stat.st_size for stat in stats)
    return Removal(path, what, size, sum(stat.st_size for stat in stats if stat.st_nlink == 1), locks)


def _entries(folder: Path) -> list[Path]:
    """What stands in a folder of the store; nothing if it is none, or a link to elsewhere."""
    return sorted(folder.iterdir()) if folder.is_dir() and (folder == cache_root() or not folder.is_symlink()) else []


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir() and not path.is_symlink()]
