"""Derived data: what a protocol computes from a dataset, kept beside it and outside its digest."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import DatasetError, reason
from ..utils.fields import Sha256
from ..utils.files import temporary_beside, write_text
from ..utils.machine import cpu_name, package_versions
from ..utils.text import first_error
from .files import Document, FileEntry, check_size, describe_file, verify_file
from .manifest import DERIVED_FOLDER, MANIFEST_LIMIT, Manifest
from .store import exclusive

DERIVED_NAME = "derived.json"
_COVERED: dict[str, Any] = {
    "format": True,
    "digest": True,
    "protocol": True,
    "files": {"__all__": {"path", "size", "sha256"}},
}


class DerivedManifest(Document):
    """What one protocol version derived from one dataset, as `derived/pN/derived.json` lists it."""

    format: Literal[1] = 1
    name: str
    """The dataset's name."""
    digest: Sha256
    """The dataset's digest."""
    protocol: int = Field(ge=1, le=10**6)
    versions: dict[str, str]
    """Packages that it was computed with."""
    cpu: str
    files: tuple[FileEntry, ...] = Field(min_length=1)
    """Paths are relative to `derived/pN/`."""

    @model_validator(mode="after")
    def _lists_each_file_once(self) -> DerivedManifest:
        if len({entry.path for entry in self.files}) != len(self.files):
            raise ValueError("a file is listed twice")
        return self

    @property
    def sha256(self) -> str:
        """What the catalog pins: sha256 of the dataset's digest, the protocol and every file's bytes.

        Where and with what they were computed is not part of it.
        """
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", include=_COVERED)).encode()).hexdigest()

    def entries(self) -> list[FileEntry]:
        """The files, with paths relative to the dataset's folder."""
        place = f"{DERIVED_FOLDER}/p{self.protocol}"
        return [entry.model_copy(update={"path": f"{place}/{entry.path}"}) for entry in self.files]


@dataclass(frozen=True)
class Derived:
    """One protocol version's derived data on disk.

    Parameters
    ----------
    folder
        The folder that the listed paths are relative to.
    manifest
        Its validated manifest.
    """

    folder: Path
    manifest: DerivedManifest

    def file(self, name: str) -> Path | None:
        """A listed file, verified; None if there is none of that name.

        Raises
        ------
        DatasetError
            If its bytes are not those listed.
        """
        for entry in self.manifest.files:
            if entry.path == name:
                verify_file(self.folder / name, entry)
                return self.folder / name
        return None


def derived_folder(folder: Path, protocol: int) -> Path:
    """Where a protocol version's derived data stand in a dataset's folder."""
    return folder / DERIVED_FOLDER / f"p{protocol}"


def open_derived(folder: Path, manifest: Manifest, protocol: int) -> Derived | None:
    """A protocol version's derived data in a dataset's folder; None if there are none.

    A manifest of format 1 lists them itself, as sidecars.

    Raises
    ------
    DatasetError
        If their manifest is invalid or of another dataset, or a listed file is missing or of another size.
    """
    place = derived_folder(folder, protocol)
    path = place / DERIVED_NAME
    if path.is_file():
        if path.stat().st_size > MANIFEST_LIMIT:
            raise DatasetError(f"{path}: larger than {MANIFEST_LIMIT} bytes; this is not a manifest of derived data.")
        found = parse_derived(path.read_bytes(), str(path), manifest, protocol)
        for entry in found.files:
            check_size(place / entry.path, entry)
        return Derived(place, found)
    sidecars = tuple(entry for entry in manifest.sidecars if re.search(rf"-p{protocol}\.safetensors$", entry.path))
    if not sidecars:
        return None
    return Derived(folder, _describe(manifest, protocol, sidecars, manifest.versions, manifest.cpu))


def parse_derived(content: bytes, where: str, manifest: Manifest, protocol: int) -> DerivedManifest:
    """Validate `derived.json` of a dataset and protocol; raises `DatasetError` saying what is wrong, and `where`."""
    try:
        found = DerivedManifest.model_validate(strict_json(content.decode()))
    except ValidationError as error:
        raise DatasetError(f"{where}: field {first_error(error, 'manifest')}.") from None
    except ValueError as error:
        raise DatasetError(f"{where}: not a readable manifest of derived data ({reason(error)}).") from None
    if (found.digest, found.protocol) != (manifest.digest, protocol):
        raise DatasetError(
            f"{where}: derived by protocol {found.protocol} from a dataset with digest {found.digest}, not by protocol "
            f"{protocol} from {manifest.name} with digest {manifest.digest}. Remove that folder; it is computed anew."
        )
    return found


def derived_protocols(folder: Path) -> list[int]:
    """Protocol versions with derived data in a dataset's folder."""
    paths = (folder / DERIVED_FOLDER).glob(f"p*/{DERIVED_NAME}")
    return listed_protocols(path.relative_to(folder).as_posix() for path in paths)


def listed_protocols(paths: Iterable[str]) -> list[int]:
    """Protocol versions with derived data among paths relative to a dataset's folder."""
    found = (re.fullmatch(rf"{DERIVED_FOLDER}/p([1-9][0-9]{{0,5}})/{re.escape(DERIVED_NAME)}", path) for path in paths)
    return sorted(int(match[1]) for match in found if match)


def write_derived(
    folder: Path,
    manifest: Manifest,
    protocol: int,
    write: Callable[[Path], None],
    computed_with: tuple[dict[str, str], str] | None = None,
) -> Derived:
    """Add a protocol version's derived data to a dataset's folder, whole or not at all; those there already are kept.

    Parameters
    ----------
    folder, manifest
        The dataset.
    protocol
        The protocol's version.
    write
        Writes the safetensors files into the folder that it is given.
    computed_with
        The package versions and processor that the data were computed with; those of this process by default.
    """
    target = derived_folder(folder, protocol)
    partial = temporary_beside(target)
    with derived_lock(manifest, protocol):
        if (target / DERIVED_NAME).is_file() and (present := open_derived(folder, manifest, protocol)):
            return present
        partial.mkdir(parents=True)
        try:
            write(partial)
            names = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
            files = tuple(describe_file(partial, name) for name in names)
            found = _describe(manifest, protocol, files, *(computed_with or (package_versions(), cpu_name())))
            write_text(partial / DERIVED_NAME, found.model_dump_json(indent=1) + "\n")
            shutil.rmtree(target, ignore_errors=True)  # without `derived.json`: what a killed download left
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Derived(target, found)


def derived_lock(manifest: Manifest, protocol: int) -> AbstractContextManager[None]:
    """Hold, or wait for, the store's lock on a protocol version's derived data of a dataset."""
    return exclusive(f"derived-{manifest.digest}-p{protocol}", wait=True, required=False)


def _describe(
    manifest: Manifest, protocol: int, files: tuple[FileEntry, ...], versions: dict[str, str], cpu: str
) -> DerivedManifest:
    return DerivedManifest(
        name=manifest.name, digest=manifest.digest, protocol=protocol, versions=versions, cpu=cpu, files=files
    )
