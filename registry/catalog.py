"""The catalog: dataset names, their digests, and where each can be had."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..utils.errors import DatasetError, UnknownNameError
from ..utils.files import write_text
from .dataset import Dataset
from .manifest import MANIFEST_NAME, Identity, Sha256
from .reference import COMMIT_PATTERN, HUB_PREFIX, HubLocation, NamedDataset, is_name, is_repo, parse_hub, parse_name
from .snapshots import snapshot_folder
from .store import cache_root, dataset_folder

BUNDLED = Path(__file__).parent / "bundled"
SHIPPED_CATALOG = Path(__file__).parent / "catalog.toml"

logger = logging.getLogger(__name__)


class CatalogEntry(BaseModel):
    """What the catalog says of one dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    summary: str
    digest: Sha256
    digest_format: Literal[1, 2] = 2
    """1 if `digest` is a format-1 digest and the one of format 2 is not known yet."""
    former_digest: Sha256 | None = None
    """The format-1 digest, of a dataset that was first identified by it."""
    default: bool = False
    bundled: bool = False
    repo: str | None = None
    commit: Annotated[str, Field(pattern=f"^{COMMIT_PATTERN}$")] | None = None
    yanked: str | None = None

    @model_validator(mode="after")
    def _pinned(self) -> CatalogEntry:
        if (self.repo is None) != (self.commit is None):
            raise ValueError("a published dataset has both a repo and a commit")
        if self.repo is not None and not is_repo(self.repo):
            raise ValueError(f"repo {self.repo!r} is not of the form OWNER/NAME")
        if self.former_digest is not None and self.digest_format == 1:
            raise ValueError("former_digest is the format-1 digest; beside it, digest must be of format 2")
        return self

    @property
    def identity(self) -> Identity:
        """The digests by which the dataset is known."""
        return Identity(self.digest, self.digest_format, self.former_digest)

    @property
    def location(self) -> HubLocation | None:
        """Where it is published, at its pinned commit."""
        return HubLocation(self.repo, self.commit) if self.repo else None


def catalog() -> dict[str, CatalogEntry]:
    """All catalog entries by dataset name: those that ship with the package, and those of `own_catalog`.

    A person's own entries may add datasets, places to have them from, and defaults where none ships; what a shipped
    name means, and what an environment's default is, is the same on every machine.

    Raises
    ------
    DatasetError
        If the person's own catalog is not valid, or gives a shipped name another digest.
    """
    entries = dict(_shipped())
    defaults = {entry.environment for entry in entries.values() if entry.default}
    path = own_catalog()
    if path.is_file():
        for name, entry in _read(path).items():
            shipped = entries.get(name, entry)
            if not shipped.identity.matches(entry.identity):
                raise DatasetError(f"{path}: {name} has another digest than the catalog that ships with tipl-bench.")
            kept = {"yanked": entry.yanked or shipped.yanked, "default": shipped.default, "bundled": shipped.bundled}
            own = {"default": entry.default and entry.environment not in defaults, "bundled": False}
            entries[name] = entry.model_copy(update=kept if name in entries else own)
    return entries


def own_catalog() -> Path:
    """The catalog of this machine's own datasets, beside the store; it need not exist."""
    return cache_root() / "catalog.toml"


@cache
def _shipped() -> dict[str, CatalogEntry]:
    return _read(SHIPPED_CATALOG)


def write_yanked(name: str, reason: str) -> Path:
    """Write into the catalog file that holds an entry that it is yanked, and nothing else; returns the file."""
    for path in (own_catalog(), SHIPPED_CATALOG):
        document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.is_file() else tomlkit.document()
        if name in document:
            _add_last(document[name], "yanked", reason)
            write_text(path, tomlkit.dumps(document))
            _shipped.cache_clear()
            return path
    raise UnknownNameError("dataset", name, catalog())


def _add_last(table: Any, key: str, value: str) -> None:
    """Set a key of a TOML table, a new one before the comments at its end: those belong to what comes next."""
    body, tail = table.value.body, []
    while isinstance(table, tomlkit.items.Table) and body and body[-1][0] is None:
        tail.append(body.pop()[1])
    table[key] = value
    for item in reversed(tail):
        table.add(item)


def _read(path: Path) -> dict[str, CatalogEntry]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        wrong = [name for name in entries if not is_name(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a dataset name")
        return TypeAdapter(dict[str, CatalogEntry]).validate_python(entries)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DatasetError(f"{path}: {where}: {first['msg']}.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable catalog ({error}).") from None


def identity_of(dataset: Dataset) -> Identity:
    """A dataset's digests; the former one also where only the catalog still knows it."""
    entry = catalog().get(dataset.name)
    if entry is None or not dataset.identity.matches(entry.identity):
        return dataset.identity
    known = entry.former_digest or (entry.digest if entry.digest_format == 1 else None)
    return dataset.identity._replace(former_digest=known or dataset.former_digest)


def complete_identity(name: str, digest: str) -> Identity:
    """The identity of a dataset of which a name and one digest are stated, as records of format 1 do.

    Where the catalog that ships with the package pins the digest under this name, the identity is the catalog's; of
    other datasets nothing but the stated digest, of format 1, is known.
    """
    stated = Identity(digest, digest_format=1)
    entry = _shipped().get(name)
    return entry.identity if entry and entry.identity.matches(stated) else stated


def default_dataset(environment: str) -> str:
    """The name of an environment's default dataset; raises `UnknownNameError` if it has none."""
    defaults = {entry.environment: name for name, entry in catalog().items() if entry.default}
    if environment not in defaults:
        raise UnknownNameError("environment", environment, defaults)
    return defaults[environment]


def resolve(text: str) -> Path | HubLocation | NamedDataset:
    """What a text stands for: a dataset's folder, a place on the Hub, or a known name.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is none of these.
    """
    if text.startswith(HUB_PREFIX):
        return parse_hub(text)
    path = _folder(text)
    if path is not None and not is_name(text) and (path / MANIFEST_NAME).is_file():
        return path
    known = {*catalog(), *local_names()}
    named = parse_name(text, known)
    if named and named.name in known:
        entry = catalog().get(named.name)
        if named.commit and not (entry and entry.repo):
            raise DatasetError(f"{named.name} is not published, as far as the catalog knows; leave out the commit.")
        return named
    if path is not None and path.is_dir():
        raise DatasetError(f"{path}: no {MANIFEST_NAME}; this folder is not a trajectory dataset.")
    if text.startswith((".", "/", "~")):
        raise DatasetError(f"{text}: no such folder; a dataset's folder, a known name or {HUB_PREFIX}... is expected.")
    raise UnknownNameError("dataset", named.name if named else text, known)


def home_folder(name: str) -> Path:
    """Where a named dataset stands on this machine, if it is here."""
    entry = catalog().get(name)
    return BUNDLED / name if entry and entry.bundled else dataset_folder(name)


def open_dataset(text: str, trials: Iterable[int] | None = None) -> Dataset:
    """Open a dataset that is on this machine; the network is not asked.

    Parameters
    ----------
    text
        Its name, its folder's path, or `hf://datasets/OWNER/NAME[@REVISION]` if it was downloaded from there. A name in
        the catalog must have the catalog's digest; another is looked for in the local store, where collections of one's
        own stand.
    trials
        The trials that will be used; by default all must be here.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is neither a name known here nor a dataset's folder, or not what the catalog pins.
    """
    chosen = resolve(text)
    if isinstance(chosen, Path):
        return Dataset.open(chosen, trials=trials)
    if isinstance(chosen, HubLocation):
        folder = snapshot_folder(chosen)
        if folder is None or not (folder / MANIFEST_NAME).is_file():
            raise DatasetError(f"{chosen} is not on this machine; `tipl-bench datasets download {chosen}` fetches it.")
        return Dataset.open(folder, trials=trials)
    return _open_named(chosen.name, trials)


def _open_named(name: str, trials: Iterable[int] | None) -> Dataset:
    entry = catalog().get(name)
    folder = home_folder(name)
    if not (folder / MANIFEST_NAME).is_file():
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
