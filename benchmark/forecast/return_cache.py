"""Returns of forecasts that this machine has evaluated before.

J is a function of the policy alone, and minutes of physics: a predictor that draws nothing gives the same forecasts for
every seed, and their returns are then looked up. The key holds everything that J depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...registry.dataset import Dataset
from ...registry.store import cache_root
from ...utils.canonical import canonical_json
from ...utils.errors import DatasetError
from ...utils.files import replace_atomically, sha256
from ...utils.machine import cpu_name, package_versions
from ...utils.tensorfile import create_tensors, map_tensors
from ..protocol import Protocol

Float64 = npt.NDArray[np.float64]


def cached_returns(forecasts: Path, dataset: Dataset, protocol: Protocol, evaluate: Callable[[], Float64]) -> Float64:
    """The returns [W, H] of a forecasts file: from the store if they are there, else evaluated and kept.

    Parameters
    ----------
    forecasts
        The file that `write_forecasts` wrote.
    dataset, protocol
        What was forecast.
    evaluate
        Computes the returns.
    """
    key = {
        "forecasts": sha256(forecasts),
        "dataset": dataset.digest,
        "protocol": protocol.model_dump(mode="json"),
        "versions": {**package_versions(), "tipl_bench": __version__, "cpu": cpu_name()},
    }
    path = cache_root() / "returns" / f"{hashlib.sha256(canonical_json(key).encode()).hexdigest()}.safetensors"
    if path.exists():
        try:
            return np.array(map_tensors(path)["returns"], dtype=np.float64)
        except (DatasetError, KeyError):
            pass  # damaged: evaluated again and replaced
    returns = evaluate()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        rows = create_tensors(temporary, {"returns": ("float64", returns.shape)})["returns"]
        rows[:] = returns
        rows.flush()
    return returns
