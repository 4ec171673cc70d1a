"""Open, index and read one epoch of windows of a sparse dataset; print bytes, seconds and peak memory at each step."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import tipl_bench
from tipl_bench.registry.collection_config import CollectionConfig
from tipl_bench.registry.dataset import TRIALS_FOLDER
from tipl_bench.registry.files import FileEntry, TensorEntry
from tipl_bench.registry.manifest import Manifest, Split
from tipl_bench.registry.trial import trial_name, trial_tensors
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils import tensorfile

LAYOUT = PolicyLayout(17, (256, 256), 6)
TRIALS, PER_ITERATION = 5, 5
NO_DIGEST = "0" * 64


def create(folder: Path, size: int) -> None:
    """A dataset of about `size` bytes whose files are holes."""
    checkpoints = 1 + PER_ITERATION * round(size / TRIALS / (4 * LAYOUT.parameter_count) / PER_ITERATION)
    tensors = trial_tensors(checkpoints, LAYOUT.parameter_count, LAYOUT.observation_size)
    tensorfile._allocate = os.ftruncate  # holes take no room on the disk
    (folder / TRIALS_FOLDER).mkdir(parents=True)
    entries = []
    for trial in range(TRIALS):
        path = folder / TRIALS_FOLDER / trial_name(trial)
        tensorfile.create_tensors(path, tensors)
        stated = {n: TensorEntry(dtype=d, shape=s, sha256=NO_DIGEST) for n, (d, s) in tensors.items()}
        relative = path.relative_to(folder).as_posix()
        entries.append(FileEntry(path=relative, size=path.stat().st_size, sha256=NO_DIGEST, tensors=stated))
    config = CollectionConfig(
        environment="HalfCheetah-v4",
        hidden_sizes=LAYOUT.hidden_sizes,
        environment_steps=2048 * (checkpoints // PER_ITERATION),
        trials=TRIALS,
    )
    Manifest(
        name="half-cheetah/sparse-v1",
        licence="MIT",
        environment=config.environment,
        checkpoints=checkpoints,
        observation_size=LAYOUT.observation_size,
        action_size=LAYOUT.action_size,
        parameters=LAYOUT.shapes,
        collection=config,
        trial_seeds=tuple(config.seeds),
        split=Split.proportional(TRIALS),
        versions={"numpy": np.__version__},
        cpu="none",
        trials=tuple(entries),
    ).write(folder)


def main(folder: Path, size: int) -> None:
    """Do each step and tell."""
    create(folder, size)
    results: dict[str, list[float]] = {}

    def step(name: str, started: float, count: float) -> None:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        results[name] = [count, time.perf_counter() - started, memory]

    started = time.perf_counter()
    dataset = tipl_bench.load_dataset(str(folder))
    windows = dataset.windows(range(TRIALS), context=20, horizon=10, stride=30)
    step("open", started, sum(entry.size for entry in dataset.manifest.files))
    started = time.perf_counter()
    step("index", started, len(dataset.index()))
    windows[0]
    started = time.perf_counter()
    step("first window", started, 1)
    started, count = time.perf_counter(), 0
    for window in windows:
        count += window["context"].nbytes + window["target"].nbytes
    step("epoch", started, count)
    print(json.dumps(results))


main(Path(sys.argv[1]), int(sys.argv[2]))
