"""One block of trials on disk: recorded row by row, resumed after a kill, finished once."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...rl import Checkpoint, Optimizer, PPOTraining, TrainingState
from ...utils.errors import DatasetError, reason
from ...utils.files import replace_atomically, sync
from ...utils.progress import Progress
from ...utils.tensorfile import create_tensors, has_layout
from ..collection_config import CollectionConfig
from ..trial import trial_name, trial_tensors

logger = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 60.0
METADATA = "tipl_bench.training"
"""Name of a snapshot's header entry."""


def collect_block(
    config: CollectionConfig,
    trials: list[int],
    folder: Path,
    *,
    threads: int,
    progress: Progress,
    seeds: Sequence[int] | None = None,
    checkpoints: int | None = None,
    optimizer: Optimizer | None = None,
    snapshot_seconds: float = SNAPSHOT_SECONDS,
) -> None:
    """Train the trials of a block and leave one finished file each in `folder`.

    Finished trials are not touched. A block that was interrupted continues from its last snapshot and gives the same
    bytes as one that was not.

    Parameters
    ----------
    config
        The collection.
    trials
        The block's trial numbers.
    folder
        Where finished trials stand; unfinished files carry the suffix `.partial`.
    threads
        Physics threads.
    progress
        Called after every iteration, with the iterations done and the block's mean episodic return.
    seeds
        Seeds by trial number, of any size; the config's by default.
    checkpoints
        Checkpoints to record of each trial, the initialisation included; all by default. Training ends with the last.
    optimizer
        What trains, if the config names a method.
    snapshot_seconds
        Least time between snapshots.
    """
    finished = [folder / trial_name(trial) for trial in trials]
    *unfinished_names, snapshot_name = resumable_names(trials)
    snapshot = folder / snapshot_name
    if all(path.exists() for path in finished):
        snapshot.unlink(missing_ok=True)
        return
    partial = [folder / name for name in unfinished_names]
    for path, unfinished in zip(finished, partial, strict=True):
        if path.exists():  # killed between two renames: the snapshot still needs this trial's rows
            path.replace(unfinished)
    seeds = config.seeds if seeds is None else seeds
    with one_thread() if config.version > 1 else contextlib.nullcontext():
        chosen, own = optimizer or config.adam(), [seeds[trial] for trial in trials]
        training = PPOTraining(config.training, own, chosen, threads=threads)
        recorder = _Recorder(training, partial, checkpoints or config.checkpoints)
        if not recorder.continues:
            snapshot.unlink(missing_ok=True)
        _record(training, recorder, snapshot, snapshot_seconds, progress)
    recorder.finish(finished)
    snapshot.unlink(missing_ok=True)


def resumable_names(trials: Sequence[int]) -> tuple[str, ...]:
    """Names of the files that an interrupted block goes on from: its trials' unfinished files, and the snapshot."""
    return (*(f"{trial_name(n)}.partial" for n in trials), f"block-{trials[0]:04d}-{trials[-1]:04d}.snapshot")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: sums are then made in one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _record(
    training: PPOTraining, recorder: _Recorder, snapshot: Path, snapshot_seconds: float, progress: Progress
) -> None:
    """Train from the snapshot or the start, record every checkpoint, and save snapshots."""
    if snapshot.exists():
        restore_snapshot(training, snapshot)
        logger.info("resuming at iteration %d of %d", training.iteration, recorder.iterations)
    else:
        recorder.write(training.start())
    saved = time.monotonic()
    while training.iteration < recorder.iterations:
        for checkpoint in training.iterate():
            recorder.write(checkpoint)
        mean = _mean(checkpoint.episodic_return)
        progress("collect", training.iteration, recorder.iterations, f"mean return {mean:.1f}")
        if training.resumable and time.monotonic() - saved >= snapshot_seconds:
            recorder.flush()  # rows first: a snapshot must never be ahead of them
            save_snapshot(training, snapshot)
            saved = time.monotonic()


def save_snapshot(training: PPOTraining, path: Path, beside: Mapping[str, Any] | None = None) -> None:
    """Write all that the rest of a training depends on, as safetensors; the file at `path` is replaced whole.

    `beside` is arrays to keep with it, under names that a training does not use.
    """
    state = training.state()
    with replace_atomically(path) as temporary:
        save_file({**state.arrays, **(beside or {})}, temporary, {METADATA: json.dumps(state.metadata)})


def restore_snapshot(training: PPOTraining, path: Path) -> Mapping[str, Any]:
    """Continue from a snapshot of the same training, bit for bit; returns all of its arrays.

    Raises
    ------
    DatasetError
        If the file is damaged or was written for another training or by another version of this package.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        training.restore(TrainingState(arrays, metadata))
        return arrays
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path}: this snapshot cannot be resumed ({reason(error)}). Remove it to train its trials from the start."
        ) from None


def _mean(values: Any) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


class _Recorder:
    """Writes a block's checkpoints into its trials' partial files."""

    def __init__(self, training: PPOTraining, paths: list[Path], checkpoints: int) -> None:
        layout = training.layout
        tensors = trial_tensors(checkpoints, layout.parameter_count, layout.observation_size)
        self.checkpoints = checkpoints
        self.iterations = math.ceil((checkpoints - 1) / training.config.checkpoints_per_iteration)
        self.paths = paths
        self.continues = all(has_layout(path, tensors) for path in paths)
        """Whether all files were there in full, with the rows that a snapshot relies on."""
        self.files = [create_tensors(path, tensors) for path in paths]

    def write(self, checkpoint: Checkpoint) -> None:
        row = checkpoint.row
        if row >= self.checkpoints:
            return
        if len(diverged := np.flatnonzero(~np.isfinite(checkpoint.weights).all(1))):
            trial = self.paths[diverged[0]].name.removesuffix(".partial")
            raise DatasetError(
                f"{trial}: the training diverged; weights of checkpoint {row}, in iteration {checkpoint.iteration}, "
                "are not finite, and no dataset holds such. Choose other hyperparameters."
            )
        for n, file in enumerate(self.files):
            for name in ("weights", "observation_mean", "observation_variance", "observation_count", "episodic_return"):
                file[name][row] = getattr(checkpoint, name)[n]
            for name in ("environment_steps", "iteration", "epoch", "learning_rate"):
                file[name][row] = getattr(checkpoint, name)

    def flush(self) -> None:
        for file in self.files:
            for tensor in file.values():
                tensor.flush()

    def finish(self, targets: list[Path]) -> None:
        self.flush()
        self.files.clear()
        for path, target in zip(self.paths, targets, strict=True):
            sync(path)
            path.replace(target)
        sync(targets[0].parent)
