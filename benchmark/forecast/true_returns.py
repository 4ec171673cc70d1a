"""J of stored policies, each under its own normaliser, and the learning curves that decide protocol 2's phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...registry.catalog import find_derived
from ...registry.dataset import Dataset
from ...registry.trial import Trial
from ...rl import Policies
from ...utils.errors import DatasetError
from ...utils.progress import Progress, silent
from ...utils.tensorfile import create_tensors, map_tensors
from ..protocol import Protocol
from .policy_returns import policy_returns

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

CHUNK_BYTES = 256 << 20
"""Weights of the policies that are read at once stay below about this."""


def true_returns(
    dataset: Dataset,
    checkpoints: Sequence[tuple[int, int]],
    seeds: Sequence[int],
    *,
    normalisers: Sequence[int] | None = None,
    fresh: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Float64:
    """J of N stored policies, looked up in the store or evaluated.

    Parameters
    ----------
    dataset, seeds
        Whose policies, from which resets.
    checkpoints
        Trial and checkpoint of each policy.
    normalisers
        The checkpoint whose normaliser each policy acts with; its own by default.
    fresh
        Look nothing up in the store.
    progress
        Called with the number of policies done so far, if any has to be evaluated.

    Returns
    -------
    ndarray
        [N] float64.
    """
    returns = np.empty(len(checkpoints))
    step = max(1, CHUNK_BYTES // (4 * dataset.layout.parameter_count))
    for start in range(0, len(checkpoints), step):
        part = slice(start, start + step)
        policies = _policies(dataset, checkpoints[part], None if normalisers is None else normalisers[part])
        report = partial(_report, progress, start)
        returns[part] = policy_returns(
            dataset.environment, dataset.layout, policies, seeds, fresh=fresh, progress=report
        ).values
    return returns


def _report(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _policies(dataset: Dataset, checkpoints: Sequence[tuple[int, int]], normalisers: Sequence[int] | None) -> Policies:
    trials = {index: dataset.trial(index) for index in {trial for trial, _ in checkpoints}}
    acting = [t for _, t in checkpoints] if normalisers is None else normalisers
    weights = np.empty((len(checkpoints), dataset.layout.parameter_count), dtype=np.float32)
    for row, (trial, t) in enumerate(checkpoints):  # a list of rows to be joined would take as much again
        weights[row] = trials[trial].weights(t, t + 1)[0]

    def normaliser(name: str) -> Float64:
        return np.concatenate([trials[i].read(name, t, t + 1) for (i, _), t in zip(checkpoints, acting, strict=True)])

    return Policies(weights, normaliser("observation_mean"), normaliser("observation_variance"))


def iteration_ends(trial: Trial) -> Index:
    """Checkpoint 0 and the last checkpoint of every PPO iteration."""
    iteration = trial.columns["iteration"]
    return np.flatnonzero(np.append(iteration[1:] != iteration[:-1], True))


def curves_name(protocol: Protocol) -> str:
    """The file name of the curves in a protocol version's derived data."""
    return f"learning-curves-p{protocol.version}.safetensors"


def learning_curves(
    dataset: Dataset, protocol: Protocol, trials: Sequence[int], progress: Progress = silent, *, fresh: bool = False
) -> dict[int, Float64]:
    """J at `iteration_ends` of the given trials, by trial: from the derived data, or else looked up or evaluated.

    None of a protocol whose phases go by the training return.

    Raises
    ------
    DatasetError
        If the derived data are damaged or not those that the catalog pins, or lack one of the trials.
    """
    if protocol.phases == "training return":
        return {}
    derived = find_derived(dataset, protocol.version)
    path = derived.file(curves_name(protocol)) if derived else None
    if path is not None:
        return _read(path, {index: iteration_ends(dataset.trial(index)) for index in trials})
    return evaluate_curves(dataset, protocol, trials, progress, fresh=fresh)


def evaluate_curves(
    dataset: Dataset, protocol: Protocol, trials: Sequence[int], progress: Progress = silent, *, fresh: bool = False
) -> dict[int, Float64]:
    """As `learning_curves`, whatever derived data there are."""
    ends = {index: iteration_ends(dataset.trial(index)) for index in trials}
    checkpoints = [(index, int(t)) for index, at in ends.items() for t in at]
    returns = true_returns(
        dataset,
        checkpoints,
        protocol.evaluation_seeds,
        fresh=fresh,
        progress=lambda done: progress("phases", done, len(checkpoints), ""),
    )
    stops = np.cumsum([len(at) for at in ends.values()])[:-1]
    return dict(zip(ends, np.split(returns, stops), strict=True))


def write_curves(path: Path, checkpoints: int, returns: dict[int, dict[int, float]]) -> None:
    """Write J by trial and checkpoint: `trial` [K] and `return` [K, T], NaN where it was not evaluated."""
    shape = (len(returns), checkpoints)
    files = create_tensors(path, {"trial": ("int64", shape[:1]), "return": ("float64", shape)})
    files["trial"][:] = [*returns]
    files["return"][:] = np.nan
    for row, known in enumerate(returns.values()):
        files["return"][row, [*known]] = [*known.values()]
    for rows in files.values():
        rows.flush()


def _read(path: Path, ends: dict[int, Index]) -> dict[int, Float64]:
    tensors = map_tensors(path)
    try:
        rows = {int(trial): row for row, trial in enumerate(tensors["trial"])}
        curves = {index: np.array(tensors["return"][rows[index], at]) for index, at in ends.items()}
        if not all(np.isfinite(curve).all() for curve in curves.values()):
            raise ValueError
    except (KeyError, IndexError, ValueError):
        raise DatasetError(f"{path}: lacks the learning curve of one of trials {', '.join(map(str, ends))}.") from None
    return curves
