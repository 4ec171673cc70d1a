"""Ridge regression on what a weight's past tells of Adam's moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ...registry.trial import Trial, iteration_positions
from ...utils.errors import PredictorError
from ..fitting.gram import check_lengths, solved
from ..predictor import Array, Contexts, FitTask, Options, Predictor, Weights, check_reach

Float64 = npt.NDArray[np.float64]

TIME_CONSTANTS = (2.0, 5.0, 12.0)
"""Checkpoints over which the moments are averaged."""
KINDS = 3
"""Features at each of them."""
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
TINY = 1e-30


class AdamMomentsOptions(Options):
    """What is read of a weight's past, and the ridge."""

    moments: bool = True
    """Whether the features that are not linear in the past are used; without them: an autoregression per rate."""
    weights: int = Field(4_096, ge=1)
    """Weights of each window that the fit uses, drawn at random where the policy has more."""
    ridge: float | None = Field(None, ge=0)
    """Penalty as a share of each feature's mean square; none: chosen on the validation trials."""


class AdamMoments(Predictor[AdamMomentsOptions]):
    """Least squares on Adam's moments as far as a weight's past shows them, shared by all weights.

    Adam moves a weight by r m / sqrt(v), with r the learning rate, m and v running means of its gradient and of that
    squared. A difference over its rate, u = (phi(t) - phi(t - 1)) / r(t), is therefore a mean of m / sqrt(v); where
    gradients agree it is large, where they are noise it is small. Features of a weight are

    - every u of the context;
    - at each of three time constants, with a = EMA(u), b = EMA(u^2) and s the root mean square of all u of the window:
      a^3 / b (the mean, as far as the steps agreed), s a / sqrt(b) (the mean in units of the weight's own noise) and
      a sqrt(b) / s (in proportion to it).

    The displacement at horizon h is the sum of the rates ahead, which the schedule gives, times a linear map of the
    features, one for each position of the origin within its PPO iteration. No original exists: it is the control that
    tells how much of Adam's hidden state weights alone give away.
    """

    name: ClassVar[str] = "adam-moments"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Ridge regression on Adam's moments as a weight's past shows them, in units of the rate."
    options_type: ClassVar[type[Any]] = AdamMomentsOptions
    transfers: ClassVar[bool] = True
    consumes: ClassVar[str] = "statistics"

    def __init__(self, options: AdamMomentsOptions) -> None:
        super().__init__(options)
        self.coefficients: Float64 | None = None  # [Q, H, F]

    def fit(self, task: FitTask) -> None:
        """Solve the ridge; choose its penalty on the validation trials."""
        trials = [*task.train, *task.validation]
        if not all(np.isfinite(trial.columns["learning_rate"]).all() for trial in trials):
            raise PredictorError("adam-moments: the trials' learning rate was not recorded; differences are over it.")
        check_lengths(task.train, task.context + task.horizon)
        sums = []
        for done, trial in enumerate(trials, 1):
            sums.append(self._moments(trial, task))
            task.progress(done, len(trials), "inner products")
        features, targets = (sum(part) for part in zip(*sums[: len(task.train)], strict=True))
        validation = [sum(part) for part in zip(*sums[len(task.train) :], strict=True)]
        ridges = RIDGES if self.options.ridge is None else (self.options.ridge,)
        candidates = [_solve(features, targets, ridge) for ridge in ridges]
        self.coefficients = min(candidates, key=lambda found: _objective(found, *validation))

    def _moments(self, trial: Trial, task: FitTask) -> tuple[Float64, Float64]:
        """Sums over a trial's windows of X^T X [Q, H, F, F] and of X^T y [Q, H, F]."""
        rng = np.random.default_rng((task.seed, trial.index))
        chosen = _chosen(trial.layout.parameter_count, self.options.weights, rng)
        epochs = np.asarray(trial.columns["epoch"])
        positions = iteration_positions(epochs)
        size = task.context - 1 + (KINDS * len(TIME_CONSTANTS) if self.options.moments else 0)
        features = np.zeros((int(positions.max()) + 1, task.horizon, size, size))
        targets = np.zeros((len(features), task.horizon, size))
        for origin in range(task.context - 1, len(trial) - task.horizon):
            first = origin - task.context + 1
            window = trial.weights(first, origin + task.horizon + 1)[:, chosen].astype(np.float64)
            past = {name: column[None, first : origin + 1] for name, column in trial.columns.items()}
            read = self._features(window[None, : task.context], past["learning_rate"])[0]  # [K, F]
            ahead = rates_ahead(past, task.horizon)[0]  # [H]
            position = positions[origin]
            features[position] += np.square(ahead)[:, None, None] * (read.T @ read)
            targets[position] += ahead[:, None] * ((window[task.context :] - window[task.context - 1]) @ read)
        return features, targets

    def _features(self, past: Float64, rates: Array) -> Float64:
        """Features [B, P, F] of pasts [B, L, P] under learning rates [B, L]."""
        later = rates[:, 1:, None].astype(np.float64)
        steps = np.diff(past, axis=1) / np.where(later > 0, later, 1)  # [B, L - 1, P]
        found = [*steps[:, ::-1].swapaxes(0, 1)]
        if self.options.moments:
            unit = np.sqrt(np.square(steps).mean(axis=(1, 2)))[:, None] + TINY
            for constant in TIME_CONSTANTS:
                share = np.exp(-np.arange(steps.shape[1])[::-1] / constant)
                first = np.einsum("k,bkp->bp", share / share.sum(), steps)
                second = np.einsum("k,bkp->bp", share / share.sum(), np.square(steps)) + TINY
                found += [first**3 / second, unit * first / np.sqrt(second), first * np.sqrt(second) / unit]
        return np.stack(found, axis=-1)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.coefficients is None:
            raise RuntimeError("adam-moments was asked to predict before it was fitted or loaded.")
        longest, size = self.coefficients.shape[1:]
        lags = size - (KINDS * len(TIME_CONSTANTS) if self.options.moments else 0)
        check_reach(self, contexts, horizon, context=lags + 1, longest=longest)
        positions = iteration_positions(contexts.columns["epoch"])[:, -1]
        ahead = rates_ahead(contexts.columns, horizon)
        forecast = np.repeat(contexts.weights[:, -1:], horizon, axis=1)
        for row, position in enumerate(positions):  # one at a time: features are many times the context's size
            past = contexts.weights[row : row + 1, -lags - 1 :].astype(np.float64)
            rates = contexts.columns["learning_rate"][row : row + 1, -lags - 1 :]
            read = self._features(past, rates)[0]
            forecast[row] += ahead[row, :, None] * (self.coefficients[position, :horizon] @ read.T)
        return forecast

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        return {} if self.coefficients is None else {"coefficients": self.coefficients}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.coefficients = state["coefficients"]


def rates_ahead(columns: Mapping[str, Array], horizon: int) -> Float64:
    """The sums of the learning rates of the next 1 to H checkpoints, [B, H]; the schedule goes on in a line.

    Parameters
    ----------
    columns
        `learning_rate`, `iteration` and `epoch` of contexts, each [B, L].
    horizon
        H.
    """
    rate, iteration = (np.asarray(columns[name], dtype=np.float64) for name in ("learning_rate", "iteration"))
    places = iteration_positions(np.asarray(columns["epoch"]))
    passed = (places[:, -1:] + np.arange(1, horizon + 1)) // (places.max() + 1)  # iterations after the origin's, [B, H]
    # From the oldest checkpoint but the initialisation, which has the first iteration's rate.
    oldest = np.maximum(iteration[:, :1], 1)
    slope = (rate[:, -1:] - rate[:, :1]) / np.maximum(iteration[:, -1:] - oldest, 1)
    found: Float64 = np.cumsum(np.maximum(rate[:, -1:] + slope * passed, 0), axis=1)
    return found


def _chosen(count: int, wanted: int, rng: np.random.Generator) -> slice | npt.NDArray[np.int64]:
    """Which of `count` weights a fit uses: all, or as many as are wanted at random."""
    return slice(None) if count <= wanted else np.sort(rng.choice(count, wanted, replace=False))


def _solve(features: Float64, targets: Float64, ridge: float) -> Float64:
    """Coefficients [Q, H, F] of the normal equations, each feature penalised in proportion to its mean square."""
    squares = np.einsum("qhff->qhf", features)
    penalised = features + (ridge * squares + TINY)[..., None] * np.eye(features.shape[-1])
    return solved(penalised, targets[..., None])[..., 0]


def _objective(coefficients: Float64, features: Float64, targets: Float64) -> float:
    """Squared error over all horizons, less the part that does not depend on the coefficients."""
    quadratic = np.einsum("qhf,qhfg,qhg->", coefficients, features, coefficients)
    return float(quadratic - 2 * np.einsum("qhf,qhf->", coefficients, targets))
