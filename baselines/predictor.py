"""The contract of a predictor; this page is the tutorial.

A predictor forecasts the next weights of a policy in training from the past of that one training run::

    import numpy as np

    from tipl_bench.baselines.predictor import Contexts, NoOptions, Predictor, Weights


    class Persistence(Predictor[NoOptions]):
        name, version, summary = "my-persistence", 1, "The last weights, again"

        def predict(self, contexts: Contexts, horizon: int) -> Weights:
            return np.repeat(contexts.weights[:, -1:], horizon, axis=1)

Shapes: B windows, L checkpoints of past, H checkpoints ahead, P parameters, O observations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ..registry.trial import Trial
from ..rl import PolicyLayout
from ..utils.errors import PredictorError
from .saving import OptionsT, Saveable

Weights = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Output = Literal["forecasts", "normaliser"]
OUTPUT_DTYPES: Mapping[Output, str] = {"forecasts": "float32", "normaliser": "float64"}
"""What a predictor may forecast, weights and the observation normaliser that they act with, and how it is stored."""

INFORMATION_CLASSES = {
    "weights": "past weights of the trial, and each checkpoint's place within its training iteration",
    "statistics": "also the schedule (steps, learning rate), training returns and observation statistics of the trial",
    "more-trials": "also more training trials of the same kind than the dataset's own; a run states this, no predictor",
    "pretrained": "also parameters trained elsewhere, on other data than the training trials",
    "environment": "also the environment: its rewards, dynamics or a simulation of it",
    "gradients": "also gradients of the trial's training",
}
"""What forecasts rest on, from least to most; a predictor states in `consumes` the last class that applies to it."""
MORE_TRIALS, PRETRAINED = "more-trials", "pretrained"
PREDICTOR_CLASSES = tuple(name for name in INFORMATION_CLASSES if name != MORE_TRIALS)
"""The information classes that a predictor may state; `MORE_TRIALS` is a run's."""


class Options(BaseModel):
    """Base of a predictor's options: a frozen model whose fields `--set name=value` sets.

    Values are bool, int, float, str or None; ranges are `Field` constraints, and a line under a field describes it. A
    plain frozen dataclass will do as well.

    Examples
    --------
    >>> from pydantic import Field
    >>> from tipl_bench import Options
    >>> class Damped(Options):
    ...     damping: float = Field(0.5, ge=0, le=1)
    >>> Damped(damping=0.25)
    Damped(damping=0.25)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class NoOptions(Options):
    """For predictors without options."""


def class_with_fit_set(consumes: str, *, elsewhere: bool = False) -> str:
    """The information class of a predictor's forecasts if it is fitted on another dataset, or elsewhere.

    More trials of the same kind are one class; trials of another environment are, as any pretraining, a greater one.
    """
    classes, least = [*INFORMATION_CLASSES], PRETRAINED if elsewhere else MORE_TRIALS
    return least if consumes in classes[: classes.index(least)] else consumes


@dataclass(frozen=True)
class Contexts:
    """The pasts of B windows, the origin last; copies, with no way back to the dataset.

    L is the protocol's context; where a predictor's `context_length` is more, it is up to that.

    Parameters
    ----------
    weights
        [B, L, P] float32.
    observation_mean, observation_variance, observation_count
        Of the observation normaliser at each checkpoint: [B, L, O] float64, and the observations it had seen, [B, L].
    columns
        `environment_steps`, `iteration`, `epoch`, `learning_rate` and `episodic_return`, each [B, L].
    origin
        The origin's checkpoint number in its trial, [B] int64; 0 is the initialisation.
    layout
        Names and shapes of the parameters within P.
    """

    weights: Weights
    observation_mean: npt.NDArray[np.float64]
    observation_variance: npt.NDArray[np.float64]
    observation_count: npt.NDArray[np.float64]
    columns: Mapping[str, Array]
    origin: npt.NDArray[np.int64]
    layout: PolicyLayout

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def normaliser(self) -> npt.NDArray[np.float64]:
        """Mean and variance of the observation normaliser, [B, L, 2, O]."""
        return np.stack([self.observation_mean, self.observation_variance], axis=2)

    def take(self, rows: npt.NDArray[np.intp]) -> Contexts:
        """Some of the windows.

        Parameters
        ----------
        rows
            Their numbers, [b] integers.

        Returns
        -------
        Contexts
            The pasts of those b windows.
        """
        return Contexts(
            weights=self.weights[rows],
            observation_mean=self.observation_mean[rows],
            observation_variance=self.observation_variance[rows],
            observation_count=self.observation_count[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
            origin=self.origin[rows],
            layout=self.layout,
        )


def forecast_shape(output: Output, contexts: Contexts, horizon: int) -> tuple[int, ...]:
    """[B, H, P] of weights; [B, H, 2, O] of the normaliser, its mean and then its variance."""
    last = contexts.weights.shape[-1:] if output == "forecasts" else (2, contexts.observation_mean.shape[-1])
    return (len(contexts), horizon, *last)


class FitCurve:
    """How a predictor's losses fell as it was fitted: a run writes the points to `fit.csv`, and draws them.

    Optional; a predictor that trains in steps adds a point whenever it looks at its validation loss.
    """

    def __init__(self) -> None:
        self.points: list[tuple[int, float | None, float | None, bool]] = []

    def add(
        self, step: int, *, training: float | None = None, validation: float | None = None, kept: bool = False
    ) -> None:
        """Add a point.

        Parameters
        ----------
        step
            Steps of training done, more than at the point before.
        training, validation
            The losses, in whatever unit the predictor has for each; None where one is not known.
        kept
            Whether the state of this step is the one to keep, unless a later point's is.
        """
        self.points.append((step, training, validation, kept))


@dataclass(frozen=True)
class TrainingState:
    """How far a fit had come, to go on from there after an interruption: arrays, and whatever else JSON can hold."""

    arrays: Mapping[str, Array]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class FitTask:
    """The data and settings that a predictor is fitted with.

    Parameters
    ----------
    train, validation
        Trials to fit on and to tune on.
    horizon
        H, the number of checkpoints that will have to be forecast.
    context
        L, the number of checkpoints that `predict` will be shown.
    device
        A torch device's name, "cpu" or "cuda".
    seed
        The only source of randomness.
    progress
        Call it with steps done, steps in all, and a short status message.
    curve
        Where to add the losses of training, for the run's `fit.csv` and figure; optional.
    resume
        What the same fit kept last before it was interrupted; none: begin.
    keep
        Call it every few minutes with what `resume` will have to be; optional.
    """

    train: Sequence[Trial]
    validation: Sequence[Trial]
    horizon: int
    context: int
    device: str = "cpu"
    seed: int = 0
    progress: Callable[[int, int, str], None] = lambda done, total, word: None
    curve: FitCurve = field(default_factory=FitCurve)
    resume: TrainingState | None = None
    keep: Callable[[TrainingState], None] = lambda state: None


class Predictor(Saveable[OptionsT], ABC):
    """A forecaster of policy weights: subclass it and define `predict`.

    Class attributes describe it: `name`; `version`, raised when its forecasts change; `summary`, one line;
    `options_type`, an `Options` model or a frozen dataclass; `budgets`, option values by budget name;
    `context_length`, how many checkpoints of the past it wants where that is more than the protocol's context;
    `consumes`, its information class, one of `INFORMATION_CLASSES`; where an option adds to it, override the property
    `information_class`; `transfers`, whether what is fitted on the policies of one environment forecasts those of
    another, whatever their layout.

    Parameters
    ----------
    options
        An instance of `options_type`.

    Examples
    --------
    >>> import numpy as np
    >>> from tipl_bench import NoOptions, Predictor
    >>> class Persistence(Predictor[NoOptions]):
    ...     name, version, summary = "my-persistence", 1, "The last weights, again"
    ...
    ...     def predict(self, contexts, horizon):
    ...         return np.repeat(contexts.weights[:, -1:], horizon, axis=1)
    >>> Persistence(NoOptions()).parameter_count
    0
    """

    summary: ClassVar[str]
    options_type: ClassVar[type[Any]] = NoOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    consumes: ClassVar[str] = "weights"
    context_length: int = 0
    transfers: ClassVar[bool] = False

    @classmethod
    def resolve_options(cls, options: OptionsT, context: int) -> OptionsT:
        """Set defaults that depend on the length of contexts; options stay as they are by default.

        Parameters
        ----------
        options
            The options that were chosen.
        context
            L, in checkpoints.

        Returns
        -------
        Options
            The options to run with.

        Raises
        ------
        ValueError
            If such contexts are too short for the options.
        """
        return options

    def fit(self, task: FitTask) -> None:
        """Learn from the training trials; the default learns nothing.

        Parameters
        ----------
        task
            The trials to learn from, the lengths of context and horizon, the device, and the seed of all randomness.
        """
        return

    @abstractmethod
    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """Forecast the next checkpoints, each window by itself.

        Parameters
        ----------
        contexts
            The pasts of B windows.
        horizon
            H, how many checkpoints to forecast.

        Returns
        -------
        ndarray
            The weights at the checkpoints after the origin, [B, H, P] float32.
        """

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> Array:
        """Forecast the observation normaliser at the same checkpoints, each window by itself.

        Optional: a forecast policy acts with its normaliser at the origin, or with this.

        Parameters
        ----------
        contexts, horizon
            As for `predict`.

        Returns
        -------
        ndarray
            Mean and variance of each observation, [B, H, 2, O] float64, in units of the observation and its square.
        """
        raise NotImplementedError(f"{self.name} forecasts no normaliser: it defines no predict_normaliser.")

    @property
    def forecasts_normaliser(self) -> bool:
        """Whether `predict_normaliser` is called; by default, whether the class defines it."""
        return type(self).predict_normaliser is not Predictor.predict_normaliser

    @property
    def information_class(self) -> str:
        """`consumes`, or "statistics" if that is more: a forecast of the normaliser rests on its past."""
        return "statistics" if self.forecasts_normaliser and self.consumes == "weights" else self.consumes


def check_reach(
    predictor: Predictor[Any],
    contexts: Contexts,
    horizon: int,
    *,
    context: int,
    longest: int | None = None,
    parameters: int | None = None,
) -> None:
    """Refuse what a predictor cannot forecast from, or as far ahead.

    Parameters
    ----------
    predictor, contexts, horizon
        What is asked to predict, from what, and how many checkpoints.
    context
        The fewest checkpoints that it can forecast from.
    longest
        The longest horizon that it can forecast; none: any.
    parameters
        The parameters of the policies that it was fitted on; none: it forecasts those of any others.

    Raises
    ------
    PredictorError
        If the contexts are shorter, the horizon is longer, or the policies are others.
    """
    given, count = contexts.weights.shape[1:]
    if given < context:
        raise PredictorError(
            f"{predictor.name} forecasts from at least {context} checkpoints and was given {given}: show it longer "
            "contexts, or fit it on such ones (`FitTask.context`)."
        )
    if longest is not None and horizon > longest:
        raise PredictorError(
            f"{predictor.name}, as it was fitted, forecasts up to {longest} checkpoints ahead and was asked for "
            f"{horizon}: fit it for such a horizon (`FitTask.horizon`)."
        )
    if parameters is not None and count != parameters:
        raise PredictorError(
            f"{predictor.name} was fitted on policies of {parameters} parameters and was given some of {count}: fit it "
            "on such policies."
        )
