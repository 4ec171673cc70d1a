"""The mean update of the training trials at the same place of the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..predictor import Array, Contexts, FitTask, NoOptions, Predictor, Weights, check_reach


class MeanTrajectory(Predictor[NoOptions]):
    """phi(t + h) = phi(t) + mean over training trials of phi(t + h) - phi(t).

    The control that tells learning from the schedule: it knows where in training the origin is, and nothing about the
    trial. Trials start from independent initialisations, and hidden units may be permuted, so that little is left in
    the mean. Beyond the training trials' end the mean policy stays where it is.
    """

    name: ClassVar[str] = "mean-trajectory"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean update of the training trials at the same checkpoint, whatever the trial did."
    consumes: ClassVar[str] = "statistics"

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        self.mean: Weights | None = None  # [T, P]

    def fit(self, task: FitTask) -> None:
        """Average the training trials, up to the end of the shortest."""
        length = min(map(len, task.train))
        mean = np.zeros((length, task.train[0].layout.parameter_count))
        for done, trial in enumerate(task.train):
            mean += (trial.weights(0, length) - mean) / (done + 1)
            task.progress(done + 1, len(task.train), "mean")
        self.mean = mean.astype(np.float32)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.mean is None:
            raise RuntimeError("mean-trajectory was asked to predict before it was fitted or loaded.")
        check_reach(self, contexts, horizon, context=1, parameters=self.mean.shape[1])
        last = len(self.mean) - 1
        places = np.minimum(contexts.origin[:, None] + np.arange(horizon + 1), last)  # [B, 1 + H]
        forecast: Weights = contexts.weights[:, -1:] + self.mean[places[:, 1:]] - self.mean[places[:, :1]]
        return forecast

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        return {} if self.mean is None else {"mean": self.mean}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.mean = state["mean"]
