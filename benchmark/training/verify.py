"""Verify a training run: its numbers from its curves, and its curves by training some of its trials again."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...rl import usable_threads
from ...utils.engines.cluster import Cluster
from ...utils.errors import ProtocolError
from ...utils.files import sha256
from ...utils.progress import Progress, silent
from .curves import Curves
from .metrics import METRICS, estimates, trial_columns
from .record import TrainingRecord, as_rows, read_training_record
from .request import TrainingRequest
from .run import curves_path, read_curves
from .workers import blocks_of, train_blocks

REPLAYED = 10
"""Iterations that are trained again, if nothing else is asked for."""
RTOL = 1e-9
"""Sums are made in another order on other processors."""


@dataclass(frozen=True)
class TrainingCheck:
    """What verifying gave.

    Parameters
    ----------
    record
        The record.
    differences
        What is not as the record or the curves say, a sentence each.
    numbers
        Numbers of the record that were recomputed.
    trials, iterations
        Places of the trials that were trained again, and for how many iterations.
    on_cluster
        Whether a cluster trained them.
    """

    record: TrainingRecord
    differences: tuple[str, ...]
    numbers: int
    trials: tuple[int, ...]
    iterations: int
    on_cluster: bool = False

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify_training(
    folder: Path,
    *,
    iterations: int | None = REPLAYED,
    states: Iterable[Path | str] = (),
    threads: int | None = None,
    progress: Progress = silent,
    cluster: Cluster | None = None,
) -> TrainingCheck:
    """Recompute every number of a run from its curves, and train trials of it again.

    Parameters
    ----------
    folder
        The run's folder, or a record of the table, whose curves are beside it.
    iterations
        Train one block of trials, drawn at random, for so many iterations; None trains all trials to the end.
    states
        Run folders of fitted states and files of released weights that the run uses, where they do not ship with the
        package.
    threads
        Processes at once; all usable cores by default.
    progress
        Receives the progress.
    cluster
        What trains the blocks; processes here without one.

    Raises
    ------
    ProtocolError
        If the record or the curves are not a finished training run's.
    """
    record = read_training_record(folder)
    key = record.key
    if record.status.state == "failed":
        raise ProtocolError(f"{folder}: the run failed ({record.status.reason}). It has no results; repeat it.")
    curves = read_curves(folder, key)
    same = record.artifacts["curves"] == sha256(curves_path(folder))
    differences = [] if same else ["the curves are other bytes"]
    found, numbers = recompute(record, curves)
    differences += found
    whole = blocks_of(key)
    chosen = [*range(len(whole))] if iterations is None else [random.SystemRandom().randrange(len(whole))]
    wanted = key.iterations if iterations is None else min(iterations, key.iterations)
    shorter = key.model_copy(update={"iterations": wanted})
    with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
        again, cost = train_blocks(
            TrainingRequest.again(key, states),
            shorter,
            Path(scratch),
            only=chosen,
            threads=threads or usable_threads(),
            progress=progress,
            cluster=cluster,
        )
    trials = tuple(trial for block in chosen for trial in whole[block])
    if cost.state_bytes != record.cost.state_bytes:
        differences.append(f"cost.state_bytes: the record says {record.cost.state_bytes}, it is {cost.state_bytes}")
    differences += _compare(curves, again, trials, key.protocol.seeds(key.split))
    return TrainingCheck(record, tuple(differences), numbers, trials, wanted, cluster is not None)


def recompute(record: TrainingRecord, curves: Curves) -> tuple[list[str], int]:
    """What the record says otherwise than its curves, and how many numbers were compared."""
    columns = trial_columns(curves, record.key.protocol)
    rows, claimed = as_rows(columns), record.by_trial
    found = [f"by_trial.{name} is no number of this track" for name in claimed if name not in rows]
    found += [f"estimates.{name} is no metric" for name in record.estimates if name not in {m.name for m in METRICS}]
    numbers = 0
    for name, values in rows.items():
        for trial, (ours, theirs) in enumerate(zip(values, claimed[name], strict=True)):
            numbers += 1
            if not _equal(ours, theirs):
                found.append(f"{name} of trial {trial}: {theirs} in the record, {ours} recomputed")
    for name, one in estimates(columns, record.key.protocol).items():
        for part in ("value", "low", "high"):
            numbers += 1
            ours, theirs = getattr(one, part), getattr(record[name], part)
            if not _equal(ours, theirs):
                found.append(f"{name}, {part}: {theirs} in the record, {ours} recomputed")
    if record.diverged != int((curves.diverged > 0).sum()):
        found.append(f"diverged: {record.diverged} in the record")
    return found, numbers


def _equal(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return bool(np.isclose(ours, theirs, rtol=RTOL, atol=1e-12))


def _compare(curves: Curves, again: Curves, trials: tuple[int, ...], seeds: range) -> list[str]:
    """Where curves of trials differ from those that were trained again, bit for bit."""
    found = []
    for row, trial in enumerate(trials):
        for at, iteration in enumerate(again.evaluated):
            place = np.flatnonzero(curves.evaluated == iteration)
            if len(place) and curves.returns[trial, place[0]] != again.returns[row, at]:
                theirs, ours = curves.returns[trial, place[0]], again.returns[row, at]
                found.append(
                    f"J of seed {seeds[trial]} after iteration {iteration}: {theirs} kept, {ours} trained again"
                )
                break
        until = int(again.evaluated[-1])
        kept = int(curves.diverged[trial]) if curves.diverged[trial] <= until else 0
        if kept != again.diverged[row]:
            found.append(
                f"seed {seeds[trial]} diverged in iteration {again.diverged[row]} when trained again, not {kept}"
            )
        length = again.training_returns.shape[1]
        if not np.array_equal(curves.training_returns[trial, :length], again.training_returns[row], equal_nan=True):
            found.append(f"the training returns of seed {seeds[trial]} are others when it is trained again")
    return found
