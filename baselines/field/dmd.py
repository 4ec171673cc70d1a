"""Dynamic mode decomposition of a window: its differences as the orbit of one linear map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ...registry.trial import Trial
from ...utils.errors import PredictorError
from ..fitting.gram import check_lengths, context_grams, window_grams
from ..predictor import Array, Contexts, FitTask, Options, Predictor, Weights, check_reach

Float64 = npt.NDArray[np.float64]

LARGEST = 10
"""The largest rank that is tried; from about 6 on, forecasts of ten steps explode."""


class DMDOptions(Options):
    """The rank."""

    rank: int | None = Field(None, ge=1)
    """Modes that are kept; none: chosen on the validation trials."""


class DMD(Predictor[DMDOptions]):
    """Exact DMD (Tu et al. 2014) of a trial's own context, used to forecast training by Dogra and Redman (2020).

    With differences X = [d_1 .. d_{L-2}] and Y = [d_2 .. d_{L-1}], d(t + h) = A^h d(t) for A = Y X^+, where X is cut to
    its leading singular values. The original decomposes the weights themselves and keeps one mode. Here differences are
    decomposed, so that a forecast starts at the origin: what the modes of the weights leave out is larger than the
    steps to forecast. The rank is chosen by mean skill on the validation trials. A forecast is a combination of Y, so
    that inner products are all that is needed.
    """

    name: ClassVar[str] = "dmd"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Dynamic mode decomposition of the context, its rank chosen on validation trials."
    options_type: ClassVar[type[Any]] = DMDOptions

    @classmethod
    def resolve_options(cls, options: DMDOptions, context: int) -> DMDOptions:
        """See `Predictor.resolve_options`."""
        if options.rank is not None and options.rank > max(1, context - 2):
            raise ValueError(f"option rank is {options.rank}, but a context of {context} has {context - 2} modes.")
        return options

    def __init__(self, options: DMDOptions) -> None:
        super().__init__(options)
        self.rank = options.rank

    def fit(self, task: FitTask) -> None:
        """Choose the rank, unless it is given."""
        if self.options.rank is not None:
            return
        ranks = range(1, max(1, min(task.context - 2, LARGEST)) + 1)
        check_lengths(task.validation, task.context + task.horizon)
        errors, still = np.zeros((len(ranks), task.horizon)), np.zeros(task.horizon)
        for done, trial in enumerate(task.validation):
            error, displacement = _errors(trial, task.context - 1, task.horizon, ranks)
            errors += error
            still += displacement
            task.progress(done + 1, len(task.validation), "ranks")
        if not still.all():
            raise PredictorError("no weight of the validation trials moves; there is nothing to choose the rank by.")
        self.rank = ranks[int((errors / still).mean(axis=1).argmin())]

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.rank is None:
            raise RuntimeError("dmd was asked to predict before it was fitted or loaded.")
        check_reach(self, contexts, horizon, context=2)
        forecast = np.empty((len(contexts), horizon, contexts.weights.shape[2]), dtype=np.float32)
        for row, gram in enumerate(context_grams(contexts.weights)):
            steps = coefficients(gram, self.rank, horizon).astype(np.float32)
            forecast[row] = contexts.weights[row, -1] + steps @ np.diff(contexts.weights[row], axis=0)
        return forecast

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        return {} if self.rank is None else {"rank": np.array(self.rank)}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.rank = int(state["rank"])


def coefficients(gram: Float64, rank: int, horizon: int) -> Float64:
    """Displacements as combinations of the context's differences, [H, lags], from their Gram matrix [lags, lags]."""
    ahead = np.zeros((horizon, len(gram)))
    if len(gram) < 2 or not gram.any():  # no map can be told from less than two differences
        return ahead
    values, vectors = np.linalg.eigh(gram[:-1, :-1])
    values, vectors = values[-rank:], vectors[:, -rank:]
    kept = values > values[-1] * np.finfo(np.float64).eps
    basis = vectors[:, kept] / np.sqrt(values[kept])  # X basis is orthonormal
    step = basis.T @ gram[:-1, 1:] @ basis  # the map between coordinates
    coordinates = basis.T @ gram[:-1, -1]  # of the last difference
    for row in ahead:
        row[1:] = basis @ coordinates
        coordinates = step @ coordinates
    return np.cumsum(ahead, axis=0)


def _errors(trial: Trial, lags: int, horizon: int, ranks: range) -> tuple[Float64, Float64]:
    """Squared errors [ranks, H], and squared displacements [H], summed over a trial's windows."""
    errors, still = np.zeros((len(ranks), horizon)), np.zeros(horizon)
    future = np.tri(horizon)
    for gram in window_grams(trial, lags, horizon):
        still += np.einsum("hk,kl,hl->h", future, gram[lags:, lags:], future)
        for place, rank in enumerate(ranks):
            missed = np.hstack([coefficients(gram[:lags, :lags], rank, horizon), -future])
            errors[place] += np.einsum("hk,kl,hl->h", missed, gram, missed)
    return errors, still
