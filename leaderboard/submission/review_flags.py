"""Find what a maintainer must review in a run: claims that cannot be recomputed, and what it does to rows."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...baselines import IN_TREE
from ...benchmark.record import DatasetIdentity, Record
from ...registry.catalog import catalog
from ...utils.git import git
from ..document.entries import Entry, configuration
from ..document.metric_values import headline_frame, headline_phase
from ..statistics.board import board_sums, mean_ratio
from ..store.evidence import row_status


def find_review_flags(record: Record, board: Mapping[Path, Record]) -> Iterator[str]:
    """What to review in a record, whose numbers are the recomputed ones, beside the board's records."""
    yield from find_dataset_flags(record)
    yield from _of_code(record)
    yield from _of_version(record, board)
    yield from _of_row(record, board)


def find_dataset_flags(record: Record) -> Iterator[str]:
    """Why a record's dataset, as the record states it, cannot be a board's, or what it was fitted on cannot be."""
    yield from _find_identity_flags(record.key.dataset, "score a run on")
    if record.key.method.fitted_on:
        yield from _find_identity_flags(record.key.method.fitted_on, "fit on")


def _find_identity_flags(stated: DatasetIdentity, use: str) -> Iterator[str]:
    entry = catalog().get(stated.name)
    if entry is None:
        yield f"{stated.name} is not in the catalog; nobody else can {use} it"
    elif entry.environment != stated.environment:
        yield f"the catalog has {stated.name} as a dataset of {entry.environment}"
    elif stated != with_catalog_digests(stated):
        yield f"the catalog pins another digest of {stated.name}"
    elif entry.yanked:
        yield f"{stated.name} is yanked: {entry.yanked}"


def with_catalog_digests(stated: DatasetIdentity) -> DatasetIdentity:
    """A catalogued dataset's identity with the digests of the catalog in place of those that are stated."""
    return stated.model_copy(update=catalog()[stated.name].identity._asdict())


def _of_code(record: Record) -> Iterator[str]:
    made = record.provenance
    if made.git_commit is None:
        yield (
            "made from no known commit of tipl-bench; what is installed from a clean clone (`git clone`, then `pip "
            "install .` in it) records its commit"
        )
    elif _known(made.git_commit) is False:
        yield f"names commit {made.git_commit}, which this repository does not have"
    if made.git_dirty:
        yield "made with uncommitted changes of tipl-bench"
    if record.key.method.name not in IN_TREE and (made.code is None or not made.code.files):
        yield f"names no code of {record.key.method.name}: no package and no files, so that nobody can look at it"
    if made.isolation == "none":
        yield "nothing kept the predictor from the held-out trials while it ran (isolation: none)"


def _known(commit: str) -> bool | None:
    """Whether this package's repository has a commit; None where there is no whole repository to ask."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists() or (folder / ".git" / "shallow").exists():
        return None
    try:
        git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError:
        return False
    except (OSError, subprocess.SubprocessError):
        return None
    return True


def _of_version(record: Record, board: Mapping[Path, Record]) -> Iterator[str]:
    """A version supersedes those before it, whoever names it."""
    key = record.key
    versions = {
        other.key.method.version
        for other in board.values()
        if (other.key.dataset, other.key.protocol) == (key.dataset, key.protocol)
        and other.key.method.name == key.method.name
    }
    if versions and key.method.version not in versions:
        known = ", ".join(map(str, sorted(versions)))
        yield (
            f"is version {key.method.version} of {key.method.name}, which the board has as version {known}; rows "
            "of earlier versions are greyed by a later one"
        )


def _of_row(record: Record, board: Mapping[Path, Record]) -> Iterator[str]:
    """A row is the mean of its seeds: one more changes it."""
    own, seed = configuration(record), record.key.seed
    row = {path: other for path, other in board.items() if configuration(other) == own}
    if not row or any(other.key.seed == seed for other in row.values()):
        return
    before = Entry(row, tuple(row_status(path, other) for path, other in row.items()), ())
    after = Entry({**row, Path(): record}, (), ())
    falls = before.state in ("reproduced", "confirmed")
    fall = f" and whose state {before.state} -> rescored" if falls else ""
    yield f"adds seed {seed} to row {before.id}, whose skill goes {_skill(before):.4f} -> {_skill(after):.4f}{fall}"


def _skill(entry: Entry) -> float:
    sums = board_sums(headline_frame([entry], headline_phase(entry.first)))
    return float(mean_ratio(sums.gained, sums.baseline)[0])
