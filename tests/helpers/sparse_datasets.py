"""Datasets of any size whose trials are mostly holes: they take no room on the disk, and read as zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tipl_bench.registry.collection_config import CollectionConfig
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.files import FileEntry, TensorEntry
from tipl_bench.registry.manifest import Manifest, Split
from tipl_bench.registry.trial import TRIALS_FOLDER, trial_name, trial_tensors
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils.tensorfile import DTYPES

from helpers.small_collections import safetensors_bytes
from helpers.synthetic import PER_ITERATION, epochs, iterations, rising_return

LAYOUT = PolicyLayout(17, (256, 256), 6)
"""HalfCheetah's policies in the paper: P = 71,948."""
NO_DIGEST = "0" * 64


def write_sparse(folder: Path, trials: int, checkpoints: int, *, moving: int = 0) -> Dataset:
    """Write a dataset of HalfCheetah policies as the paper has them, and open it; nothing in it is hashed.

    Parameters
    ----------
    folder
        A new folder.
    trials, checkpoints
        Numbers of trials and T of each, 1 + 5 * iterations.
    moving
        Checkpoints of each trial, from 0 on, with weights that walk; those after them are holes.
    """
    tensors = trial_tensors(checkpoints, LAYOUT.parameter_count, LAYOUT.observation_size)
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    prefix = safetensors_bytes(header)
    columns = {
        "observation_variance": np.ones((checkpoints, LAYOUT.observation_size)),
        "environment_steps": iterations(checkpoints) * 2048,
        "iteration": iterations(checkpoints),
        "epoch": epochs(checkpoints),
        "episodic_return": rising_return(checkpoints, checkpoints // 2),
    }
    (folder / TRIALS_FOLDER).mkdir(parents=True)
    for trial in range(trials):
        steps = np.random.default_rng(trial).normal(size=(moving, LAYOUT.parameter_count))
        with (folder / TRIALS_FOLDER / trial_name(trial)).open("wb") as stream:
            stream.write(prefix)
            for name, values in {**columns, "weights": 0.01 * steps.cumsum(axis=0)}.items():
                stream.seek(len(prefix) + header[name]["data_offsets"][0])
                stream.write(values.astype(tensors[name][0]).tobytes())
            stream.truncate(len(prefix) + end)
    stated = {name: TensorEntry(dtype=d, shape=s, sha256=NO_DIGEST) for name, (d, s) in tensors.items()}
    config = CollectionConfig(
        environment="HalfCheetah-v4",
        hidden_sizes=LAYOUT.hidden_sizes,
        environment_steps=(checkpoints - 1) // PER_ITERATION * 2048,
        trials=trials,
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
        split=Split.proportional(trials),
        versions={"numpy": np.__version__},
        cpu="none",
        trials=tuple(
            FileEntry(
                path=f"{TRIALS_FOLDER}/{trial_name(trial)}", size=len(prefix) + end, sha256=NO_DIGEST, tensors=stated
            )
            for trial in range(trials)
        ),
    ).write(folder)
    return Dataset.open(folder)
