"""Files of the names and shapes of published networks, with random numbers in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tipl_bench.baselines import predictor_type


def tensors_like(model: str) -> dict[str, npt.NDArray[np.float32]]:
    """Random tensors, the same at every call."""
    rng = np.random.default_rng(0)
    shapes = {name: known.shape for name, known in predictor_type(model).release.tensors.items()}
    return {name: (rng.normal(size=shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}


def write_release(model: str, path: Path) -> Path:
    """Write them to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors_like(model), path)
    return path


def write_vector(folder: Path, change: Callable[[Any], None] = lambda vector: None) -> Path:
    """Write a vector of OPEN's length with small random numbers, changed in place by `change`."""
    vector = (np.random.default_rng(0).normal(size=1211) * 0.3).astype(np.float32)
    change(vector)
    path = folder / "ant_OPEN.npy"
    np.save(path, vector)
    return path
