"""Predictors as other people's packages bring them: well behaved, badly behaved, and watching."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tipl_bench.baselines.predictor import Array, Contexts, FitTask, NoOptions, Predictor, Weights
from tipl_bench.utils.errors import DatasetError, OptionError, PredictorError


def persist(contexts: Contexts, horizon: int) -> Weights:
    """The last weights, again."""
    return np.repeat(contexts.weights[:, -1:], horizon, axis=1)


class Outside(Predictor[NoOptions]):
    """What the outside predictors here share."""

    name, version, summary = "outside", 1, "A predictor of another package."

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon)


class Watching(Outside):
    """Keeps every context that it is shown, as it is."""

    name = "watching"

    def __init__(self, options: NoOptions, context_length: int = 20) -> None:
        super().__init__(options)
        self.context_length = context_length
        self.shown: list[Contexts] = []

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        self.shown.append(contexts)
        return persist(contexts, horizon)


class Scribbling(Outside):
    """Overwrites what it is shown."""

    name = "scribbling"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = persist(contexts, horizon)
        for array in (contexts.weights, contexts.observation_mean, *contexts.columns.values()):
            array[...] = -1
        return forecast


class Raising(Outside):
    name = "raising"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        raise LookupError("no idea")


class RaisingInFit(Outside):
    name = "raising-in-fit"

    def fit(self, task: FitTask) -> None:
        raise LookupError("nothing to learn from")


class Short(Outside):
    name = "short"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon - 1)


class Lonely(Outside):
    name = "lonely"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon)[:1]


class Integers(Outside):
    name = "integers"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(np.int64)


class Text(Outside):
    name = "text"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(str)


class Nothing(Outside):
    name = "nothing"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return None


class Double(Outside):
    """Forecasts float64."""

    name = "double"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(np.float64) + 1e-9


class Overflowing(Outside):
    """Forecasts float64 numbers that are not finite as float32."""

    name = "overflowing"

    def predict(self, contexts: Contexts, horizon: int) -> Any:
        return persist(contexts, horizon).astype(np.float64) + 1e300


class Undefined(Outside):
    """Not a number in the last step of the second window it is shown."""

    name = "undefined"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = persist(contexts, horizon)
        forecast[1, -1, 0] = np.nan
        return forecast


class Enormous(Outside):
    """Finite weights, so large that the policy's actions are not numbers."""

    name = "enormous"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        signs = np.where(np.arange(contexts.weights.shape[-1]) % 2, 1.0, -1.0)
        return np.zeros_like(persist(contexts, horizon)) + np.float32(1e38) * signs.astype(np.float32)


@dataclass(frozen=True)
class KeepingOptions:
    """What is added to the origin."""

    shift: float = 0.5


class Keeping(Predictor[KeepingOptions]):
    """Learns a scalar, a flag and an array named as it likes."""

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


class Halting(Outside):
    """Says that it began to fit or to predict, and where a file tells it to, stops there for good."""

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
    """Say the stage on standard error, the only place outside that it may write to; halt if a file says so."""
    os.write(2, f"began {stage}\n".encode())
    folder = Path(os.environ["HALTING_FOLDER"])
    while (folder / f"halt-in-{stage}").exists():
        time.sleep(0.01)


class Unversioned(Outside):
    """Says no whole number."""

    name, version = "unversioned", "1.0"  # type: ignore[assignment]


class Nondescript(Predictor[NoOptions]):
    """Has no summary."""

    name, version = "nondescript", 1

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return persist(contexts, horizon)


class Unlisted(Outside):
    """Consumes what no table has a name for."""

    name, consumes = "unlisted", None  # type: ignore[assignment]


@dataclass(frozen=True)
class ListedOptions:
    """A list, which no record holds as an option."""

    layers: tuple[int, ...] = (8, 8)


class Listed(Outside):
    name, options_type = "listed", ListedOptions


class Failing(Outside):
    """Fails before it is asked for anything."""

    name = "failing"

    def __init__(self, options: NoOptions) -> None:
        raise LookupError("no weights to begin with")


class Amnesiac(Halting):
    """Cannot take up what it saved."""

    name = "amnesiac"

    def load_state(self, state: Mapping[str, Array]) -> None:
        raise LookupError("which state")


class Marking(Outside):
    """Reports progress in words that look like a terminal's markup."""

    name = "marking"

    def fit(self, task: FitTask) -> None:
        task.progress(1, 1, "loss [/bold] [0.3]")


FORGED = "\x1b[31mno\u202e\nok    targets out of reach  \x1b]0;title\x07" + "x" * 3000


class Forger(Outside):
    """Raises an error of the suite's own, whose text would look like a line of the report."""

    name = "forger"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        raise PredictorError(FORGED)


class ForgerInFit(Outside):
    """Blames its dataset."""

    name = "forger-in-fit"

    def fit(self, task: FitTask) -> None:
        task.progress(1, 2, FORGED)
        raise DatasetError(FORGED)


class ForgerAtStart(Outside):
    """Blames who typed its options."""

    name = "forger-at-start"

    def __init__(self, options: NoOptions) -> None:
        raise OptionError(FORGED)


class Indebted(Outside):
    """Learned less than nothing."""

    name, parameter_count = "indebted", -3


class Uncounted(Outside):
    name, parameter_count = "uncounted", np.nan  # type: ignore[assignment]


class Fractional(Outside):
    """Wants a part of a checkpoint."""

    name, context_length = "fractional", 5.7  # type: ignore[assignment]


class Insatiable(Outside):
    name, context_length = "insatiable", 1 << 70


class Affirmative(Outside):
    name, context_length = "affirmative", True


class Counting(Outside):
    """Its whole numbers are numpy's."""

    name, parameter_count, context_length = "counting", np.int64(3), np.uint8(25)  # type: ignore[assignment]


@dataclass(frozen=True)
class BracketedOptions:
    """Values that look like a terminal's markup."""

    shift: str = "[/x]"


class Bracketed(Outside):
    """Says of itself what looks like a terminal's markup, and what is not seen."""

    name, summary, options_type = "bracketed", "Forecasts [/x] in [red]\x1b[31mred\u202e\nand more", BracketedOptions
    budgets: ClassVar = {"smoke": {"shift": "[/y]"}, "[/z]": {"shift": "0"}}


class Impostor:
    """Not a predictor."""

    name = "impostor"


PREDICTORS = (
    *(Outside, Raising, RaisingInFit, Short, Integers, Undefined, Enormous, Keeping, Halting, Impostor),
    *(Unversioned, Nondescript, Unlisted, Listed, Failing, Amnesiac, Marking),
    *(Forger, ForgerInFit, ForgerAtStart, Indebted, Uncounted, Fractional, Insatiable, Affirmative, Counting),
    Bracketed,
)
"""Those that `conftest.outside` announces by entry points."""
