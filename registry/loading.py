"""Load a dataset: parse its reference once, fetch missing files, open it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import DatasetArgumentError, DatasetError, HubError, UnknownNameError
from ..utils.files import is_file
from ..utils.progress import Progress, silent
from ..utils.tensorfile import Array
from .catalog import BUNDLED, catalog, identity_of, is_bundled
from .dataset import Dataset
from .derived import derived_protocols
from .files import FileEntry, is_verified
from .manifest import MANIFEST_NAME, Identity, Manifest, read_manifest
from .reference import HUB_PREFIX, DatasetRef, HubLocation, is_name, parse_hub, parse_name
from .store import dataset_folder, local_names, snapshot_folder, staging_folder, stored_folders
from .views.selection import Selection

Columns = dict[int, dict[str, Array]]
"""Per-checkpoint scalars [T] by trial and name."""

logger = logging.getLogger(__name__)


def load_dataset(
    reference: DatasetRef | Path | str,
    *,
    trials: Iterable[int] | None = None,
    download: bool = True,
    progress: Progress = silent,
) -> Dataset:
    """Open a dataset, fetching first what is not on this machine; the network is not asked for what is.

    Parameters
    ----------
    reference
        A name (`half-cheetah/ppo-v1`, or `half-cheetah/ppo` for the newest version), a folder's path, or
        `hf://datasets/OWNER/NAME[@REVISION]`. A name in the catalog must have the catalog's digest; another is looked
        for in the local store, where your own collections are.
    trials
        The trials that will be used; all by default.
    download
        Fetch missing files; if false, they are an error.
    progress
        Receives the progress of a download.

    Returns
    -------
    Dataset
        Its trials are read lazily.

    Raises
    ------
    DatasetError, UnknownNameError
        If it cannot be found, or is not what the catalog pins.

    Examples
    --------
    >>> import tipl_bench
    >>> dataset = tipl_bench.load_dataset("inverted-pendulum/ppo-head-v1")
    >>> len(dataset), dataset.trial(0).weights().shape  # [T, P]
    (50, (401, 122))
    """
    reference = as_reference(reference)
    trials = None if trials is None else list(trials)
    if download and reference.location and _is_missing(reference, trials):
        return download_dataset(reference, trials=trials, progress=progress)
    return _open(reference, trials)


def stream_dataset(reference: DatasetRef | Path | str) -> Selection:
    """The trials of a published dataset without downloading it: what is read of them comes by byte ranges.

    Only the manifest and what protocols derived are fetched at once. A tensor of a trial comes when it is first read,
    is compared with the manifest's sha256, and kept in the store: a second read asks the network for nothing. Trials
    that are on this machine are read from there.

    Parameters
    ----------
    reference
        As for `load_dataset`.

    Returns
    -------
    Selection
        All trials; a view, on which nothing is run.

    Raises
    ------
    DatasetError, UnknownNameError
        As from `load_dataset`; from reading a trial, if a tensor cannot be fetched or is not what the manifest says.

    Examples
    --------
    >>> trials = tipl_bench.stream_dataset("hf://datasets/OWNER/NAME@v1")
    >>> solved = trials.filter(lambda trial: trial.final_return >= trials.solved_return)  # returns alone are read
    >>> solved.trial(0).weights(0, 20)  # the weights of one trial
    """
    reference = as_reference(reference)
    dataset = load_dataset(reference, trials=())
    if reference.location is None:
        return dataset.select(range(len(dataset)))
    from .hub.stream import streamed  # the Hub's client is loaded only where the network is needed

    pinned = reference.location.pinned
    return streamed(
        dataset, reference.location if pinned else HubLocation(reference.location.repo, dataset.folder.name)
    )


def as_reference(given: object) -> DatasetRef:
    """What a dataset is referred to by, of a reference, a text or a folder's path.

    Raises
    ------
    DatasetError, UnknownNameError
        As `parse_reference`, and for what is neither of these.
    """
    if isinstance(given, DatasetRef):
        return given
    if isinstance(given, str | Path):
        return parse_reference(str(given))
    if isinstance(given, Selection):
        raise DatasetArgumentError(
            f"{given.described} is a view for code of your own: no digest identifies it, so no record could name it. "
            "Use the dataset itself, or save the view (`.save(folder, name=...)`) and use that folder."
        )
    raise DatasetArgumentError(f"A {type(given).__name__} is no reference to a dataset: give a name, path or address.")


def parse_reference(text: str) -> DatasetRef:
    """Find out which dataset a text refers to: an address on the Hub, a dataset's folder, or a known name.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is none of these.
    """
    if text.startswith(HUB_PREFIX):
        return DatasetRef(location=parse_hub(text))
    path = _as_path(text)
    if path is not None and not is_name(text) and is_file(path / MANIFEST_NAME):
        return DatasetRef(path=path)
    known = {*catalog(), *local_names()}
    name, commit = parse_name(text, known) or (text, None)
    if name in known:
        entry = catalog().get(name)
        location = entry.location if entry else None
        if commit and location is None:
            raise DatasetError(f"{name} is not published, as far as the catalog knows; leave out the commit.")
        return DatasetRef(name=name, location=HubLocation(location.repo, commit) if location and commit else location)
    if path is not None and path.is_dir():
        raise DatasetError(f"{path}: no {MANIFEST_NAME}; this folder is not a trajectory dataset.")
    if text.startswith((".", "/", "~")):
        raise DatasetError(f"{text}: no such folder; expected a dataset's folder, a known name or {HUB_PREFIX}...")
    raise UnknownNameError("dataset", name, known)


def parse_stored(text: str) -> DatasetRef:
    """As `parse_reference`, but a collection that was not finished has a name too, and a removal that was not."""
    if is_name(text) and (staging_folder(text).is_dir() or dataset_folder(text).is_dir()):
        return DatasetRef(name=text)
    return parse_reference(text)


def download_dataset(
    reference: DatasetRef,
    *,
    trials: Iterable[int] | None = None,
    to: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Fetch a published dataset and open it: what `tipl-bench datasets download` does.

    The revision is looked up anew, files that are here already are verified too, and damaged ones are fetched again.

    Parameters
    ----------
    reference, trials, progress
        As for `load_dataset`.
    to
        A folder to fetch into instead of the store.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is not published, cannot be reached, or is not what the catalog pins. Verified files stay.
    """
    from .hub.download import download  # the Hub's client is loaded only where the network is needed

    trials = None if trials is None else list(trials)
    entry = catalog().get(reference.name or "")
    if reference.location is None:
        _open(reference, ())
        raise DatasetError(f"{reference} is on this machine and is not published; there is nothing to download.")
    if to is None and entry and entry.bundled:
        raise DatasetError(f"{reference} comes with the package; nothing to download, except to elsewhere (`to=`).")
    download(
        reference,
        identity=entry.identity if entry else None,
        derived=entry.derived if entry else {},
        trials=trials,
        to=to,
        progress=progress,
    )
    return _open(DatasetRef(path=to) if to else reference, trials)


@dataclass(frozen=True)
class DatasetView:
    """A dataset of which no weights were fetched.

    Parameters
    ----------
    manifest
        Its manifest.
    identity
        Its digests.
    where
        The folder or the address on the Hub that it was read from.
    files
        Every file that a manifest vouches for.
    trials_here
        The trials that are on this machine; None if it was read from the Hub.
    columns
        Reads per-checkpoint scalars [T] of some trials; whatever is read remotely is verified.
    """

    manifest: Manifest
    identity: Identity
    where: str
    files: list[FileEntry]
    trials_here: list[int] | None
    columns: Callable[[Iterable[int]], Columns]


def view_dataset(reference: DatasetRef) -> DatasetView:
    """Read a dataset's manifest and columns from this machine, or else by range requests from the Hub.

    Raises
    ------
    DatasetError
        If it cannot be found, or is not what the catalog pins.
    """
    if reference.location and _is_missing(reference, None):
        from .hub.errors import is_unreachable
        from .hub.remote import RemoteDataset

        entry, folder = catalog().get(reference.name or ""), _local_folder(reference)
        try:
            remote = RemoteDataset.open(reference.location, identity=entry.identity if entry else None)
            source = str(remote.snapshot or remote.location)
            return DatasetView(remote.manifest, remote.identity(), source, remote.contents(), None, remote.all_columns)
        except HubError as error:
            if not is_unreachable(error) or folder is None or not (folder / MANIFEST_NAME).is_file():
                raise
    dataset = _open(reference, ())

    def columns(trials: Iterable[int]) -> Columns:
        here = (trial for trial in dataset.trials(trials) if is_file(trial.path))
        return {trial.index: trial.columns for trial in here}

    where, here = str(dataset.folder), dataset.trials_here
    return DatasetView(dataset.manifest, identity_of(dataset), where, dataset.contents(), here, columns)


def open_local(reference: DatasetRef) -> Dataset:
    """Open what is on this machine of a dataset: all trials, or those that were downloaded (`Dataset.trials_here`).

    Raises
    ------
    DatasetError
        If it is not here, not what the catalog pins, or lacks a file.
    """
    dataset = _open(reference, ())
    dataset.check_sizes(dataset.trials_here)
    return dataset


@dataclass(frozen=True)
class StoredDataset:
    """What the store holds of a dataset.

    Parameters
    ----------
    reference
        How it is referred to: its name, or its address on the Hub at a commit.
    bytes
        Of all files in its folder; hard links count in each.
    disk_bytes
        What they take on the disk.
    dataset
        The dataset; None if its manifest is damaged.
    verified
        Whether every byte that is here was hashed and nothing was written since.
    derived
        Protocol versions whose returns of the true policies are here.
    damage
        Why it cannot be used; empty if it can.
    """

    reference: str
    bytes: int
    disk_bytes: int
    dataset: Dataset | None
    verified: bool = False
    derived: tuple[int, ...] = ()
    damage: str = ""


def stored_datasets() -> list[StoredDataset]:
    """Every dataset in the store, those with a name first, then snapshots of Hub repositories."""
    return [_stored(reference, folder) for reference, folder in stored_folders()]


def _stored(reference: str, folder: Path) -> StoredDataset:
    stats = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    size, disk = sum(stat.st_size for stat in stats), sum(512 * stat.st_blocks for stat in stats)
    try:
        dataset = Dataset(folder, read_manifest(folder))
        here = dataset.trials_here
        dataset.check_sizes(here)
        verified = is_verified(folder, dataset.contents(here))
    except DatasetError as error:
        return StoredDataset(reference, size, disk, None, damage=str(error))
    return StoredDataset(reference, size, disk, dataset, verified, tuple(derived_protocols(folder)))


def _open(reference: DatasetRef, trials: Iterable[int] | None) -> Dataset:
    """Open a dataset that is on this machine."""
    folder = _local_folder(reference)
    if reference.name is None:
        if folder is None or (reference.location and not is_file(folder / MANIFEST_NAME)):
            raise DatasetError(
                f"{reference} is not on this machine; `tipl-bench datasets download {reference}` fetches it."
            )
        return Dataset.open(folder, trials=trials)
    assert folder is not None
    name, entry = reference.name, catalog().get(reference.name)
    if not is_file(folder / MANIFEST_NAME):
        download = f"download it with `tipl-bench datasets download {name}`, " if entry and entry.repo else ""
        raise DatasetError(
            f"{name} is not on this machine (looked in {folder}): {download}collect it with "
            f"`tipl-bench datasets collect {name}`, or pass a folder's path."
        )
    dataset = Dataset.open(folder, identity=entry.identity if entry else None, trials=trials)
    if dataset.name != name:
        raise DatasetError(f"{folder}: holds {dataset.name}, not {name}; move it to where its own name belongs.")
    if entry and entry.yanked:
        logger.warning("%s was yanked: %s. Results on it are greyed on the board.", name, entry.yanked)
    return dataset


def _is_missing(reference: DatasetRef, trials: list[int] | None) -> bool:
    """Whether a needed file is not on this machine."""
    folder = _local_folder(reference)
    if folder is None or not is_file(folder / MANIFEST_NAME):
        return True
    dataset, entry = Dataset(folder, read_manifest(folder)), catalog().get(reference.name or "")
    if not all(is_file(folder / file.path) for file in dataset.files(trials)):
        return True
    protocols = {*derived_protocols(folder), *(int(pin.removeprefix("p")) for pin in (entry.derived if entry else ()))}
    return any(_lacks_derived(dataset, protocol) for protocol in protocols)


def _lacks_derived(dataset: Dataset, protocol: int) -> bool:
    """Whether what a protocol version derived is missing, in part or whole, or is no longer valid."""
    try:
        return dataset.derived(protocol) is None
    except DatasetError:
        return True


def _local_folder(reference: DatasetRef) -> Path | None:
    """Where the dataset belongs on this machine; None for a revision that was never fetched."""
    if reference.path:
        return reference.path
    if reference.name:
        return BUNDLED / reference.name if is_bundled(reference.name) else dataset_folder(reference.name)
    assert reference.location is not None
    return snapshot_folder(reference.location)


def _as_path(text: str) -> Path | None:
    """The path a text may be, or None where the system cannot even look."""
    try:
        path = Path(text).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError):
        return None
    return path
