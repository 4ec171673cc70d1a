"""Audit a revealed set: that its seeds, trials and forecasts are what the evidence was about."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...benchmark.record import Record
from ...registry.catalog import origin_of
from ...registry.collection.fresh import collect_fresh
from ...registry.dataset import Dataset
from ...registry.loading import load_dataset
from ...rl import usable_threads
from ...utils.canonical import flatten
from ...utils.errors import ProtocolError, TiplBenchError
from ...utils.progress import Progress, silent
from ..store.confirmation import CONSISTENCY, Confirmation
from ..store.evidence import fingerprint, read
from ..store.records import load
from ..verify.folder import open_run
from ..verify.rescore import rescore
from .confirm import compare, run_name
from .fresh_set import DATASET_FOLDER, RUNS_FOLDER, Secret, read_secret
from .reveal import SEEDS_NAME


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Parameters
    ----------
    passed
        What is as it should be, a line each.
    problems
        What is not.
    """

    passed: tuple[str, ...]
    problems: tuple[str, ...]


def audit(
    folder: Path, records: Path | None = None, *, collect_again: bool = False, progress: Progress = silent
) -> AuditResult:
    """Check a revealed set against the evidence beside a leaderboard's records.

    Parameters
    ----------
    folder
        What `reveal` published.
    records
        The records; those of `records.committed_folder` by default.
    collect_again
        Also train the fresh trials again from their seeds. The same bytes come out with the same package versions and,
        before version 3 of collections, on the same kind of processor; under version 1, on as many cores.
    progress
        Receives the progress of all that is computed.

    Raises
    ------
    ProtocolError, DatasetError
        If the folder is no revealed set.
    """
    if not (folder / SEEDS_NAME).is_file():
        raise ProtocolError(f"{folder}: no {SEEDS_NAME}; give a folder as `tipl-bench leaderboard reveal` wrote it.")
    secret = read_secret(folder / SEEDS_NAME)
    dataset = Dataset.open(folder / DATASET_FOLDER)
    rows = [_check_row(folder, dataset, secret, *row, progress) for row in _rows(secret, load(records))]
    passed: list[str] = []
    problems = [] if rows else [f"no record has evidence of the set {secret.commitment}"]
    for check in (_check_trials(secret, dataset), _check_base(secret, dataset, collect_again, progress), *rows):
        try:
            passed.extend(check)
        except TiplBenchError as error:
            problems.append(str(error))
    return AuditResult(tuple(passed), tuple(problems))


def _rows(secret: Secret, records: dict[Path, Record]) -> Iterator[tuple[Path, Record, Confirmation]]:
    """The records that were confirmed on the set, or not; a row keeps what refuted an earlier record of it too."""
    for path, record in records.items():
        for piece in read(path, record):
            found = piece.confirmation
            if found and found.fresh_set == secret.commitment and piece.record == fingerprint(record):
                yield path, record, found


def _check_trials(secret: Secret, dataset: Dataset) -> Iterator[str]:
    """The dataset's bytes are those of its manifest, and its test trials are of the committed seeds."""
    dataset.verify()
    test = dataset.manifest.split.test
    if tuple(dataset.manifest.trial_seeds[index] for index in test) != secret.seeds:
        raise ProtocolError(f"{dataset.folder}: its test trials are of other seeds than {SEEDS_NAME} has.")
    yield f"{len(test)} fresh trials of {dataset.name}, all bytes intact; salt and seeds hash to {secret.commitment}"


def _check_base(secret: Secret, dataset: Dataset, collect_again: bool, progress: Progress) -> Iterator[str]:
    """The other trials and the configuration are the public dataset's; the fresh ones follow from their seeds."""
    base, manifest = load_dataset(secret.dataset, download=False), dataset.manifest
    fitted = [base.manifest.trials[index].sha256 for index in base.manifest.split.fitted]
    config = base.manifest.collection.model_copy(update={"trials": len(dataset)})
    if origin_of(base).digest != secret.digest or manifest.extends != origin_of(base):
        raise ProtocolError(f"{dataset.folder}: of another {secret.dataset} than the one here.")
    if [entry.sha256 for entry in manifest.trials[: len(fitted)]] != fitted or manifest.collection != config:
        raise ProtocolError(
            f"{dataset.folder}: other trials to fit on, or another configuration, than {base.name} has."
        )
    yield f"trials to fit on and configuration are those of {base.name}"
    if collect_again:
        with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
            again = collect_fresh(
                base,
                dataset.name,
                secret.seeds,
                Path(scratch) / DATASET_FOLDER,
                threads=usable_threads(),
                progress=progress,
            )
            other = [index for index in manifest.split.test if again.manifest.trials[index] != manifest.trials[index]]
        if other:
            raise ProtocolError(
                f"{dataset.folder}: trained again from their seeds, trials {', '.join(map(str, other))} have other "
                f"bytes, as if made {config.other_bytes}. They were made on {manifest.cpu} with {manifest.versions}; "
                "under version 1 of collections the number of cores may matter too."
            )
        yield "the fresh trials, trained again from their seeds, have the same bytes"


def _check_row(
    folder: Path,
    dataset: Dataset,
    secret: Secret,
    path: Path,
    record: Record,
    stated: Confirmation,
    progress: Progress,
) -> Iterator[str]:
    """The forecasts score what the evidence beside a record says."""
    run_folder = folder / RUNS_FOLDER / run_name(path, record)
    run = open_run(run_folder, dataset) if run_folder.exists() else None
    if run is None or run.record.forecasts_sha256 != stated.forecasts:
        raise ProtocolError(
            f"{path.name}: {folder / RUNS_FOLDER} lacks the forecasts {stated.forecasts} of its evidence."
        )
    found, base = rescore(run, progress, fresh=True), load_dataset(secret.dataset, download=False)
    if not found.agrees:
        raise ProtocolError(f"{path.name}: {len(found.differences)} numbers differ, first: {found.differences[0]}")
    other = _differences(stated, compare(record, run.record, secret.commitment, base, dataset, stated.rule))
    if other:
        raise ProtocolError(
            f"{path.name}: the evidence has another {', '.join(other)} than follows from the forecasts."
        )
    yield f"{path.name}: {found.numbers:,} numbers recomputed from the forecasts; {stated.kind}, as its evidence says"


def _differences(stated: Confirmation, found: Confirmation) -> list[str]:
    """Names of the fields that differ by more than rounding."""
    there, here = (flatten(one.model_dump(mode="json")) for one in (stated, found))
    return [name for name, value in here.items() if not _equal(there[name], value)]


def _equal(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float)
    return abs(one - other) <= CONSISTENCY * max(1.0, abs(one)) if both else bool(one == other)
