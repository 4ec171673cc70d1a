"""A dataset's index: one row a checkpoint, everything but the weights and observation moments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...utils.errors import DatasetError
from ...utils.files import replace_atomically
from ...utils.tensorfile import Array
from ..manifest import Manifest
from ..trial import COLUMNS

INDEX_NAME = "index.parquet"
INDEX_COLUMNS: dict[str, tuple[Any, str]] = {
    "trial": (pa.int64(), "the trial's number"),
    "split": (pa.string(), "train, validation or test"),
    "seed": (pa.int64(), "the trial's seed; as text where a seed of the dataset has more than 63 bits"),
    "file": (pa.string(), "the trial's file"),
    "checkpoint": (pa.int64(), "the row of the file's tensors"),
    "environment_steps": (pa.int64(), "environment steps of training before it"),
    "iteration": (pa.int64(), "the PPO iteration that it was stored in; 0 is the initialisation"),
    "epoch": (pa.int64(), "the update epoch within that iteration"),
    "learning_rate": (pa.float32(), "the learning rate then"),
    "episodic_return": (pa.float32(), "mean return of the last training episodes; missing before the first"),
}
"""The columns of an index with their types and what they hold."""


def index_table(manifest: Manifest, columns: Mapping[int, Mapping[str, Array]]) -> pa.Table:
    """The index of some trials.

    Parameters
    ----------
    manifest
        The dataset's manifest.
    columns
        Per-checkpoint scalars [T] by name, by trial.

    Returns
    -------
    pyarrow.Table
        Columns `trial`, `split`, `seed`, `file`, `checkpoint` (the row of the file's tensors), then the scalars.
    """
    if not columns:
        raise DatasetError(f"{manifest.name}: an index needs at least one trial that is here.")
    seeds: tuple[Any, ...] = manifest.trial_seeds
    kinds = {name: kind for name, (kind, _) in INDEX_COLUMNS.items()}
    if max(manifest.trial_seeds) >= 1 << 63:
        seeds, kinds = tuple(map(str, seeds)), kinds | {"seed": pa.string()}
    parts = {trial: name for name in ("train", "validation", "test") for trial in getattr(manifest.split, name)}
    frames = []
    for trial, scalars in sorted(columns.items()):
        count = manifest.checkpoints
        where = {
            "trial": np.full(count, trial),
            "split": parts[trial],
            "seed": seeds[trial],
            "file": manifest.trials[trial].path,
            "checkpoint": np.arange(count),
        }
        frames.append(pd.DataFrame(where | {name: scalars[name] for name in COLUMNS}))
    rows = pd.concat(frames, ignore_index=True)
    schema = pa.schema(kinds.items())
    return pa.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata()


def write_index(table: pa.Table, path: Path) -> None:
    """Write an index as parquet, atomically."""
    with replace_atomically(path) as temporary:
        temporary.touch()  # an error of pyarrow would not name the file
        pq.write_table(table, temporary, compression="zstd")
