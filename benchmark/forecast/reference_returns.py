"""Reference returns: J of the true policies at a protocol's origins and targets, computed once for all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...registry.catalog import find_derived
from ...registry.dataset import Dataset
from ...registry.derived import write_derived
from ...rl import Policies
from ...utils.errors import DatasetError
from ...utils.files import replace_atomically
from ...utils.progress import Progress, silent
from ...utils.tensorfile import create_tensors, map_tensors
from ..protocol import Protocol
from .policy_returns import policy_returns
from .windows import EvaluationWindow, test_windows

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceReturns:
    """J of true policies; W windows, H horizons.

    Parameters
    ----------
    origin
        J at each window's origin, [W].
    target
        J at each window's targets, [W, H].
    target_noise
        The same on the protocol's other reset seeds, [W, H].
    """

    origin: Float64
    target: Float64
    target_noise: Float64


def file_name(protocol: Protocol) -> str:
    """The file name of a protocol version's reference returns."""
    return f"reference-returns-p{protocol.version}.safetensors"


def reference_returns(
    dataset: Dataset,
    protocol: Protocol,
    progress: Progress = silent,
    windows: Sequence[EvaluationWindow] | None = None,
    *,
    fresh: bool = False,
) -> ReferenceReturns:
    """The dataset's reference returns: from its derived data, or else looked up or evaluated policy by policy.

    Parameters
    ----------
    dataset, protocol
        What is forecast, under which protocol.
    progress
        Receives policies done and policies in all.
    windows
        Windows of the test trials, or of others; by default all of the test trials, which alone derived data are of.
    fresh
        Look nothing up in the store.

    Raises
    ------
    DatasetError
        If the derived data are damaged or not those that the catalog pins, or belong to other windows.
    """
    every = test_windows(dataset, protocol)
    windows = every if windows is None else windows
    place = {window: row for row, window in enumerate(every)}
    if not place.keys() >= {*windows}:
        return _compute(dataset, windows, protocol, progress, fresh)
    derived = find_derived(dataset, protocol.version)
    path = derived.file(file_name(protocol)) if derived else None
    if path is None:
        return _compute(dataset, windows, protocol, progress, fresh)
    found, rows = _read(path, every, protocol), [place[window] for window in windows]
    return ReferenceReturns(found.origin[rows], found.target[rows], found.target_noise[rows])


def derive_reference_returns(dataset: Dataset, protocol: Protocol, progress: Progress = silent) -> None:
    """Compute a dataset's reference returns into its derived data, unless they are there.

    Raises
    ------
    DatasetError
        If they are not what the catalog pins.
    """
    if dataset.derived(protocol.version) is None:
        windows = test_windows(dataset, protocol)
        returns = _compute(dataset, windows, protocol, progress)
        write_derived(
            dataset.folder,
            dataset.manifest,
            protocol.version,
            lambda folder: _write(folder / file_name(protocol), windows, returns),
        )
    find_derived(dataset, protocol.version)  # raises if they are not those that the catalog pins


def _compute(
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
    progress: Progress,
    fresh: bool = False,
) -> ReferenceReturns:
    # Windows overlap: each policy is evaluated once.
    needed = sorted({(w.trial, w.origin + h) for w in windows for h in range(protocol.horizon + 1)})
    place = {key: row for row, key in enumerate(needed)}
    rows = np.array([[place[w.trial, w.origin + h] for h in range(protocol.horizon + 1)] for w in windows])
    returns = np.empty((2, len(needed)))
    total = 2 * len(needed)
    # Few enough at a time that wide policies do not fill the memory.
    step = max(1, (256 << 20) // (4 * dataset.layout.parameter_count))
    for start in range(0, len(needed), step):
        part = slice(start, start + step)
        policies = _true_policies(dataset, needed[part])
        for row, seeds in enumerate((protocol.evaluation_seeds, protocol.noise_seeds)):
            report = partial(_report, progress, 2 * start + row * len(policies), total)
            returns[row, part] = policy_returns(
                dataset.environment, dataset.layout, policies, seeds, fresh=fresh, progress=report
            ).values
    return ReferenceReturns(returns[0, rows[:, 0]], returns[0, rows[:, 1:]], returns[1, rows[:, 1:]])


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("reference", before + done, total, "")


def _true_policies(dataset: Dataset, checkpoints: Sequence[tuple[int, int]]) -> Policies:
    """Stored policies, each with the normaliser of its own checkpoint."""
    trials = {index: dataset.trial(index) for index in {trial for trial, _ in checkpoints}}

    def gather(name: str) -> npt.NDArray[np.float64]:
        return np.concatenate([trials[trial].read(name, t, t + 1) for trial, t in checkpoints])

    return Policies(gather("weights").astype(np.float32), gather("observation_mean"), gather("observation_variance"))


def _write(path: Path, windows: Sequence[EvaluationWindow], returns: ReferenceReturns) -> None:
    arrays = {
        "trial": np.array([w.trial for w in windows], dtype=np.int64),
        "origin": np.array([w.origin for w in windows], dtype=np.int64),
        "origin_return": returns.origin,
        "target_return": returns.target,
        "target_return_noise": returns.target_noise,
    }
    with replace_atomically(path) as temporary:
        layout = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
        for name, rows in create_tensors(temporary, layout).items():
            rows[:] = arrays[name]
            rows.flush()


def _read(path: Path, windows: Sequence[EvaluationWindow], protocol: Protocol) -> ReferenceReturns:
    shape = [len(windows), protocol.horizon]
    expected = {"origin_return": shape[:1], "target_return": shape, "target_return_noise": shape}
    layout = {**expected, "trial": shape[:1], "origin": shape[:1]}
    tensors = map_tensors(path)
    if any(name not in tensors or list(tensors[name].shape) != wanted for name, wanted in layout.items()):
        raise DatasetError(f"{path}: not the reference returns of {len(windows)} windows of {protocol.horizon} steps.")
    stated = list(zip(tensors["trial"].tolist(), tensors["origin"].tolist(), strict=True))
    if stated != [(w.trial, w.origin) for w in windows]:
        raise DatasetError(
            f"{path}: reference returns of other windows than protocol {protocol.version} gives for this dataset."
        )
    return ReferenceReturns(*(np.array(tensors[name], dtype=np.float64) for name in expected))
