"""Looking at a dataset without fetching it: its manifest and columns, from this machine or by range requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...utils.tensorfile import Array
from ..catalog import catalog, open_dataset, resolve
from ..dataset import Dataset
from ..manifest import Manifest
from ..reference import NamedDataset
from .download import is_missing, location_of
from .remote import RemoteDataset

Columns = dict[int, dict[str, Array]]


@dataclass(frozen=True)
class View:
    """A dataset as it can be seen from here.

    Parameters
    ----------
    manifest
        Its manifest.
    where
        The folder or the place on the Hub that it was read from.
    columns
        Reads per-checkpoint scalars [T] of some trials; whatever is read remotely is verified.
    """

    manifest: Manifest
    where: str
    columns: Callable[[Iterable[int]], Columns]


def view(text: str) -> View:
    """Look at a dataset by its name, path or place on the Hub; weights are not fetched.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is nowhere to be had, or is not what the catalog pins.
    """
    chosen = resolve(text)
    location = None if isinstance(chosen, Path) else location_of(chosen)
    if location is not None and not isinstance(chosen, Path) and is_missing(chosen):
        identity = catalog()[chosen.name].identity if isinstance(chosen, NamedDataset) else None
        remote = RemoteDataset.open(location, identity=identity)
        return View(remote.manifest, str(remote.location), remote.all_columns)
    dataset = open_dataset(text, ())
    return View(dataset.manifest, str(dataset.folder), lambda trials: _local(dataset, trials))


def _local(dataset: Dataset, trials: Iterable[int]) -> Columns:
    """Columns of those of the trials whose files are here."""
    here = (trial for trial in dataset.trials(trials) if trial.path.is_file())
    return {trial.index: trial.columns for trial in here}
