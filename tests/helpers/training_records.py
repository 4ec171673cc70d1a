"""Records of training runs with made-up curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tipl_bench.benchmark.provenance import provenance
from tipl_bench.benchmark.record import Status
from tipl_bench.benchmark.training.curves import CURVES_NAME, Curves
from tipl_bench.benchmark.training.metrics import estimates, trial_columns
from tipl_bench.benchmark.training.protocol import TrainingProtocol
from tipl_bench.benchmark.training.record import TrainingCost, TrainingRecord, as_rows
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.benchmark.training.workers import evaluated
from tipl_bench.utils.files import sha256

ENVIRONMENT = "InvertedPendulum-v4"
PROVENANCE = provenance("cpu", "none")


def small_protocol(trials: int, iterations: int) -> TrainingProtocol:
    """A protocol of seconds."""
    return TrainingProtocol(
        version=1,
        environment=ENVIRONMENT,
        hidden_sizes=(4, 4),
        environment_steps=20_480,
        iterations=iterations,
        trials=trials,
        initial_return=0.0,
        reference_return=100.0,
        evaluated_first=1,
        evaluated_every=2,
        resamples=99,
    )


def training_run(
    folder: Path,
    speed: float,
    optimizer: str = "adam",
    outer: Sequence[str] = (),
    settings: Sequence[str] = (),
    *,
    split: str = "test",
    trials: int | None = None,
    seed: int = 0,
) -> TrainingRecord:
    """Write a run whose trials rise to 1000, faster with a higher speed; differences between trials are shared."""
    request = TrainingRequest.of(optimizer, ENVIRONMENT, outer, settings, split, trials)
    key = request.key()
    curves = Curves.empty(key.trials, evaluated(key))
    rng = np.random.default_rng(0)
    own = np.random.default_rng(seed).normal(scale=0.05, size=(key.trials, 1))
    rate = (speed + own) * rng.uniform(0.8, 1.2, (key.trials, 1))
    curves.returns[...] = 30 + 970 * np.minimum(1, rate * curves.evaluated / 20)
    folder.mkdir(parents=True)
    curves.write(folder / CURVES_NAME)
    columns = trial_columns(curves, key.protocol)
    record = TrainingRecord(
        format=2,
        track="training",
        status=Status(state="finished"),
        key=key,
        estimates=estimates(columns, key.protocol),
        by_trial=as_rows(columns),
        artifacts={"curves": sha256(folder / CURVES_NAME)},
        provenance=PROVENANCE,
        cost=TrainingCost(training_seconds=100, evaluation_seconds=1, wall_seconds=1, state_bytes=100),
    )
    record.write(folder)
    return record
