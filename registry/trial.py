"""One trial is one safetensors file, read lazily by ranges of checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..rl import PolicyLayout
from ..utils.errors import DatasetArgumentError, DatasetError, UnknownNameError
from ..utils.tensorfile import Array, Mapped, TensorSpan, read_header
from .files import FileEntry, verify_file

if TYPE_CHECKING:
    from ..rl.network import PolicyNetwork

TRIALS_FOLDER = "trials"
"""The folder of the trial files in a dataset's."""
COLUMNS = ("environment_steps", "iteration", "epoch", "learning_rate", "episodic_return")
"""The per-checkpoint scalars."""
FINAL_CHECKPOINTS = 25
"""The end of a trial that its final return is the mean of: five PPO iterations as datasets are collected here."""


def trial_name(trial: int) -> str:
    """The file name of a trial."""
    return f"trial-{trial:04d}.safetensors"


def trial_tensors(checkpoints: int, parameters: int, observations: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of a trial's tensors for T checkpoints, P parameters, O observations."""
    t = checkpoints
    return {
        "weights": ("float32", (t, parameters)),
        "observation_mean": ("float64", (t, observations)),
        "observation_variance": ("float64", (t, observations)),
        "observation_count": ("float64", (t,)),
        "environment_steps": ("int64", (t,)),
        "iteration": ("int64", (t,)),
        "epoch": ("int64", (t,)),
        "learning_rate": ("float32", (t,)),
        "episodic_return": ("float32", (t,)),
    }


def final_return(episodic_return: Array) -> float:
    """The mean training return over the last checkpoints of a trial, of its returns [T]; NaN where none is known."""
    last = episodic_return[-FINAL_CHECKPOINTS:]
    known = last[np.isfinite(last)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")


def iteration_positions(epoch: Array) -> npt.NDArray[np.int64]:
    """Each checkpoint's place among its PPO iteration's checkpoints, from 0.

    The initialisation (epoch 0) has the last place: like an iteration's last checkpoint, it stands right before an
    iteration's first.

    Parameters
    ----------
    epoch
        The `epoch` column [..., T] of a trial, or of any part of it that holds a whole iteration.

    Returns
    -------
    ndarray
        The places, [..., T] int64.

    Examples
    --------
    >>> import numpy as np
    >>> from tipl_bench import iteration_positions
    >>> iteration_positions(np.array([0, 2, 4, 6, 2, 4, 6]))
    array([2, 0, 1, 2, 0, 1, 2])
    """
    checkpointed = np.unique(epoch[epoch > 0])
    last = checkpointed[-1] if len(checkpointed) else 0
    return np.searchsorted(checkpointed, np.where(epoch == 0, last, epoch)).astype(np.int64)


def converged_from(episodic_return: Array, smoothing: int, fraction: float) -> int:
    """The first checkpoint of the converged phase.

    Parameters
    ----------
    episodic_return
        The trial's training return [T]; NaN where unknown.
    smoothing
        Width of the trailing mean, in checkpoints; unknown values are left out of it.
    fraction
        How far from the first smoothed value to the best one counts as learned.

    Returns
    -------
    int
        The first checkpoint whose smoothed return has come that far; T if there is no return at all.
    """
    values = np.asarray(episodic_return, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        return len(values)
    total = np.cumsum(np.where(known, values, 0.0))
    count = np.cumsum(known)
    total[smoothing:] -= total[:-smoothing].copy()
    count[smoothing:] -= count[:-smoothing].copy()
    with np.errstate(invalid="ignore"):
        smoothed = np.where(count > 0, total / count, np.nan)
    first = smoothed[np.isfinite(smoothed)][0]
    best = np.nanmax(smoothed)
    # The slack is rounding's: sums of equal returns need not be equal.
    threshold = first + fraction * (best - first) - 1e-9 * max(abs(first), abs(best))
    return int(np.flatnonzero(smoothed >= threshold)[0])


@dataclass(frozen=True)
class Trial:
    """A trial read lazily: a tensor or a range of its rows is read when asked for.

    Parameters
    ----------
    path
        The safetensors file.
    index
        The trial's number in its dataset.
    layout
        The policy's layout.
    checkpoints
        T, as the manifest says.
    environment
        The environment that its policies act in; not known to predictors.
    """

    path: Path
    index: int
    layout: PolicyLayout
    checkpoints: int
    environment: str | None = None

    def __len__(self) -> int:
        return self.checkpoints

    @cached_property
    def _spans(self) -> dict[str, TensorSpan]:
        """Where the tensors lie; raises `DatasetError` if they are not those of the format."""
        spans = read_header(self.path)
        found = {name: (span.dtype, span.shape) for name, span in spans.items()}
        expected = trial_tensors(len(self), self.layout.parameter_count, self.layout.observation_size)
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        if wrong:
            raise DatasetError(f"{self.path}: tensors {', '.join(wrong)} do not have the format's dtype and shape.")
        return spans

    def _located(self, name: str) -> tuple[Path, TensorSpan]:
        """The file that holds a tensor, and where in it."""
        if name not in self._spans:
            raise UnknownNameError("tensor", name, self._spans)
        return self.path, self._spans[name]

    @cached_property
    def tensors(self) -> dict[str, Mapped]:
        """All tensors, mapped read-only: for reading single columns of wide policies."""
        located = {name: self._located(name) for name in trial_tensors(len(self), 0, 0)}
        return {
            name: np.memmap(path, np.dtype(span.dtype), "r", span.start, span.shape)
            for name, (path, span) in located.items()
        }

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Read rows of a tensor, as a new array.

        Parameters
        ----------
        name
            `weights`, `observation_mean`, `observation_variance`, `observation_count` or one of `columns`.
        start, stop
            The first checkpoint and the one after the last; all by default.

        Returns
        -------
        ndarray
            [n, ...], n = stop - start; `weights` are [n, P] float32, moments of observations [n, O] float64.

        Raises
        ------
        IndexError
            If the rows are outside the trial.
        UnknownNameError
            For a name that is no tensor's.
        DatasetError
            If the file is not a trial of the dataset's format, or became shorter.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"{self.path.name}: rows {start}:{stop} are outside its {len(self)} checkpoints")
        path, span = self._located(name)
        shape = span.shape[1:]
        row = math.prod(shape)
        # A plain read, not a copy out of a memory map: a map's pages count as this process's memory until they are
        # needed elsewhere, and a pass over 70 GB would look like 70 GB.
        itemsize = np.dtype(span.dtype).itemsize
        flat = np.fromfile(path, span.dtype, (stop - start) * row, offset=span.start + start * row * itemsize)
        if len(flat) < (stop - start) * row:
            raise DatasetError(f"{path}: became shorter while it was read. Fetch or collect it again.")
        return flat.reshape(stop - start, *shape)

    def weights(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Read weights.

        Parameters
        ----------
        start, stop
            The first checkpoint and the one after the last; all by default.

        Returns
        -------
        ndarray
            [n, P] float32, n = stop - start.
        """
        return self.read("weights", start, stop)

    def policy(self, checkpoint: int) -> PolicyNetwork:
        """A checkpoint as a torch module that acts: weights, normaliser and clipping of that moment.

        Parameters
        ----------
        checkpoint
            Its number, from 0, the initialisation.

        Returns
        -------
        PolicyNetwork
            From observations [..., O] as the environment gives them to mean actions, clipped to its bounds.

        Raises
        ------
        DatasetArgumentError
            If there is no such checkpoint, or the trial was opened without its environment.
        """
        from ..rl.network import PolicyNetwork

        if self.environment is None:
            raise DatasetArgumentError(f"{self.path}: a policy acts in an environment; open the trial by its dataset.")
        if not 0 <= checkpoint < len(self):
            raise DatasetArgumentError(
                f"Trial {self.index} has checkpoints 0 to {len(self) - 1}; there is no checkpoint {checkpoint}."
            )
        parts = ("weights", "observation_mean", "observation_variance")
        found = (self.read(name, checkpoint, checkpoint + 1)[0] for name in parts)
        return PolicyNetwork(self.environment, self.layout, *found)

    @property
    def final_return(self) -> float:
        """The mean training return over its last 25 checkpoints; NaN if no episode had ended by then."""
        return final_return(self.columns["episodic_return"])

    def whole_file(self, entry: FileEntry) -> Path:
        """Its file, every byte compared with what its manifest says of it.

        Parameters
        ----------
        entry
            The manifest's entry.

        Returns
        -------
        Path
            The file; raises `DatasetError` if it is another.
        """
        verify_file(self.path, entry)
        return self.path

    @cached_property
    def columns(self) -> dict[str, Array]:
        """The per-checkpoint scalars, each [T]: steps, iteration, epoch, learning rate, return."""
        return {name: self.read(name) for name in COLUMNS}
