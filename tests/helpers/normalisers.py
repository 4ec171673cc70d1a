"""Predictors that forecast the observation normaliser: a right one, and wrong ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tipl_bench.baselines.predictor import Array, Contexts, FitTask, NoOptions, Predictor, Weights


class Forecasting(Predictor[NoOptions]):
    """Forecasts that everything stays as it is."""

    name, version, summary = "forecasting", 1, "Weights and normaliser at the origin."

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        return np.repeat(contexts.normaliser[:, -1:], horizon, axis=1)


class Knowing(Forecasting):
    """Forecasts what the first training trial did: the truth where all trials are the same."""

    name = "knowing"

    def fit(self, task: FitTask) -> None:
        tensors = task.train[0].tensors
        moments = np.stack([tensors["observation_mean"], tensors["observation_variance"]], axis=1)
        self.known = {"weights": np.array(tensors["weights"]), "moments": moments}

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return self.known["weights"][contexts.origin[:, None] + np.arange(1, horizon + 1)]

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        return self.known["moments"][contexts.origin[:, None] + np.arange(1, horizon + 1)]

    def state(self) -> Mapping[str, Array]:
        return self.known

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.known = dict(state)


class WithoutVariance(Forecasting):
    name = "without-variance"

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        return super().predict_normaliser(contexts, horizon)[:, :, :1]


class NegativeVariance(Forecasting):
    name = "negative-variance"

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        moments = super().predict_normaliser(contexts, horizon)
        moments[0, -1, 1, 0] *= -1
        return moments


class UndefinedMean(Forecasting):
    name = "undefined-mean"

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        moments = super().predict_normaliser(contexts, horizon)
        moments[0, 0, 0, 0] = np.nan
        return moments


class CentresNormaliser(Forecasting):
    """Forecasts the mean of the batch."""

    name = "centres-normaliser"

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        moments = super().predict_normaliser(contexts, horizon)
        return np.broadcast_to(moments.mean(axis=0), moments.shape)


class Undefined(Predictor[NoOptions]):
    """Says that it forecasts the normaliser, and does not define how."""

    name, version, summary = "undefined", 1, "A normaliser that is not defined."
    forecasts_normaliser = True

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)
