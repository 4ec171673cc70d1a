"""What a dataset that is made of trials of others states about itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from ...utils.canonical import canonical_json
from ...utils.errors import DatasetArgumentError, DatasetError
from ...utils.fields import TEXT_LENGTH
from ..collection_config import CollectionConfig, ImportedCollection
from ..files import FileEntry
from ..manifest import PROPORTIONS, Manifest, SourceTrials, Split
from ..reference import is_name
from ..trial import TRIALS_FOLDER, Trial, trial_name

LENGTH_AND_ARITHMETIC = {"trials", "first_seed", "environment_steps", "iterations_trained", "version"}
"""Fields of a collection in which two may differ whose trials of one seed are yet the same, up to rounding and the
schedule's end."""
OWN_OF_TRIALS = {"trials", "first_seed"}
"""Fields of a collection in which datasets may differ whose trials are saved as one."""


@dataclass(frozen=True)
class Member:
    """One trial with the manifest that vouches for it."""

    trial: Trial
    manifest: Manifest

    @property
    def entry(self) -> FileEntry:
        """Its file, as the manifest lists it."""
        return self.manifest.trials[self.trial.index]

    @property
    def part(self) -> str:
        """Its part of the split: train, validation or test."""
        split = self.manifest.split
        return next(part for part in PROPORTIONS if self.trial.index in getattr(split, part))

    @property
    def marks(self) -> tuple[str, ...]:
        """What the same trial has in any dataset: the hash of its weights; if it was collected, its seed and how."""
        manifest, marks = self.manifest, (self.entry.tensors["weights"].sha256,)
        if isinstance(manifest.collection, ImportedCollection):  # seeds of trials of elsewhere say nothing for sure
            return marks
        # An environment of another name may be the same one.
        config = manifest.collection.model_dump(mode="json", exclude=LENGTH_AND_ARITHMETIC | {"environment"})
        return (*marks, canonical_json([config, manifest.layout.sizes, manifest.trial_seeds[self.trial.index]]))


def sources_of(members: Sequence[Member]) -> tuple[SourceTrials, ...]:
    """The datasets that trials are of, and their numbers there, in order."""
    runs = groupby(members, lambda member: (member.manifest.name, member.manifest.digest))
    return tuple(
        SourceTrials(name=name, digest=digest, trials=tuple(member.trial.index for member in run))
        for (name, digest), run in runs
    )


def saved_manifest(
    members: Sequence[Member], name: str, split: Literal["keep", "proportional"], described: str
) -> Manifest:
    """What a dataset that is made of some trials states about itself; raises as `Selection.save`."""
    if not is_name(name):
        raise DatasetArgumentError(f"{name!r} is not a dataset's name; one looks like my-env/solved-v1.")
    sources = sources_of(members)
    if name in (source.name for source in sources):
        raise DatasetArgumentError(f"{name} is what the trials are taken from; give the new dataset another name.")
    manifests = list({member.manifest.digest: member.manifest for member in members}.values())
    _check_saved_alike(manifests)
    first = manifests[0] if manifests else None
    parts = _split(members, split, described)
    assert first is not None  # an empty selection has no split
    seeds = tuple(member.manifest.trial_seeds[member.trial.index] for member in members)
    own = {"trials": len(members)} | (
        {"first_seed": seeds[0]} if isinstance(first.collection, CollectionConfig) else {}
    )
    changes = {
        "format": 2,
        "name": name,
        "collection": first.collection.model_copy(update=own),
        "trial_seeds": seeds,
        "split": parts,
        "versions": {key: _joined(m.versions.get(key, "none") for m in manifests) for key in first.versions},
        "cpu": _joined(m.cpu for m in manifests),
        "cut_from": first.cut_from if all(m.cut_from == first.cut_from for m in manifests) else None,
        "extends": None,
        "made_from": sources,
        "trials": tuple(
            member.entry.model_copy(update={"path": f"{TRIALS_FOLDER}/{trial_name(place)}"})
            for place, member in enumerate(members)
        ),
        "sidecars": (),
    }
    return Manifest.model_validate(first.model_copy(update=changes).model_dump())


def _split(members: Sequence[Member], split: Literal["keep", "proportional"], described: str) -> Split:
    if split == "proportional":
        return Split.proportional(len(members))
    if split != "keep":
        raise DatasetArgumentError(f'split is {split!r}; it can be "keep" or "proportional".')
    parts = {part: tuple(n for n, m in enumerate(members) if m.part == part) for part in PROPORTIONS}
    lacking = [part for part, trials in parts.items() if not trials]
    if lacking:
        raise DatasetArgumentError(
            f"{described} cannot keep its split: there is no {' and no '.join(lacking)} trial among them. "
            'Select one of each, or save with split="proportional".'
        )
    return Split(**parts)


def _check_saved_alike(manifests: Sequence[Manifest]) -> None:
    """The manifests' trials make one dataset; raises `DatasetError` naming the first difference."""
    for other in manifests[1:]:
        first = manifests[0]
        collections = (m.collection.model_dump(mode="json", exclude=OWN_OF_TRIALS) for m in (other, first))
        fields = [{"licence": m.licence, "checkpoints": m.checkpoints} for m in (other, first)]
        theirs, own = ({**one, **collection} for one, collection in zip(fields, collections, strict=True))
        for what in dict.fromkeys((*own, *theirs)):
            if theirs.get(what) != own.get(what):
                raise DatasetError(
                    f"Trials of {other.name} and of {first.name} do not make one dataset: {what} is "
                    f"{theirs.get(what)} of the one and {own.get(what)} of the other. A selection of both can be read, "
                    "but not saved."
                )


def _joined(values: Iterable[str]) -> str:
    """What the sources state, each once, as far as a manifest has room for it."""
    return " or ".join(dict.fromkeys(values))[:TEXT_LENGTH]
