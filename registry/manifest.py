"""The manifest: everything a dataset claims about itself, validated, and the digest that names it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from ..rl.policy import PolicyLayout
from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import DatasetError
from ..utils.files import write_text
from ..utils.tensorfile import HEADER_LIMIT
from .collection.config import CollectionConfig
from .reference import NAME_PATTERN, version_number

MANIFEST_NAME = "manifest.json"
MANIFEST_LIMIT = 64 << 20
PATH_LIMIT = 200
PROPORTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1, le=2**40)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorEntry(_Model):
    """One tensor of a file."""

    dtype: Literal["float32", "float64", "int64"]
    shape: tuple[Annotated[int, Field(ge=0, le=2**40)], ...]
    sha256: Sha256


class FileEntry(_Model):
    """One file of a dataset: its relative path, size in bytes, and digests."""

    path: str
    size: Count
    sha256: Sha256
    tensors: dict[str, TensorEntry]

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if len(path) > PATH_LIMIT:
            raise ValueError(f"a path of {len(path)} characters; {PATH_LIMIT} are allowed")
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or str(PurePosixPath(path)) != path:
            raise ValueError(f"{path!r} is not a plain relative path")
        return path

    @model_validator(mode="after")
    def _holds_its_tensors(self) -> FileEntry:
        """A file is its tensors and a small header; what claims more is refused before it is fetched."""
        content = sum(math.prod(t.shape) * np.dtype(t.dtype).itemsize for t in self.tensors.values())
        if not content < self.size <= content + HEADER_LIMIT + 8:
            raise ValueError(f"{self.path}: {self.size} bytes cannot be a header and tensors of {content} bytes")
        return self


class Split(_Model):
    """Which trials are for fitting, for tuning, and for testing; by trial, never by window."""

    train: tuple[int, ...] = Field(min_length=1)
    validation: tuple[int, ...] = Field(min_length=1)
    test: tuple[int, ...] = Field(min_length=1)

    @classmethod
    def proportional(cls, trials: int) -> Split:
        """60% train, 10% validation, 30% test (30 / 5 / 15 of 50), in trial order, at least one each.

        Trials differ only by their seed, so their order is as random as any.
        """
        if trials < 3:
            raise DatasetError(f"{trials} trials cannot be split three ways; collect at least 3.")
        test = max(1, round(PROPORTIONS["test"] * trials))
        validation = max(1, round(PROPORTIONS["validation"] * trials))
        train = trials - test - validation
        ids = tuple(range(trials))
        return cls(train=ids[:train], validation=ids[train : train + validation], test=ids[train + validation :])

    def grown(self, trials: int) -> Split:
        """This split for more trials: those there stay in their parts, each new one goes where most are wanting."""
        parts = {name: list(getattr(self, name)) for name in PROPORTIONS}
        for trial in range(sum(map(len, parts.values())), trials):
            wanting = {name: share * (trial + 1) - len(parts[name]) for name, share in PROPORTIONS.items()}
            parts[max(wanting, key=lambda name: wanting[name])].append(trial)
        return Split(**{name: tuple(chosen) for name, chosen in parts.items()})


class Origin(_Model):
    """The dataset that this one was made from."""

    name: str
    digest: Sha256


class Manifest(_Model):
    """A dataset's whole description; unknown fields are refused.

    The `digest` of a dataset is the sha256 of its manifest in canonical JSON, and the manifest lists the sha256 of
    every other file: one hash vouches for all bytes. `extends` names the version whose trials come first here, bit for
    bit; `versions` and `cpu` are then those of the trials added.
    """

    format: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    licence: str
    environment: str
    checkpoints: Count
    observation_size: Annotated[int, Field(ge=1, le=2**20)]
    action_size: Annotated[int, Field(ge=1, le=2**20)]
    activation: Literal["tanh"] = "tanh"
    parameters: dict[str, tuple[int, ...]]
    collection: CollectionConfig
    trial_seeds: tuple[int, ...]
    split: Split
    versions: dict[str, str]
    cpu: str
    cut_from: Origin | None = None
    extends: Origin | None = None
    trials: tuple[FileEntry, ...]
    sidecars: tuple[FileEntry, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        count = len(self.trials)
        chosen = sorted([*self.split.train, *self.split.validation, *self.split.test])
        if chosen != list(range(count)):
            raise ValueError(f"the split must name each of the {count} trials once")
        if len(self.trial_seeds) != count:
            raise ValueError(f"{len(self.trial_seeds)} trial seeds for {count} trials")
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        if self.parameters != self.layout.shapes:
            raise ValueError("the parameters' names or shapes are not those of the layout")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_extends(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """`extends` came after the first digests, which must not change: it is written only where it says something."""
        fields: dict[str, Any] = dump(self)
        return {name: value for name, value in fields.items() if name != "extends" or value is not None}

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Trials, then sidecars."""
        return (*self.trials, *self.sidecars)

    @property
    def version(self) -> int:
        """N of the name's `-vN`."""
        return version_number(self.name)

    @property
    def layout(self) -> PolicyLayout:
        """The policies' layout."""
        return PolicyLayout(self.observation_size, self.collection.hidden_sizes, self.action_size, self.activation)

    @property
    def digest(self) -> str:
        """The dataset's identity: sha256 of the canonical manifest."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into the dataset's folder, atomically."""
        write_text(folder / MANIFEST_NAME, self.model_dump_json(indent=1) + "\n")


def parse_manifest(text: str, where: str) -> Manifest:
    """Validate a manifest's text.

    Raises
    ------
    DatasetError
        If it is not JSON or breaks a rule of the format; the message says which, and `where`.
    """
    try:
        return Manifest.model_validate(strict_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise DatasetError(
            f"{where}: field {field}: {first['msg']} ({error.error_count()} problem(s) in all)."
        ) from None
    except ValueError as error:
        raise DatasetError(f"{where}: not a readable manifest ({error}).") from None


def read_manifest(folder: Path) -> Manifest:
    """Read and validate a dataset folder's manifest.

    Raises
    ------
    DatasetError
        If it is missing, oversized, not JSON, or breaks a rule of the format; the message says which.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > MANIFEST_LIMIT:
            raise DatasetError(f"{path}: larger than {MANIFEST_LIMIT} bytes; this is not a manifest.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{folder}: no {MANIFEST_NAME}; this folder is not a trajectory dataset.") from None
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path}: not a readable manifest ({error}).") from None
    return parse_manifest(text, str(path))
