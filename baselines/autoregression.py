"""Ridge autoregression: the next differences are a fixed combination of the last ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..registry.trial import Trial, iteration_positions
from .gram import window_grams
from .predictor import Array, Contexts, FitTask, Predictor, Weights

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AutoregressionOptions:
    """The past it looks at, whether coefficients depend on the epoch within the iteration, and the ridge."""

    lags: int = 19
    per_position: bool = True
    ridge: float | None = None
    """Penalty as a share of the features' mean square; none: chosen on the validation trials."""

    def __post_init__(self) -> None:
        if not 1 <= self.lags <= 19:
            raise ValueError(f"lags is {self.lags}; a context of 20 checkpoints has 1 to 19 differences.")
        if self.ridge is not None and self.ridge < 0:
            raise ValueError(f"ridge is {self.ridge}; a penalty is 0 or more, or none to choose it.")


RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Autoregression(Predictor[AutoregressionOptions]):
    """Least squares from the last differences to the displacement at each horizon, shared by all weights.

    phi(t + h) - phi(t) = sum_k a[q, h, k] * (phi(t - k + 1) - phi(t - k)), with one set of coefficients a[q] per
    position q of the origin within its PPO iteration: checkpoints of one iteration share a batch, so their differences
    are alike, and those across its edge are not.
    """

    name: ClassVar[str] = "autoregression"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Ridge regression on past differences, coefficients shared by all weights."
    options_type: ClassVar[type[Any]] = AutoregressionOptions

    def __init__(self, options: AutoregressionOptions) -> None:
        super().__init__(options)
        self.coefficients: Float64 | None = None  # [Q, H, lags]

    def fit(self, task: FitTask) -> None:
        """Solve the ridge from inner products of differences; choose its penalty on the validation trials."""
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
        self.coefficients = min(candidates, key=lambda a: _excess(a, *validation))

    def _moments(self, trial: Trial, horizon: int) -> tuple[Float64, Float64]:
        """Sums over origins of X X^T [Q, lags, lags] and of X y_h [Q, H, lags]; lag 1 first."""
        lags = self.options.lags
        grams = window_grams(trial, lags, horizon)
        positions = iteration_positions(trial.columns["epoch"])[lags : lags + len(grams)]
        if not self.options.per_position:
            positions = np.zeros_like(positions)
        kinds = int(iteration_positions(trial.columns["epoch"]).max()) + 1 if self.options.per_position else 1
        features = np.zeros((kinds, lags, lags))
        targets = np.zeros((kinds, horizon, lags))
        for kind in range(kinds):
            total = grams[positions == kind].sum(axis=0)
            features[kind] = total[:lags, :lags][::-1, ::-1]
            targets[kind] = np.cumsum(total[lags:, :lags], axis=0)[:, ::-1]
        return features, targets

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.coefficients is None:
            raise RuntimeError("autoregression was asked to predict before it was fitted or loaded.")
        lags = self.options.lags
        kinds = np.zeros(len(contexts), dtype=np.int64)
        if self.options.per_position:
            kinds = iteration_positions(contexts.columns["epoch"])[:, -1]
        past = contexts.weights[:, -lags - 1 :]
        differences = np.diff(past, axis=1)[:, ::-1]  # lag 1 first
        coefficients = self.coefficients[kinds, :horizon].astype(np.float32)  # [B, H, lags]
        return past[:, -1:] + coefficients @ differences

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
    solved: Float64 = np.linalg.solve(penalised, targets.transpose(0, 2, 1)).transpose(0, 2, 1)
    return solved


def _excess(coefficients: Float64, features: Float64, targets: Float64) -> float:
    """Squared error over all horizons, less the part that does not depend on the coefficients."""
    quadratic = np.einsum("qhk,qkl,qhl->", coefficients, features, coefficients)
    return float(quadratic - 2 * np.einsum("qhk,qhk->", coefficients, targets))
