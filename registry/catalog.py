"""The catalog: dataset names, their digests, and where each can be had."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .dataset import Dataset
from .errors import DatasetError, UnknownNameError
from .manifest import MANIFEST_NAME, is_name
from .store import dataset_folder

BUNDLED = Path(__file__).parent / "bundled"


class CatalogEntry(BaseModel):
    """What the catalog says of one dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    summary: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    default: bool = False
    bundled: bool = False


@cache
def catalog() -> dict[str, CatalogEntry]:
    """All catalog entries by dataset name."""
    text = (Path(__file__).parent / "catalog.toml").read_text(encoding="utf-8")
    return {name: CatalogEntry.model_validate(entry) for name, entry in tomllib.loads(text).items()}


def default_dataset(environment: str) -> str:
    """The name of an environment's default dataset; raises `UnknownNameError` if it has none."""
    defaults = {entry.environment: name for name, entry in catalog().items() if entry.default}
    if environment not in defaults:
        raise UnknownNameError("environment", environment, defaults)
    return defaults[environment]


def open_dataset(name: str) -> Dataset:
    """Open a dataset by its name or by the path of its folder.

    A name in the catalog must have the catalog's digest. A name that is not there is looked for in the local store,
    where collections of one's own stand.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is neither a name known here nor a dataset's folder, or not what the catalog pins.
    """
    path = _folder(name)
    if path is not None and not is_name(name) and (path / MANIFEST_NAME).is_file():
        return Dataset.open(path)
    entry = catalog().get(name)
    folder = BUNDLED / name if entry and entry.bundled else dataset_folder(name)
    if is_name(name) and (folder / MANIFEST_NAME).is_file():
        dataset = Dataset.open(folder, digest=entry.digest if entry else None)
        if dataset.name != name:
            raise DatasetError(f"{folder}: holds {dataset.name}, not {name}; move it to where its own name belongs.")
        return dataset
    if entry:
        raise DatasetError(
            f"{name} is not on this machine (looked in {folder}). Collect it with "
            f"`tipl-bench datasets collect {name}`, or pass a folder's path."
        )
    if path is not None and path.is_dir():
        raise DatasetError(f"{path}: no {MANIFEST_NAME}; this folder is not a trajectory dataset.")
    raise UnknownNameError("dataset", name, {*catalog(), *local_names()})


def local_names() -> list[str]:
    """Names of the finished datasets in the local store, catalogued or not."""
    root = dataset_folder("")
    found = (path.parent.relative_to(root).as_posix() for path in root.glob(f"*/*/{MANIFEST_NAME}"))
    return sorted(name for name in found if is_name(name))


def _folder(name: str) -> Path | None:
    """The path a text stands for, or None where the system cannot even look."""
    try:
        path = Path(name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError):
        return None
    return path
