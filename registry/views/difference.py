"""The difference between two versions of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...utils.canonical import flatten
from ..manifest import Manifest

UNCOMPARED = ("format", "trials", "sidecars", "split", "trial_seeds")
"""Fields that are compared by trial, or are no part of a dataset's identity."""


@dataclass(frozen=True)
class ManifestDifference:
    """What differs from manifest A to manifest B.

    Parameters
    ----------
    fields
        Fields of the manifests that differ: dotted name to both values (None where absent).
    shared, changed, added, removed
        Trials by number: with the same bytes in both, with others, only in B, only in A.
    moved
        Trials that are in another part of the split: number to both parts.
    reseeded
        Trials in both that have another seed.
    shared_bytes, new_bytes
        Size of B's trials whose bytes A has too, and of the others.
    """

    fields: dict[str, tuple[Any, Any]]
    shared: list[int]
    changed: list[int]
    added: list[int]
    removed: list[int]
    moved: dict[int, tuple[str, str]]
    reseeded: list[int]
    shared_bytes: int
    new_bytes: int


def difference(a: Manifest, b: Manifest) -> ManifestDifference:
    """Compare two manifests."""
    mine, theirs = (flatten(m.model_dump(mode="json", exclude=set(UNCOMPARED))) for m in (a, b))
    names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    both = range(min(len(a.trials), len(b.trials)))
    same = [i for i in both if a.trials[i].sha256 == b.trials[i].sha256]
    parts = [{t: p for p in ("train", "validation", "test") for t in getattr(m.split, p)} for m in (a, b)]
    held = {entry.sha256 for entry in a.trials}
    return ManifestDifference(
        fields={name: (mine.get(name), theirs.get(name)) for name in names},
        shared=same,
        changed=[i for i in both if i not in same],
        added=list(range(len(a.trials), len(b.trials))),
        removed=list(range(len(b.trials), len(a.trials))),
        moved={t: (parts[0][t], parts[1][t]) for t in both if parts[0][t] != parts[1][t]},
        reseeded=[i for i in both if a.trial_seeds[i] != b.trial_seeds[i]],
        shared_bytes=sum(entry.size for entry in b.trials if entry.sha256 in held),
        new_bytes=sum(entry.size for entry in b.trials if entry.sha256 not in held),
    )
