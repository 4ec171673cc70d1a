"""The manifest: everything a dataset states about itself, validated, and the digests that identify it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from ..rl import PolicyLayout
from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import DatasetError, reason
from ..utils.fields import Sha256, Text
from ..utils.files import write_text
from ..utils.text import first_error
from .collection_config import Collection, CollectionConfig, ImportedCollection
from .files import Count, Document, FileEntry
from .reference import NAME_PATTERN, version_number

MANIFEST_NAME, DERIVED_FOLDER = "manifest.json", "derived"
MANIFEST_LIMIT = 64 << 20
PROPORTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}

_ORIGIN = {"name", "digest"}
_FILE: dict[str, Any] = {
    "path": True,
    "size": True,
    "sha256": True,
    "tensors": {"__all__": {"dtype", "shape", "sha256"}},
}
_FILES = {"__all__": _FILE}
_FORMAT_1: dict[str, Any] = {
    "format": True,
    "name": True,
    "licence": True,
    "environment": True,
    "checkpoints": True,
    "observation_size": True,
    "action_size": True,
    "activation": True,
    "distribution": True,
    "parameters": True,
    "collection": {
        "environment": True,
        "hidden_sizes": True,
        "environment_steps": True,
        "trials": True,
        "first_seed": True,
        "checkpoint_every_epochs": True,
        "algorithm": True,
        "hyperparameters": {
            "learning_rate",
            "anneal_learning_rate",
            "steps_per_iteration",
            "minibatches",
            "epochs",
            "gamma",
            "gae_lambda",
            "clip",
            "value_coefficient",
            "max_gradient_norm",
            "adam_epsilon",
            "entropy_coefficient",
        },
        "version": True,
    },
    "trial_seeds": True,
    "split": {"train", "validation", "test"},
    "versions": True,
    "cpu": True,
    "cut_from": _ORIGIN,
    "extends": _ORIGIN,
    "trials": _FILES,
    "sidecars": _FILES,
}
COVERED: dict[int, dict[str, Any]] = {
    1: _FORMAT_1,
    2: {field: inner for field, inner in _FORMAT_1.items() if field != "sidecars"},
}
"""The fields that the digest covers, by manifest format. They are frozen: a field that a model gains later changes no
digest, and one that decides what the data mean needs a new format. `version`, `distribution` and `entropy_coefficient`
are later: a document names them only where it is not the default's."""
COVERED_ON_ANY_PROCESSOR = {
    **{field: inner for field, inner in COVERED[2].items() if field not in ("versions", "cpu")},
    "collection": {
        **_FORMAT_1["collection"],
        "method": {"optimizer": True, "outer": True, "settings": True},
        "iterations_trained": True,
    },
}
"""Those of format 2 from version 3 of collections on, frozen likewise, with what only such collections may name. Every
byte of the trials is covered; where they were made is not, as equal bytes would have a digest for each machine."""
COVERED_OF_IMPORTS = {
    **COVERED_ON_ANY_PROCESSOR,
    "collection": {
        "environment": True,
        "hidden_sizes": True,
        "environment_steps": True,
        "trials": True,
        "algorithm": True,
        "description": True,
        "observation_clip": True,
        "absent": True,
    },
}
"""Those of imported datasets, frozen likewise."""

_SELECTED = {"made_from": {"__all__": {*_ORIGIN, "trials"}}}
"""Covered too, in manifests that state it."""


class Identity(NamedTuple):
    """The digests that identify a dataset.

    Parameters
    ----------
    digest
        The digest of its manifest, by the fields of `digest_format`.
    digest_format
        2, or 1 for a dataset of which only the digest of its format-1 manifest is known.
    former_digest
        The format-1 digest of a dataset that was first identified by it, if `digest` is another.
    """

    digest: str
    digest_format: int = 2
    former_digest: str | None = None

    @property
    def first_digest(self) -> str:
        """The digest that the dataset was first identified by; it names rows, record files and boards."""
        return self.former_digest or self.digest

    def matches(self, other: Identity) -> bool:
        """Whether both identify the same dataset: they share a digest, of either format."""
        return not self.digests.isdisjoint(other.digests)

    @property
    def digests(self) -> frozenset[str]:
        """All known digests."""
        return frozenset(filter(None, (self.digest, self.former_digest)))

    def __str__(self) -> str:
        if self.former_digest:
            return f"{self.digest} (format 1: {self.former_digest})"
        return self.digest + (" (format 1)" if self.digest_format == 1 else "")


class Split(Document):
    """Which trials are for fitting, for tuning, and for testing; by trial, never by window."""

    train: tuple[int, ...] = Field(min_length=1)
    validation: tuple[int, ...] = Field(min_length=1)
    test: tuple[int, ...] = Field(min_length=1)

    @property
    def fitted(self) -> tuple[int, ...]:
        """The trials that predictors are fitted on: training, then validation."""
        return (*self.train, *self.validation)

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

    def extend(self, trials: int, *, train_only: bool = False) -> Split:
        """This split for more trials: present ones keep their part, new ones join the part furthest below its share.

        With `train_only`, all new ones are for training.
        """
        if train_only:
            count = sum(map(len, (self.train, self.validation, self.test)))
            return self.model_copy(update={"train": (*self.train, *range(count, trials))})
        parts = {name: list(getattr(self, name)) for name in PROPORTIONS}
        for trial in range(sum(map(len, parts.values())), trials):
            missing = {name: share * (trial + 1) - len(parts[name]) for name, share in PROPORTIONS.items()}
            parts[max(missing, key=lambda name: missing[name])].append(trial)
        return Split(**{name: tuple(chosen) for name, chosen in parts.items()})


class Origin(Document):
    """The dataset that this one was made from."""

    name: str
    digest: Sha256


class SourceTrials(Origin):
    """Some trials of the dataset that others were made from."""

    trials: tuple[Annotated[int, Field(ge=0, le=2**40)], ...] = Field(min_length=1)


class Manifest(Document):
    """A dataset's whole description; unknown fields are refused.

    The `digest` of a dataset is the sha256 of its manifest's `COVERED` fields in canonical JSON, and the manifest lists
    the sha256 of every trial file: one hash vouches for all trajectories. From version 3 of collections on it does not
    cover `versions` and `cpu`, which are then what the collector states. `extends` names the version whose trials come
    first here, bit for bit (of a set of fresh trials, those to fit on); `versions`, `cpu` and the `version` of the
    collection are then those of the trials added, and its manifest has those of the others. `made_from` names the
    datasets that trials were picked out of (`Selection.save`), in their order; the digest covers it where it is stated.

    Format 1 listed files derived by a protocol as `sidecars` and covered them with its digest; such manifests are
    still read, and identified as if they had been migrated to format 2.

    `distribution` says what the policies' outputs are: the mean of a Gaussian, or the logits of a categorical
    distribution over `action_size` discrete actions. Only manifests of the latter name it, in their digest too.
    """

    format: Literal[1, 2] = 2
    name: str = Field(pattern=NAME_PATTERN)
    licence: str
    environment: str
    checkpoints: Count
    observation_size: Annotated[int, Field(ge=1, le=2**20)]
    action_size: Annotated[int, Field(ge=1, le=2**20)]
    activation: Literal["tanh"] = "tanh"
    distribution: Literal["gaussian", "categorical"] = "gaussian"
    parameters: dict[str, tuple[int, ...]]
    collection: Collection
    trial_seeds: tuple[int, ...]
    split: Split
    versions: Annotated[dict[Text, Text], Field(max_length=100)]
    cpu: Text
    cut_from: Origin | None = None
    extends: Origin | None = None
    made_from: tuple[SourceTrials, ...] = ()
    trials: tuple[FileEntry, ...]
    sidecars: tuple[FileEntry, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        if self.format != 1 and self.sidecars:
            raise ValueError("only format 1 lists sidecars; derived files are no part of a manifest of format 2")
        count = len(self.trials)
        chosen = sorted([*self.split.fitted, *self.split.test])
        if chosen != list(range(count)):
            raise ValueError(f"the split must name each of the {count} trials once")
        if len(self.trial_seeds) != count:
            raise ValueError(f"{len(self.trial_seeds)} trial seeds for {count} trials")
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        if any(path.startswith(f"{DERIVED_FOLDER}/") for path in paths):
            raise ValueError(f"a file is listed in {DERIVED_FOLDER}/, which is kept for derived data")
        if self.made_from and sum(len(source.trials) for source in self.made_from) != count:
            raise ValueError(f"made_from does not name {count} trials")
        if self.parameters != self.layout.shapes:
            raise ValueError("the parameters' names or shapes are not those of the layout")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that came later is named only where it says something: published digests stay."""
        fields: dict[str, Any] = serialize(self)
        if self.distribution == "gaussian":
            fields.pop("distribution", None)
        return fields

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
        clip = self.collection.observation_clip
        return PolicyLayout(
            self.observation_size,
            self.collection.hidden_sizes,
            self.action_size,
            self.activation,
            self.distribution,
            clip,
        )

    @property
    def configuration(self) -> CollectionConfig:
        """What its trials can be trained again by; raises `DatasetError` for imported ones, which cannot."""
        if isinstance(self.collection, ImportedCollection):
            raise DatasetError(
                f"{self.name} was imported: how its policies were trained is stated in words "
                f"({self.collection.description!r}), so they cannot be trained again, continued or extended here."
            )
        return self.collection

    @property
    def digest(self) -> str:
        """The dataset's identity, whatever the manifest's own format: sha256 of the fields that format 2 covers."""
        covered = COVERED[2]
        if isinstance(self.collection, ImportedCollection):
            covered = COVERED_OF_IMPORTS
        elif self.collection.any_processor:
            covered = COVERED_ON_ANY_PROCESSOR
        return self._hash(covered | (_SELECTED if self.made_from else {}), {"format": 2})

    @property
    def former_digest(self) -> str | None:
        """The identity that a manifest of format 1 had while sidecars were part of it; None for format 2."""
        return self.format_1_digest(self.sidecars) if self.format == 1 else None

    def format_1_digest(self, sidecars: tuple[FileEntry, ...]) -> str:
        """The digest that format 1 gave the same dataset with these sidecars."""
        absent = () if self.extends else ("extends",)  # format 1 lists it only where it says something
        covered = {field: inner for field, inner in COVERED[1].items() if field not in absent}
        listed = [entry.model_dump(mode="json", include=_FILE) for entry in sidecars]
        return self._hash(covered, {"format": 1, "sidecars": listed})

    @property
    def identity(self) -> Identity:
        """Both digests."""
        return Identity(self.digest, former_digest=self.former_digest)

    def _hash(self, covered: dict[str, Any], changes: dict[str, Any]) -> str:
        content = self.model_dump(mode="json", include=covered) | changes
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        absent = {"sidecars"} if self.format != 1 else {"extends"} if self.extends is None else set()
        absent |= set() if self.made_from else {"made_from"}
        return self.model_dump_json(indent=1, exclude=absent) + "\n"

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into the dataset's folder, atomically."""
        write_text(folder / MANIFEST_NAME, self.to_json())


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
        count = error.error_count()
        raise DatasetError(f"{where}: field {first_error(error, 'manifest')} ({count} problem(s) in all).") from None
    except DatasetError as error:  # of a layout that no policy has
        raise DatasetError(f"{where}: {error}") from None
    except ValueError as error:
        raise DatasetError(f"{where}: not a readable manifest ({reason(error)}).") from None


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
        raise DatasetError(f"{path}: not a readable manifest ({reason(error)}).") from None
    return parse_manifest(text, str(path))
