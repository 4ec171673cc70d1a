"""Predictors that report how they are fitted, as packages outside do it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from tipl_bench.baselines.predictor import (
    Array,
    Contexts,
    FitTask,
    NoOptions,
    Predictor,
    TrainingState,
    Weights,
)


class NoCurve(Predictor[NoOptions]):
    """Adds points that are no numbers to the curve of its fit."""

    name, version, summary = "no-curve", 1, "Its curve is no table."

    def fit(self, task: FitTask) -> None:
        task.curve.add("first", training="low")  # type: ignore[arg-type]

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)


class TwoHalves(Predictor[NoOptions]):
    """Keeps its state half way and ends there; a fit that is resumed does the rest."""

    name, version, summary = "two-halves", 1, "Its first fit ends half way."

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        self.learned: dict[str, Array] = {}

    def fit(self, task: FitTask) -> None:
        if task.resume is None:
            arrays = {"half": np.arange(3.0), "none": np.empty((0, 2)), "number": np.array(2.5)}
            task.keep(TrainingState(arrays, {"step": 1}))
            os._exit(3)
        assert task.resume.values == {"step": 1}
        assert {name: array.shape for name, array in task.resume.arrays.items()} == {
            "half": (3,),
            "none": (0, 2),
            "number": (),
        }
        self.learned = {"whole": 2 * task.resume.arrays["half"]}

    def state(self) -> dict[str, Array]:
        return self.learned

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.learned = dict(state)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)


class Curved(Predictor[NoOptions]):
    """Adds five points to the curve of its fit, and reports progress after each."""

    name, version, summary = "curved", 1, "Its losses fall."

    def fit(self, task: FitTask) -> None:
        for step in range(5):
            known = step % 2 == 0
            task.curve.add(10 * step, training=1 / (step + 3), validation=1 / (step + 1) if known else None, kept=known)
            task.progress(step + 1, 5, "")

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)
