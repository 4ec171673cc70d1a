"""Reference returns: J of the true policies at a protocol's origins and targets, computed once for all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...registry.catalog import find_derived
from ...registry.dataset import Dataset
from ...registry.derived import write_derived
from ...utils.errors import DatasetError
from ...utils.files import replace_atomically
from ...utils.progress import Progress, silent
from ...utils.tensorfile import create_tensors, map_tensors
from ..protocol import Protocol
from .true_returns import curves_name, evaluate_curves, iteration_ends, learning_curves, true_returns, write_curves
from .windows import EvaluationWindow, evaluation_windows, read_curve, windows_of_trials

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
    perfect
        J of each window's targets under the normaliser at its origin, which a forecast acts with, [W, H]; None where
        the protocol does not ask for it.
    range
        By how much J of each window's trial rises over its training, [W]; None likewise.
    """

    origin: Float64
    target: Float64
    target_noise: Float64
    perfect: Float64 | None = None
    range: Float64 | None = None


TENSORS = {
    "origin": "origin_return",
    "target": "target_return",
    "target_noise": "target_return_noise",
    "perfect": "target_return_perfect",
    "range": "return_range",
}
"""The names of a file's tensors."""


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
        Windows of any trials; by default all of the test trials. Derived data are of these and, where phases go by J
        of the true policies, of the validation trials.
    fresh
        Look no return of a policy up in the store. Derived data, which belong to the dataset, are read in any case.

    Raises
    ------
    DatasetError
        If the derived data are damaged or not those that the catalog pins, or belong to other windows.
    """
    windows = evaluation_windows(dataset, protocol) if windows is None else windows
    derived = find_derived(dataset, protocol.version)
    path = derived.file(file_name(protocol)) if derived else None
    if path is None:
        return _compute(dataset, windows, protocol, progress, fresh)
    trials = _derived_trials(dataset, protocol)
    every = windows_of_trials(dataset, protocol, trials, learning_curves(dataset, protocol, trials))
    place = {window: row for row, window in enumerate(every)}
    if not place.keys() >= {*windows}:
        return _compute(dataset, windows, protocol, progress, fresh)
    found, rows = _read(path, every, protocol), [place[window] for window in windows]
    return ReferenceReturns(**{name: values[rows] for name, values in vars(found).items() if values is not None})


def derive_reference_returns(dataset: Dataset, protocol: Protocol, progress: Progress = silent) -> None:
    """Compute a dataset's reference returns into its derived data, unless they are there.

    Where phases go by J of the true policies, its learning curves are there too, with J of every checkpoint of the
    learning phase and of the horizon after it.

    Raises
    ------
    DatasetError
        If they are not what the catalog pins.
    """
    if dataset.derived(protocol.version) is None:
        trials = _derived_trials(dataset, protocol)
        curves = {}
        if protocol.phases == "true return":
            curves = evaluate_curves(dataset, protocol, trials, progress)
        windows = windows_of_trials(dataset, protocol, trials, curves)
        returns = _compute(dataset, windows, protocol, progress, curves=curves)
        known = _learning_returns(dataset, protocol, curves, progress)

        def write(folder: Path) -> None:
            _write(folder / file_name(protocol), windows, returns)
            if known:
                write_curves(folder / curves_name(protocol), dataset.manifest.checkpoints, known)

        write_derived(dataset.folder, dataset.manifest, protocol.version, write)
    find_derived(dataset, protocol.version)  # raises if they are not those that the catalog pins


def _derived_trials(dataset: Dataset, protocol: Protocol) -> tuple[int, ...]:
    """The trials that derived data are of."""
    split = dataset.manifest.split
    return split.test if protocol.phases == "training return" else (*split.test, *split.validation)


def _learning_returns(
    dataset: Dataset, protocol: Protocol, curves: Mapping[int, Float64], progress: Progress
) -> dict[int, dict[int, float]]:
    """J by trial and checkpoint: at the ends of all iterations, and up to the horizon after the learning phase."""
    known: dict[int, dict[int, float]] = {}
    for number, (index, curve) in enumerate(curves.items()):
        ends = iteration_ends(dataset.trial(index))
        last = read_curve(curve, ends, protocol).converged_from + protocol.horizon
        early = [(index, t) for t in range(min(last, dataset.manifest.checkpoints))]
        returns = true_returns(dataset, early, protocol.evaluation_seeds)
        known[index] = dict(enumerate(returns.tolist())) | dict(zip(ends.tolist(), curve.tolist(), strict=True))
        progress("learning", number + 1, len(curves), "")
    return known


def _compute(
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
    progress: Progress,
    fresh: bool = False,
    curves: Mapping[int, Float64] | None = None,
) -> ReferenceReturns:
    # Windows overlap: each policy is evaluated once.
    needed = sorted({(w.trial, w.origin + h) for w in windows for h in range(protocol.horizon + 1)})
    place = {key: row for row, key in enumerate(needed)}
    rows = np.array([[place[w.trial, w.origin + h] for h in range(protocol.horizon + 1)] for w in windows])
    targets = [(w.trial, w.origin + h) for w in windows for h in range(1, protocol.horizon + 1)]
    perfect = protocol.moving_fraction is not None
    total = 2 * len(needed) + perfect * len(targets)

    def returns(checkpoints: Sequence[tuple[int, int]], seeds: Sequence[int], before: int, **acting: Any) -> Float64:
        report = partial(_report, progress, before, total)
        return true_returns(dataset, checkpoints, seeds, fresh=fresh, progress=report, **acting)

    own = returns(needed, protocol.evaluation_seeds, 0)
    noise = returns(needed, protocol.noise_seeds, len(needed))
    found = ReferenceReturns(own[rows[:, 0]], own[rows[:, 1:]], noise[rows[:, 1:]])
    if not perfect:
        return found
    origins = [w.origin for w in windows for _ in range(protocol.horizon)]
    at_origin = returns(targets, protocol.evaluation_seeds, 2 * len(needed), normalisers=origins)
    trials = sorted({w.trial for w in windows})
    curves = learning_curves(dataset, protocol, trials, progress, fresh=fresh) if curves is None else curves
    ranges = {i: read_curve(curves[i], iteration_ends(dataset.trial(i)), protocol).range for i in trials}
    return replace(
        found,
        perfect=at_origin.reshape(len(windows), protocol.horizon),
        range=np.array([ranges[w.trial] for w in windows]),
    )


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("reference", before + done, total, "")


def _write(path: Path, windows: Sequence[EvaluationWindow], returns: ReferenceReturns) -> None:
    stated = {
        "trial": np.array([w.trial for w in windows], dtype=np.int64),
        "origin": np.array([w.origin for w in windows], dtype=np.int64),
    }
    arrays = stated | {TENSORS[name]: values for name, values in vars(returns).items() if values is not None}
    with replace_atomically(path) as temporary:
        layout = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
        for name, rows in create_tensors(temporary, layout).items():
            rows[:] = arrays[name]
            rows.flush()


def _read(path: Path, windows: Sequence[EvaluationWindow], protocol: Protocol) -> ReferenceReturns:
    shape = [len(windows), protocol.horizon]
    expected = {"origin": shape[:1], "target": shape, "target_noise": shape}
    if protocol.moving_fraction is not None:
        expected |= {"perfect": shape, "range": shape[:1]}
    layout = {TENSORS[name]: wanted for name, wanted in expected.items()} | {"trial": shape[:1], "origin": shape[:1]}
    tensors = map_tensors(path)
    if any(name not in tensors or list(tensors[name].shape) != wanted for name, wanted in layout.items()):
        raise DatasetError(f"{path}: not the reference returns of {len(windows)} windows of {protocol.horizon} steps.")
    stated = list(zip(tensors["trial"].tolist(), tensors["origin"].tolist(), strict=True))
    if stated != [(w.trial, w.origin) for w in windows]:
        raise DatasetError(
            f"{path}: reference returns of other windows than protocol {protocol.version} gives for this dataset."
        )
    return ReferenceReturns(**{name: np.array(tensors[TENSORS[name]], dtype=np.float64) for name in expected})
