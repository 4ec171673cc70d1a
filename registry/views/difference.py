"""What changed from one version of a dataset to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...utils.canonical import flatten
from ..manifest import Manifest

APART = ("trials", "sidecars", "split", "trial_seeds")
"""Fields that are compared by trial or file."""


@dataclass(frozen=True)
class Difference:
    """From manifest A to manifest B.

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
    sidecars
        Paths of sidecars that are only in one, or have other bytes.
    shared_bytes, new_bytes
        Size of B's files that A has too, and of those that it has not.
    """

    fields: dict[str, tuple[Any, Any]]
    shared: list[int]
    changed: list[int]
    added: list[int]
    removed: list[int]
    moved: dict[int, tuple[str, str]]
    reseeded: list[int]
    sidecars: list[str]
    shared_bytes: int
    new_bytes: int


def difference(a: Manifest, b: Manifest) -> Difference:
    """Compare two manifests."""
    mine, theirs = (flatten(m.model_dump(mode="json", exclude=set(APART))) for m in (a, b))
    names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    both = range(min(len(a.trials), len(b.trials)))
    same = [i for i in both if a.trials[i].sha256 == b.trials[i].sha256]
    parts = [{t: p for p in ("train", "validation", "test") for t in getattr(m.split, p)} for m in (a, b)]
    beside = [{entry.path: entry.sha256 for entry in m.sidecars} for m in (a, b)]
    held = {entry.sha256 for entry in a.files}
    return Difference(
        fields={name: (mine.get(name), theirs.get(name)) for name in names},
        shared=same,
        changed=[i for i in both if i not in same],
        added=list(range(len(a.trials), len(b.trials))),
        removed=list(range(len(b.trials), len(a.trials))),
        moved={t: (parts[0][t], parts[1][t]) for t in both if parts[0][t] != parts[1][t]},
        reseeded=[i for i in both if a.trial_seeds[i] != b.trial_seeds[i]],
        sidecars=sorted({path for path, _ in beside[0].items() ^ beside[1].items()}),
        shared_bytes=sum(entry.size for entry in b.files if entry.sha256 in held),
        new_bytes=sum(entry.size for entry in b.files if entry.sha256 not in held),
    )
