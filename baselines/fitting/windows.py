"""The windows of training trials, and draws of them by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ...registry.trial import COLUMNS, Trial, converged_from, iteration_positions
from ...utils.errors import PredictorError
from ..predictor import Array, Contexts, Weights
from .gram import check_lengths

Integers = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

CHUNK_CHECKPOINTS = 256


@dataclass(frozen=True)
class TrainingWindows:
    """All W windows of some trials: each a context of L checkpoints and the H that follow it.

    In a predictor's `fit`::

        windows = TrainingWindows.of(task.train, task.context, task.horizon)
        rng = np.random.default_rng(task.seed)
        for row in windows.sample(64, rng):
            context, future = np.split(windows.weights(row), [task.context])  # [L, P], [H, P]

    Parameters
    ----------
    trials
        Read from disk as windows are asked for.
    context, horizon
        L and H.
    trial
        Which of the trials each window is of, [W].
    origin
        The checkpoint number of each context's last checkpoint, [W].
    position
        The origin's place within its PPO iteration, [W]; see `iteration_positions`.
    squared_step
        Mean squared length of each context's differences, [W] float64: 0 where nothing moved.
    weight
        How much more often each window is drawn than by its squared step, [W]; none: 1.
    """

    trials: Sequence[Trial]
    context: int
    horizon: int
    trial: Integers
    origin: Integers
    position: Integers
    squared_step: Float64
    weight: Float64 | None = None

    @classmethod
    def of(cls, trials: Sequence[Trial], context: int, horizon: int) -> TrainingWindows:
        """List the windows of trials, by trial and origin.

        Parameters
        ----------
        trials
            The trials.
        context, horizon
            L and H, in checkpoints.

        Returns
        -------
        TrainingWindows
            All W windows.

        Raises
        ------
        PredictorError
            If no trial is long enough for one.
        """
        check_lengths(trials, context + horizon)
        numbers, origins, positions, squared = [], [], [], []
        for number, trial in enumerate(trials):
            places = np.arange(context - 1, len(trial) - horizon)
            lengths = _squared_differences(trial)[: len(trial) - horizon - 1]
            numbers.append(np.full(len(places), number))
            origins.append(places)
            positions.append(iteration_positions(trial.columns["epoch"])[places])
            squared.append(
                np.lib.stride_tricks.sliding_window_view(lengths, context - 1).mean(axis=1) if len(places) else []
            )
        columns = (np.concatenate(column) for column in (numbers, origins, positions, squared))
        return cls(trials, context, horizon, *columns)

    def __len__(self) -> int:
        return len(self.origin)

    @cached_property
    def _cumulative(self) -> Float64:
        return np.cumsum(self.squared_step * (1 if self.weight is None else self.weight))

    @property
    def parameter_count(self) -> int:
        """P."""
        return self.trials[0].layout.parameter_count

    def sample(self, count: int, rng: np.random.Generator) -> Integers:
        """Draw windows with replacement, in proportion to their `squared_step`.

        A loss in units of a window's own step then weighs windows as the squared error in weight space does.

        Parameters
        ----------
        count
            B, how many.
        rng
            The source of randomness; the same state gives the same windows.

        Returns
        -------
        ndarray
            Their numbers, [B] int64.

        Raises
        ------
        PredictorError
            If nothing moves in any window.
        """
        cumulative = self._cumulative
        if cumulative[-1] == 0:
            of = f"trial{'s' * (len(self.trials) > 1)} {', '.join(str(trial.index) for trial in self.trials[:5])}"
            if self.squared_step.any():
                raise PredictorError(
                    f"the training return of {of} has levelled before the first window, and option converged is 0, so "
                    "that no window is drawn; set it above 0."
                )
            raise PredictorError(f"no weight of {of} ever moves; there is nothing to learn.")
        rows: Integers = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
        return rows

    def favour_learning(self, converged: float, smoothing: int = 25, fraction: float = 0.95) -> TrainingWindows:
        """The same windows, with those that are past learning drawn less often.

        Parameters
        ----------
        converged
            The weight of windows whose origin is where the trial's training return has levelled; 1 for all others.
        smoothing, fraction
            Width of the trailing mean of the return, in checkpoints, and how much of its rise counts as levelled.

        Returns
        -------
        TrainingWindows
            The same windows with a `weight`.
        """
        levelled = [converged_from(trial.columns["episodic_return"], smoothing, fraction) for trial in self.trials]
        weight = np.where(self.origin < np.array(levelled)[self.trial], 1.0, converged)
        return replace(self, weight=weight)

    def step(self, rows: Integers) -> Float64:
        """How far weights move in the contexts of some windows.

        Parameters
        ----------
        rows
            Numbers of B windows.

        Returns
        -------
        ndarray
            The root mean square of a weight's differences between successive checkpoints, [B] float64.
        """
        step: Float64 = np.sqrt(self.squared_step[rows] / self.parameter_count)
        return step

    def sample_weights(self, count: int, weights: int, rng: np.random.Generator) -> tuple[Integers, Weights]:
        """Draw windows, and single weights of each.

        Parameters
        ----------
        count, rng
            As for `sample`.
        weights
            K, how many weights of a window.

        Returns
        -------
        rows
            The windows' numbers, [B] int64.
        values
            The weights over their checkpoints, [B, L + H, K] float32.
        """
        rows = self.sample(count, rng)
        values = np.empty((count, self.context + self.horizon, weights), dtype=np.float32)
        for slot, row in enumerate(rows):
            values[slot] = self.weights(row, rng.integers(self.parameter_count, size=weights))
        return rows, values

    def weights(self, row: int, columns: Integers | slice = slice(None)) -> Weights:
        """Read the checkpoints of one window, its context first.

        Parameters
        ----------
        row
            The window's number.
        columns
            Which of the P weights; all by default.

        Returns
        -------
        ndarray
            [L + H, P] float32, or of the chosen weights alone.
        """
        first = self.origin[row] - self.context + 1
        rows = slice(first, first + self.context + self.horizon)
        return np.array(self.trials[self.trial[row]].tensors["weights"][rows, columns])

    def contexts(self, row: int) -> Contexts:
        """Read what a predictor would be shown of one window.

        Parameters
        ----------
        row
            The window's number.

        Returns
        -------
        Contexts
            A batch of it alone, B = 1.
        """
        trial, origin = self.trials[self.trial[row]], int(self.origin[row])
        rows = slice(origin - self.context + 1, origin + 1)

        def read(name: str) -> Array:
            return np.array(trial.tensors[name][rows])[None]

        return Contexts(
            weights=read("weights"),
            observation_mean=read("observation_mean"),
            observation_variance=read("observation_variance"),
            observation_count=read("observation_count"),
            columns={name: read(name) for name in COLUMNS},
            origin=np.array([origin]),
            layout=trial.layout,
        )


def _squared_differences(trial: Trial) -> Float64:
    """Squared lengths of the differences of successive checkpoints, [T - 1], summed in float64."""
    parts = []
    for start in range(0, len(trial) - 1, CHUNK_CHECKPOINTS):
        weights = trial.weights(start, min(start + CHUNK_CHECKPOINTS + 1, len(trial))).astype(np.float64)
        parts.append(np.square(np.diff(weights, axis=0)).sum(axis=1))
    return np.concatenate(parts) if parts else np.empty(0)
