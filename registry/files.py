"""Files that a manifest lists: how they are described, and verified byte for byte."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import DatasetError
from ..utils.fields import Sha256
from ..utils.files import sha256, write_text
from ..utils.tensorfile import HEADER_LIMIT, SUFFIX, read_header, tensor_digests

PATH_LIMIT = 200
PART_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
"""A folder or file of a listed path; what begins with a dot is the store's own."""
VERIFIED_NAME = ".verified.json"
"""In the folder of a dataset: which of its files were hashed, and when each was last written then."""
REQUESTED_NAME = ".trials.json"
"""In the folder of a dataset of which only some trials were downloaded: their numbers."""
REPAIR_HINT = "Download it again (`tipl-bench datasets download NAME`) or collect it again; nothing was removed."

Count = Annotated[int, Field(ge=1, le=2**40)]


class Document(BaseModel):
    """A part of a manifest: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorEntry(Document):
    """One tensor of a file."""

    dtype: Literal["float32", "float64", "int64"]
    shape: tuple[Annotated[int, Field(ge=0, le=2**40)], ...]
    sha256: Sha256

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class FileEntry(Document):
    """One safetensors file: its path relative to the manifest, size in bytes, and digests."""

    path: str
    size: Count
    sha256: Sha256
    tensors: dict[str, TensorEntry]

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if len(path) > PATH_LIMIT:
            raise ValueError(f"a path of {len(path)} characters; {PATH_LIMIT} are allowed")
        if not re.fullmatch(rf"{PART_PATTERN}(/{PART_PATTERN})*", path):
            raise ValueError(
                f"{path!r} is not a plain relative path: names of letters, digits, '_', '-' and '.' (not first), "
                "with '/' between them"
            )
        if not path.endswith(SUFFIX):
            raise ValueError(f"{path!r} is not the name of a {SUFFIX} file")
        return path

    @model_validator(mode="after")
    def _accounts_for_its_size(self) -> FileEntry:
        """A file is its tensors and a small header; a larger claim is refused before anything is downloaded."""
        content = sum(tensor.size for tensor in self.tensors.values())
        if not content < self.size <= content + HEADER_LIMIT + 8:
            raise ValueError(f"{self.path}: {self.size} bytes cannot be a header and tensors of {content} bytes")
        return self


def describe_file(folder: Path, path: str) -> FileEntry:
    """Hash one file below a folder into its manifest entry."""
    file = folder / path
    digests = tensor_digests(file)
    tensors = {
        name: TensorEntry.model_validate({"dtype": span.dtype, "shape": span.shape, "sha256": digests[name]})
        for name, span in read_header(file).items()
    }
    return FileEntry(path=path, size=file.stat().st_size, sha256=sha256(file), tensors=tensors)


def verify_file(path: Path, entry: FileEntry) -> None:
    """Hash every byte of a file and compare with its manifest entry.

    Raises
    ------
    DatasetError
        Naming the file, and the tensor in it, that is not what the manifest says.
    """
    check_size(path, entry)
    _check_header(path, entry)
    for name, digest in tensor_digests(path).items():
        if digest != entry.tensors[name].sha256:
            raise DatasetError(
                f"{path}: tensor {name!r} does not have the manifest's sha256; its bytes were changed. {REPAIR_HINT}"
            )
    if sha256(path) != entry.sha256:
        raise DatasetError(
            f"{path}: its tensors are intact but its header does not have the manifest's bytes. {REPAIR_HINT}"
        )


def check_size(path: Path, entry: FileEntry) -> None:
    """Compare a file's presence and size with its manifest entry; raises `DatasetError`."""
    if not path.is_file():
        raise DatasetError(f"{path}: listed in the manifest but missing. {REPAIR_HINT}")
    size = path.stat().st_size
    if size != entry.size:
        raise DatasetError(
            f"{path}: {size} bytes where the manifest says {entry.size}; the file is truncated or was replaced. "
            f"{REPAIR_HINT}"
        )


def _check_header(path: Path, entry: FileEntry) -> None:
    """Compare the file's own header with its manifest entry."""
    stated = {name: (t.dtype, t.shape) for name, t in entry.tensors.items()}
    found = {name: (span.dtype, span.shape) for name, span in read_header(path).items()}
    if found != stated:
        wrong = sorted(name for name in {*found, *stated} if found.get(name) != stated.get(name))
        raise DatasetError(f"{path}: tensors {', '.join(wrong)} do not have the manifest's dtype and shape.")


def note_verified(folder: Path, entries: Iterable[FileEntry]) -> None:
    """Write down that files of a dataset's folder were hashed and are what their entries say.

    A folder that cannot be written goes without; so does a file that is missing.
    """
    with contextlib.suppress(OSError):
        times = {entry.path: [entry.sha256, (folder / entry.path).stat().st_mtime_ns] for entry in entries}
        write_text(folder / VERIFIED_NAME, canonical_json(_verified(folder) | times))


def is_verified(folder: Path, entries: Iterable[FileEntry]) -> bool:
    """Whether files of a dataset's folder were all hashed, and none was written since."""
    known = _verified(folder)
    try:
        return all(known[e.path] == [e.sha256, (folder / e.path).stat().st_mtime_ns] for e in entries)
    except (KeyError, OSError):
        return False


def _verified(folder: Path) -> dict[str, Any]:
    try:
        found = strict_json((folder / VERIFIED_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def requested_trials(folder: Path) -> list[int] | None:
    """The trials that were downloaded into a dataset's folder, if not all were; None otherwise."""
    path = folder / REQUESTED_NAME
    if not path.is_file():
        return None
    try:
        return TypeAdapter(list[NonNegativeInt]).validate_json(path.read_bytes())
    except ValidationError:
        raise DatasetError(f"{path}: not a list of trials; download the dataset again.") from None


def request_trials(folder: Path, trials: Iterable[int] | None) -> None:
    """Write down which trials, besides those of earlier downloads, are downloaded into a folder; all if None."""
    if trials is None:
        (folder / REQUESTED_NAME).unlink(missing_ok=True)
    else:
        write_text(folder / REQUESTED_NAME, canonical_json(sorted({*trials, *(requested_trials(folder) or ())})))
