"""Predictors as third-party packages provide them: valid ones, invalid ones, and one that records its input."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tipl_bench.baselines.predictor import Array, Contexts, FitTask, NoOptions, Options, Predictor, Weights
from tipl_bench.utils.errors import DatasetError, OptionError, PredictorError


def persist(contexts: Contexts, horizon: int) -> Weights:
    """Repeat the last weights."""
    return np.repeat(contexts.weights[:, -1:], horizon, axis=1)


class ThirdParty(Predictor[NoOptions]):
    """Base class, which forecasts persistence."""

    name, version, summary = "third-party", 1, "A predictor of another package."

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon)


class Watching(ThirdParty):
    """Keeps every context that it is given."""

    name = "watching"

    def __init__(self, options: NoOptions, context_length: int = 20) -> None:
        super().__init__(options)
        self.context_length = context_length
        self.shown: list[Contexts] = []

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        self.shown.append(contexts)
        return persist(contexts, horizon)


class MutatesInput(ThirdParty):
    """Overwrites its contexts."""

    name = "mutates-input"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = persist(contexts, horizon)
        for array in (contexts.weights, contexts.observation_mean, *contexts.columns.values()):
            array[...] = -1
        return forecast


class Raising(ThirdParty):
    name = "raising"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        raise LookupError("no idea")


class RaisingInFit(ThirdParty):
    name = "raising-in-fit"

    def fit(self, task: FitTask) -> None:
        raise LookupError("nothing to learn from")


class WrongHorizon(ThirdParty):
    name = "wrong-horizon"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon - 1)


class WrongBatch(ThirdParty):
    name = "wrong-batch"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon)[:1]


class Integers(ThirdParty):
    name = "integers"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(np.int64)


class Text(ThirdParty):
    name = "text"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(str)


class ReturnsNone(ThirdParty):
    name = "returns-none"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return None


class Double(ThirdParty):
    """Forecasts float64."""

    name = "double"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(np.float64) + 1e-9


class Overflowing(ThirdParty):
    """Forecasts float64 numbers that are not finite as float32."""

    name = "overflowing"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(np.float64) + 1e300


class NotFinite(ThirdParty):
    """NaN in the last step of the second window."""

    name = "not-finite"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = persist(contexts, horizon)
        forecast[min(1, len(forecast) - 1), -1, 0] = np.nan
        return forecast


class Enormous(ThirdParty):
    """Finite weights so large that the policy's actions are NaN."""

    name = "enormous"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        signs = np.where(np.arange(contexts.weights.shape[-1]) % 2, 1.0, -1.0)
        return np.zeros_like(persist(contexts, horizon)) + np.float32(1e38) * signs.astype(np.float32)


@dataclass(frozen=True)
class KeepingOptions:
    """What is added to the origin."""

    shift: float = 0.5


class Keeping(Predictor[KeepingOptions]):
    """Learns a scalar, a flag and arrays."""

    name, version, summary = "keeping", 1, "Its state has every shape."
    options_type = KeepingOptions

    def __init__(self, options: KeepingOptions) -> None:
        super().__init__(options)
        self.learned: dict[str, Array] = {}

    def fit(self, task: FitTask) -> None:
        self.learned = {
            "scalar": np.array(1.5),
            "flag": np.array([True, False]),
            "fitted": np.arange(6.0).reshape(2, 3),
            "turned": np.arange(6.0).reshape(2, 3).T,
        }

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon) + np.float32(self.options.shift)

    def state(self) -> dict[str, Array]:
        return self.learned

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.learned = dict(state)


class Halting(ThirdParty):
    """Reports when it begins to fit or to predict, and waits there while a file exists."""

    name = "halting"

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        self.learned: dict[str, Array] = {}

    def fit(self, task: FitTask) -> None:
        _began("fit")
        self.learned = {"step": np.float32([0.01])}

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        _began("predict")
        return persist(contexts, horizon) + self.learned["step"]

    def state(self) -> dict[str, Array]:
        return self.learned

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.learned = dict(state)


def _began(stage: str) -> None:
    """Report the stage on standard error, the only output of a sandboxed process; wait while a file exists.

    The file stands where the predictors are installed.
    """
    os.write(2, f"began {stage}\n".encode())
    folder = Path(str(distribution("third-party-predictors").locate_file("")))
    while (folder / f"halt-in-{stage}").exists():
        time.sleep(0.01)


class InvalidVersion(ThirdParty):
    """Its version is not an integer."""

    name, version = "invalid-version", "1.0"  # type: ignore[assignment]


class NoSummary(Predictor[NoOptions]):
    """Has no summary."""

    name, version = "no-summary", 1

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon)


class InvalidConsumes(ThirdParty):
    """Its information class is None."""

    name, consumes = "invalid-consumes", None  # type: ignore[assignment]


@dataclass(frozen=True)
class ListOptionOptions:
    """A list, a type of option that a record cannot hold."""

    layers: tuple[int, ...] = (8, 8)


class LabelOptions(Options):
    """Free text, in which a comma is a comma."""

    label: str = "a"


class Label(ThirdParty):
    name, options_type = "label", LabelOptions


class ListOption(ThirdParty):
    name, options_type = "list-option", ListOptionOptions


class RaisingInInit(ThirdParty):
    """Fails when it is built."""

    name = "raising-in-init"

    def __init__(self, options: NoOptions) -> None:
        raise LookupError("no weights to begin with")


class FailsToLoad(Halting):
    """Cannot load its state."""

    name = "fails-to-load"

    def load_state(self, state: Mapping[str, Array]) -> None:
        raise LookupError("which state")


class MarkupInProgress(ThirdParty):
    """Reports progress in terminal markup."""

    name = "markup-in-progress"

    def fit(self, task: FitTask) -> None:
        task.progress(1, 1, "loss [/bold] [0.3]")


FORGED = "\x1b[31mno\u202e\nok    no access to test trials  \x1b]0;title\x07" + "x" * 3000


class ForgesError(ThirdParty):
    """Raises an error of this package whose text imitates a line of the report."""

    name = "forges-error"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        raise PredictorError(FORGED)


class ForgesErrorInFit(ThirdParty):
    """Raises a DatasetError."""

    name = "forges-error-in-fit"

    def fit(self, task: FitTask) -> None:
        task.progress(1, 2, FORGED)
        raise DatasetError(FORGED)


class ForgesErrorInInit(ThirdParty):
    """Raises an OptionError."""

    name = "forges-error-in-init"

    def __init__(self, options: NoOptions) -> None:
        raise OptionError(FORGED)


class NegativeParameterCount(ThirdParty):
    """Its parameter count is negative."""

    name, parameter_count = "negative-parameter-count", -3


class NanParameterCount(ThirdParty):
    name, parameter_count = "nan-parameter-count", np.nan  # type: ignore[assignment]


class FractionalContext(ThirdParty):
    """Its context length is not an integer."""

    name, context_length = "fractional-context", 5.7  # type: ignore[assignment]


class HugeContext(ThirdParty):
    name, context_length = "huge-context", 1 << 70


class BooleanContext(ThirdParty):
    name, context_length = "boolean-context", True


class NumpyIntegers(ThirdParty):
    """Its integers are numpy integers."""

    name, parameter_count, context_length = "numpy-integers", np.int64(3), np.uint8(25)  # type: ignore[assignment]


@dataclass(frozen=True)
class MarkupOptions:
    """Values in terminal markup."""

    shift: str = "[/x]"


class MarkupInSummary(ThirdParty):
    """Its summary and options hold terminal markup and invisible characters."""

    name, summary, options_type = (
        "markup-in-summary",
        "Forecasts [/x] in [red]\x1b[31mred\u202e\nand more",
        MarkupOptions,
    )
    budgets: ClassVar = {"smoke": {"shift": "[/y]"}, "[/z]": {"shift": "0"}}


class OnTime(ThirdParty):
    """Repeats the last three checkpoints."""

    name, late = "on-time", 0

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return contexts.weights[:, [-1 - (self.late - h) % 3 for h in range(1, horizon + 1)]]


class Early(OnTime):
    name, late = "early", -1


class Late(OnTime):
    name, late = "late", 1


class LongPast(ThirdParty):
    name, context_length = "long-past", 60


class NotAPredictor:
    """Not a predictor."""

    name = "not-a-predictor"


PREDICTORS = (
    *(ThirdParty, Raising, RaisingInFit, WrongHorizon, Integers, NotFinite, Enormous, Keeping, Halting, NotAPredictor),
    Label,
    *(InvalidVersion, NoSummary, InvalidConsumes, ListOption, RaisingInInit, FailsToLoad, MarkupInProgress),
    *(ForgesError, ForgesErrorInFit, ForgesErrorInInit, NegativeParameterCount, NanParameterCount),
    *(FractionalContext, HugeContext, BooleanContext, NumpyIntegers),
    MarkupInSummary,
)
"""Installed by the fixture `third_party_predictors`."""
