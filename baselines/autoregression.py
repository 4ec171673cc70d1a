"""Ridge autoregression: the next differences are a fixed combination of the last ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..registry.trial import Trial, iteration_positions
from ..utils.fields import later
from .fitting.gram import check_lengths, solved, window_grams
from .predictor import Array, Contexts, FitTask, Options, Predictor, Weights, check_reach
from .running_moments import continue_normaliser

Float64 = npt.NDArray[np.float64]


class AutoregressionOptions(Options):
    """The past it looks at, whether coefficients depend on the epoch within the iteration, and the ridge."""

    lags: int | None = Field(None, ge=1)
    """Past differences that are combined; none: all that the context has, one less than its checkpoints."""
    per_position: bool = True
    """Whether each position of the origin within its PPO iteration has its own coefficients."""
    ridge: float | None = Field(None, ge=0)
    """Penalty as a share of the features' mean square; none: chosen on the validation trials."""
    normaliser: bool = later(False)
    """Whether to forecast the observation normaliser too: its moments go on as over the last iteration."""


RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Autoregression(Predictor[AutoregressionOptions]):
    """Least squares from the last differences to the displacement at each horizon, shared by all weights.

    phi(t + h) - phi(t) = sum_k a[q, h, k] * (phi(t - k + 1) - phi(t - k)), with one set of coefficients a[q] per
    position q of the origin within its PPO iteration: checkpoints of one iteration share a batch, so their differences
    are correlated, and those across its edge are not.
    """

    name: ClassVar[str] = "autoregression"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Ridge regression on past differences, coefficients shared by all weights."
    options_type: ClassVar[type[Any]] = AutoregressionOptions
    transfers: ClassVar[bool] = True

    def __init__(self, options: AutoregressionOptions) -> None:
        super().__init__(options)
        self.coefficients: Float64 | None = None  # [Q, H, lags]

    @classmethod
    def resolve_options(cls, options: AutoregressionOptions, context: int) -> AutoregressionOptions:
        """See `Predictor.resolve_options`."""
        lags = options.lags or context - 1
        if lags >= context:
            raise ValueError(f"option lags is {lags}, but a context of {context} has {context - 1} differences.")
        return options.model_copy(update={"lags": lags})

    def fit(self, task: FitTask) -> None:
        """Solve the ridge from inner products of differences; choose its penalty on the validation trials."""
        self.options = self.resolve_options(self.options, task.context)
        check_lengths(task.train, task.context + task.horizon)
        total = len(task.train) + len(task.validation)
        done = 0

        def moments(trials: Sequence[Trial]) -> tuple[Float64, Float64]:
            nonlocal done
            sums = None
            for trial in trials:
                part = self._moments(trial, task.horizon)
                sums = part if sums is None else (sums[0] + part[0], sums[1] + part[1])
                done += 1
                task.progress(done, total, "inner products")
            assert sums is not None
            return sums

        features, targets = moments(task.train)
        validation = moments(task.validation)
        ridges = RIDGES if self.options.ridge is None else (self.options.ridge,)
        candidates = [_solve(features, targets, ridge) for ridge in ridges]
        self.coefficients = min(candidates, key=lambda a: _objective(a, *validation))

    def _moments(self, trial: Trial, horizon: int) -> tuple[Float64, Float64]:
        """Sums over origins of X X^T [Q, lags, lags] and of X y_h [Q, H, lags]; lag 1 first."""
        lags = self.options.lags
        assert lags is not None  # resolved by `fit`
        grams = window_grams(trial, lags, horizon)
        positions = iteration_positions(trial.columns["epoch"])[lags : lags + len(grams)]
        if not self.options.per_position:
            positions = np.zeros_like(positions)
        count = int(iteration_positions(trial.columns["epoch"]).max()) + 1 if self.options.per_position else 1
        features = np.zeros((count, lags, lags))
        targets = np.zeros((count, horizon, lags))
        for position in range(count):
            total = grams[positions == position].sum(axis=0)
            features[position] = total[:lags, :lags][::-1, ::-1]
            targets[position] = np.cumsum(total[lags:, :lags], axis=0)[:, ::-1]
        return features, targets

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.coefficients is None:
            raise RuntimeError("autoregression was asked to predict before it was fitted or loaded.")
        longest, lags = self.coefficients.shape[1:]
        check_reach(self, contexts, horizon, context=lags + 1, longest=longest)
        positions = np.zeros(len(contexts), dtype=np.int64)
        if self.options.per_position:
            positions = iteration_positions(contexts.columns["epoch"])[:, -1]
        past = contexts.weights[:, -lags - 1 :]
        differences = np.diff(past, axis=1)[:, ::-1]  # lag 1 first
        coefficients = self.coefficients[positions, :horizon].astype(np.float32)  # [B, H, lags]
        return past[:, -1:] + coefficients @ differences

    @property
    def forecasts_normaliser(self) -> bool:
        """See `Predictor.forecasts_normaliser`."""
        return self.options.normaliser

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        """See `Predictor.predict_normaliser`."""
        return continue_normaliser(contexts, horizon)

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        return {} if self.coefficients is None else {"coefficients": self.coefficients}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.coefficients = state["coefficients"]


def _solve(features: Float64, targets: Float64, ridge: float) -> Float64:
    """Coefficients [Q, H, lags] of the penalised normal equations."""
    lags = features.shape[-1]
    scale = np.trace(features, axis1=1, axis2=2)[:, None, None] / lags
    penalised = features + (ridge * scale + np.finfo(np.float64).tiny) * np.eye(lags)
    return solved(penalised, targets.transpose(0, 2, 1)).transpose(0, 2, 1)


def _objective(coefficients: Float64, features: Float64, targets: Float64) -> float:
    """Squared error over all horizons, less the part that does not depend on the coefficients."""
    quadratic = np.einsum("qhk,qkl,qhl->", coefficients, features, coefficients)
    return float(quadratic - 2 * np.einsum("qhk,qhk->", coefficients, targets))
