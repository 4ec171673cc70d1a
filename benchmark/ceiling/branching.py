"""Continuations of stored trials: trained again to a checkpoint, and from there on with fresh random streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...registry.collection.block import one_thread
from ...registry.collection.collect import blocks, circumstances
from ...registry.dataset import Dataset
from ...registry.trial import Trial
from ...rl import Checkpoint, PPOTraining
from ...utils.errors import DatasetError
from ..forecast.windows import EvaluationWindow

Float64 = npt.NDArray[np.float64]

MAX_DRIFT = 0.5
"""A trial trained again is the stored one if its weights are off by less than this part of each checkpoint's step."""


@dataclass(frozen=True)
class Branches:
    """What N continuations from one origin do; H horizons, all of them means over parameters as WPE is.

    Parameters
    ----------
    variance
        Unbiased variance of a continuation around the mean of all, [H].
    displacement
        Mean squared displacement of a continuation from the origin, [H]: persistence's error.
    stored_error
        Squared error of the mean of the continuations as a forecast of the stored trial, [H].
    stored_displacement
        Squared displacement of the stored trial from the origin, [H].
    drift
        By what part of a checkpoint's step the trial trained again was off the stored one, up to the origin at most.
    """

    variance: Float64
    displacement: Float64
    stored_error: Float64
    stored_displacement: Float64
    drift: float


def summarise(continuations: npt.NDArray[np.float32], stored: npt.NDArray[np.float32], drift: float) -> Branches:
    """The sums of continuations [N, H, P] of a trial with stored checkpoints [1 + H, P], that of the origin first."""
    origin, targets = stored[0].astype(np.float64), stored[1:].astype(np.float64)
    moved = continuations - origin
    mean = moved.mean(axis=0)
    variance = ((moved - mean) ** 2).mean(axis=2).sum(axis=0) / (len(moved) - 1)
    future = targets - origin
    return Branches(
        variance,
        (moved**2).mean(axis=(0, 2)),
        ((mean - future) ** 2).mean(axis=1),
        (future**2).mean(axis=1),
        drift,
    )


def check_branchable(dataset: Dataset) -> None:
    """Refuse a dataset whose trainings have no state that can be copied, with a `DatasetError`."""
    config = dataset.manifest.configuration
    if config.method:
        raise DatasetError(
            f"{dataset.name}: its trials are trained with {config.method.label}; only trainings with Adam at its "
            "published rate can be branched."
        )
    if not PPOTraining(config.training, dataset.manifest.trial_seeds[:1], threads=1).resumable:
        raise DatasetError(
            f"{dataset.name}: the state of {config.environment} cannot be copied, only that of environments "
            "with batched physics; its trials cannot be branched."
        )


def branch(
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    horizon: int,
    copies: int,
    seed: int,
    report: Callable[[int], None],
) -> Iterator[tuple[EvaluationWindow, Branches]]:
    """Continue trials from the origins of windows, and yield each window as it is done.

    A trial is trained again in the block that it was collected in, by the dataset's configuration. Rounding, which
    another processor, other package versions or another block change, would lead it away from the stored trial within
    some iterations; so at every checkpoint its policy and observation normaliser are replaced by the stored ones, which
    changes nothing where they are the same bits. Its critic, its optimizer's state, its environment and the steps of
    its iteration are those of the training.

    Parameters
    ----------
    dataset, windows
        Whose trials, from which origins; of a dataset that `check_branchable` lets pass.
    horizon
        Checkpoints of each continuation.
    copies
        N, continuations of each origin.
    seed
        The fresh streams are spawned from it, the trial and the origin.
    report
        Called with the checkpoints that have been trained since the last call, over all trials and copies.

    Raises
    ------
    DatasetError
        If a trial trained again is not the stored one, or a continuation diverged.
    """
    config = dataset.manifest.configuration
    with one_thread():
        for block in blocks(config, range(len(dataset))):
            wanted = [window for window in windows if window.trial in block]
            if not wanted:
                continue
            seeds = [dataset.manifest.trial_seeds[trial] for trial in block]
            training = PPOTraining(config.training, seeds, config.adam(), threads=1)
            for window, place, drift in _walk(training, block, dataset, wanted, report):
                sequence = np.random.SeedSequence(seed, spawn_key=(window.trial, window.origin))
                continued = training.branch(place, copies, sequence)
                weights = np.stack([_reported(continued, copies, report).weights for _ in range(horizon)], axis=1)
                if not np.isfinite(weights).all():
                    raise DatasetError(
                        f"{dataset.name}: a continuation of trial {window.trial} from checkpoint {window.origin} "
                        "diverged, so that there is no ceiling of this window."
                    )
                stored = dataset.trial(window.trial).weights(window.origin, window.origin + horizon + 1)
                yield window, summarise(weights, stored, drift)


def _reported(training: PPOTraining, trials: int, report: Callable[[int], None]) -> Checkpoint:
    checkpoint = training.advance()
    report(trials)
    return checkpoint


def _walk(
    training: PPOTraining,
    block: Sequence[int],
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    report: Callable[[int], None],
) -> Iterator[tuple[EvaluationWindow, int, float]]:
    """Train a block along its stored trials; yields each window at its origin, its trial's place, and the drift."""
    last = {window.trial: max(w.origin for w in windows if w.trial == window.trial) for window in windows}
    drift = dict.fromkeys(last, 0.0)
    for row in range(max(last.values()) + 1):
        checkpoint = _reported(training, len(block), report) if row else training.start()
        for trial in (trial for trial, end in last.items() if row <= end):
            place = block.index(trial)
            drift[trial] = max(drift[trial], _follow(training, place, checkpoint, dataset.trial(trial), dataset))
        yield from ((w, block.index(w.trial), drift[w.trial]) for w in windows if w.origin == row)


def _follow(training: PPOTraining, place: int, checkpoint: Checkpoint, trial: Trial, dataset: Dataset) -> float:
    """Replace a trial's policy and normaliser by the stored ones; returns how far off it was, in steps."""
    row = checkpoint.row
    before, stored = trial.weights(max(row - 1, 0), row + 1)[[0, -1]].astype(np.float64)
    step = np.linalg.norm(stored - before if row else stored)
    drift = float(np.linalg.norm(checkpoint.weights[place] - stored) / max(step, np.finfo(np.float32).tiny))
    if not drift < MAX_DRIFT:
        raise DatasetError(_other_trajectory(dataset, trial.index, row, drift))
    moments = None
    if row:  # that of the initialisation was stored before the first observation
        names = ("observation_mean", "observation_variance", "observation_count")
        mean, variance, count = (trial.read(name, row, row + 1)[0] for name in names)
        moments = mean, variance, count
    training.replace_policy(place, trial.weights(row, row + 1)[0], moments)
    return drift


def _other_trajectory(dataset: Dataset, trial: int, row: int, drift: float) -> str:
    manifest = dataset.manifest
    here, there = circumstances(manifest.configuration), {**manifest.versions, "cpu": manifest.cpu}
    other = [f"{name} {there.get(name)}, here {value}" for name, value in here.items() if value != there.get(name)]
    way_out = f"Branch it on a machine like the one that collected it ({'; '.join(other)})." if other else ""
    return (
        f"{dataset.name}: trial {trial} trained again is not the stored one: at checkpoint {row} its weights are off "
        f"by {drift:.0%} of a step. Its training state there was not stored, and cannot be had again here. {way_out}"
    ).rstrip()
