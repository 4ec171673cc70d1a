"""The catalog: dataset names, their digests, and where each is published."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..utils.errors import DatasetError, UnknownNameError, nearest, reason
from ..utils.fields import Sha256
from ..utils.files import is_file, write_text
from ..utils.text import first_error
from .dataset import Dataset
from .derived import Derived
from .locations import SHIPPED_CATALOG, own_catalog
from .manifest import Identity, Origin, read_manifest
from .reference import COMMIT_PATTERN, HubLocation, is_name, is_repo
from .store import dataset_folder, local_names

BUNDLED = Path(__file__).parent / "bundled"
ProtocolKey = Annotated[str, Field(pattern=r"^p[1-9][0-9]{0,5}$")]


class CatalogEntry(BaseModel):
    """One dataset in the catalog."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    summary: str
    digest: Sha256
    digest_format: Literal[1, 2] = 2
    """1 if `digest` is a format-1 digest and the one of format 2 is not known yet."""
    former_digest: Sha256 | None = None
    """The format-1 digest, of a dataset that was first identified by it."""
    derived: dict[ProtocolKey, Sha256] = {}
    """`DerivedManifest.sha256` of the derived data of each protocol version, as `p1`."""
    ceilings: dict[ProtocolKey, Sha256] = {}
    """sha256 of the file in `registry/ceilings/` that holds the branching ceiling under each protocol version."""
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
    if is_file(path):
        for name, entry in _read(path).items():
            shipped = entries.get(name, entry)
            if not shipped.identity.matches(entry.identity):
                raise DatasetError(f"{path}: {name} has another digest than the catalog that ships with tipl-bench.")
            pinned = (
                "environment",
                "digest",
                "digest_format",
                "former_digest",
                "derived",
                "ceilings",
                "default",
                "bundled",
            )
            kept = {field: getattr(shipped, field) for field in pinned} | {"yanked": entry.yanked or shipped.yanked}
            own = {"default": entry.default and entry.environment not in defaults, "bundled": False}
            entries[name] = entry.model_copy(update=kept if name in entries else own)
    return entries


def is_shipped(name: str, digest: str) -> bool:
    """Whether the catalog that comes with the package lists a dataset under this name with this digest."""
    entry = _shipped().get(name)
    return entry is not None and digest in entry.identity.digests


def is_bundled(name: str) -> bool:
    """Whether the package brings the dataset of this name."""
    entry = catalog().get(name)
    return entry is not None and entry.bundled


@cache
def _shipped() -> dict[str, CatalogEntry]:
    return _read(SHIPPED_CATALOG)


def write_yanked(name: str, reason: str) -> Path:
    """Mark an entry as yanked in the catalog file that holds it, and change nothing else there; returns the file."""
    for path in (own_catalog(), SHIPPED_CATALOG):
        if is_file(path) and name in _read(path):
            write_text(path, _with_yanked(path, name, reason))
            _shipped.cache_clear()
            return path
    raise UnknownNameError("dataset", name, catalog())


def _with_yanked(path: Path, name: str, reason: str) -> str:
    """A catalog's text with an entry's `yanked` line replaced, or else added after its last key."""
    line = f"yanked = {json.dumps(reason, ensure_ascii=False)}"
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    header = re.compile(rf"""\s*\[\s*["']{re.escape(name)}["']\s*\]""")
    start = next((i for i, old in enumerate(lines) if header.match(old)), len(lines))
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    keys = [i for i in range(start, end) if re.match(r"\s*\w+\s*=", lines[i])]
    last = keys[-1] + 1 if keys else end
    here = next((slice(i, i + 1) for i in keys if lines[i].lstrip().startswith("yanked")), slice(last, last))
    lines[here] = [line]
    changed, expected = "\n".join(lines), tomllib.loads(text)
    expected[name]["yanked"] = reason
    with contextlib.suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(changed) == expected:
            return changed
    raise DatasetError(f"{path}: the entry of {name} does not have one key a line; add to it by hand: {line}")


def entry_lines(name: str, entry: CatalogEntry) -> str:
    """An entry as TOML, to be added to a catalog file."""
    fields = entry.model_dump(exclude_defaults=True).items()
    return "\n".join([f'["{name}"]', *(f"{key} = {_toml(value)}" for key, value in fields)]) + "\n"


def _toml(value: str | bool | int | dict[str, str]) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(text)}' for key, text in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)  # of texts and numbers this is TOML too


def _read(path: Path) -> dict[str, CatalogEntry]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        wrong = [name for name in entries if not is_name(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a dataset name")
        return TypeAdapter(dict[str, CatalogEntry]).validate_python(entries)
    except ValidationError as error:
        raise DatasetError(f"{path}: {first_error(error)}.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable catalog ({reason(error)}).") from None


def identity_of(dataset: Dataset) -> Identity:
    """The digests that records and other datasets name a dataset by.

    The former one is that of its format-1 manifest, or what the catalog knows of a dataset that was migrated.
    """
    former, entry = dataset.manifest.former_digest, catalog().get(dataset.name)
    if former is None and entry and any(dataset.matches(digest) for digest in entry.identity.digests):
        former = entry.digest if entry.digest_format == 1 else entry.former_digest
    return Identity(dataset.digest, former_digest=former)


def origin_of(dataset: Dataset) -> Origin:
    """How another dataset names this one as its origin: by the digest that it was first identified by."""
    return Origin(name=dataset.name, digest=identity_of(dataset).first_digest)


def find_derived(dataset: Dataset, protocol: int) -> Derived | None:
    """What a protocol version derived from a dataset; None if that is not here, and the catalog does not pin it.

    Raises
    ------
    DatasetError
        If it is invalid, or not what the catalog pins.
    """
    derived, entry = dataset.derived(protocol), catalog().get(dataset.name)
    pinned = entry.derived.get(f"p{protocol}") if entry else None
    if entry is None or pinned is None or not any(dataset.matches(digest) for digest in entry.identity.digests):
        return derived
    if derived is None:
        source = "download" if entry.repo else "collect"
        raise DatasetError(
            f"{dataset.folder}: lacks what protocol {protocol} derived from {dataset.name}, which the catalog pins "
            f"({pinned}). Get it with `tipl-bench datasets {source} {dataset.name}`; the trials are kept."
        )
    if derived.manifest.sha256 != pinned:
        raise DatasetError(
            f"{derived.folder}: derived data with sha256 {derived.manifest.sha256}, but the catalog pins {pinned} for "
            f"protocol {protocol} on {dataset.name}. Remove that folder, or download the dataset again."
        )
    return derived


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
        raise UnknownNameError("environment", environment, defaults, _way_to_dataset(environment, defaults))
    return defaults[environment]


def _way_to_dataset(environment: str, defaults: Iterable[str]) -> str:
    """How to have a dataset of an environment that has no default one; empty if nobody knows the environment."""
    import gymnasium

    here = {name: dataset_folder(name) for name in local_names()}
    named = [name for name, entry in catalog().items() if entry.environment == environment]
    named += [name for name, folder in here.items() if read_manifest(folder).environment == environment]
    if named:
        return f"It has no default dataset; name one (`dataset=`): {', '.join(sorted({*named}))}"
    bundled = [entry.environment for entry in catalog().values() if entry.default and entry.bundled]
    near = nearest(environment, bundled) or nearest(environment, defaults)  # what needs no collecting comes first
    suggestion = f"Did you mean {near!r}? " if near else ""
    if environment not in gymnasium.registry:
        return suggestion.rstrip()
    stem = environment.rpartition("-v")[0]
    folder = "-".join(re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", stem)).lower()
    if any(entry.environment.rpartition("-v")[0] == stem for entry in catalog().values()):
        folder += environment.removeprefix(stem)  # the name without a version is that of another version
    return (
        f"{suggestion}Gymnasium has it, but no dataset of it is known: collect one with "
        f"`tipl-bench datasets collect {folder}/ppo-v1 --config FILE`, where FILE says "
        f"`environment = {json.dumps(environment)}` and the other fields of a collection (docs/hub.md)"
    )
