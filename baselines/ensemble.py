"""The mean of several fits of one predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ..utils.errors import PredictorError
from .options import build_options
from .plugins.discovery import IN_TREE
from .plugins.lookup import predictor_type
from .predictor import Array, Contexts, FitCurve, FitTask, Options, Predictor, TrainingState, Weights

CONTEXT = "context"
"""Name of the state's entry that holds the length of the contexts that the members were fitted on."""
TRAINING = "training."
"""Before the names of what the training of a member keeps."""


class EnsembleOptions(Options):
    """How often is fitted, and what."""

    members: int = Field(3, ge=1)
    """Fits whose forecasts are averaged."""
    model: str = "tipl-neuron"
    """The predictor, one of this package."""
    budget: Literal["smoke", "quick", "standard", "paper"] = "quick"
    """The budget of each fit."""
    model_version: int | None = Field(None, ge=1)
    """The predictor's version; none: the one that is installed, which the record then states."""


class Ensemble(Predictor[EnsembleOptions]):
    """The mean forecast of one predictor fitted with several seeds; what is gained over it is what seeds are worth.

    With seed s and n members the seeds are n s, n s + 1, ..., n s + n - 1, so that ensembles of other seeds share none.
    """

    name: ClassVar[str] = "ensemble"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean forecast of several fits of one predictor, each with a seed of its own."
    options_type: ClassVar[type[Any]] = EnsembleOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"model": "mlp", "members": 2, "budget": "smoke"},
        "quick": {"budget": "quick"},
        "standard": {"budget": "standard"},
        "paper": {"budget": "paper"},
    }

    def __init__(self, options: EnsembleOptions) -> None:
        super().__init__(options)
        self.members: list[Predictor[Any]] = []
        self.context = 0

    @classmethod
    def resolve_options(cls, options: EnsembleOptions, context: int) -> EnsembleOptions:
        """See `Predictor.resolve_options`."""
        known = [name for name in IN_TREE if name != cls.name]
        if options.model not in known:
            raise ValueError(f"option model: unknown predictor {options.model!r}. Known: {', '.join(known)}.")
        kind = predictor_type(options.model)
        build_options(kind, options.budget, (), context)
        if options.model_version not in (None, kind.version):
            raise ValueError(
                f"option model_version is {options.model_version}, but {options.model} has version {kind.version} here."
            )
        return options.model_copy(update={"model_version": kind.version})

    @property
    def information_class(self) -> str:
        """That of its members."""
        return predictor_type(self.options.model).consumes

    def fit(self, task: FitTask) -> None:
        """Fit the members one after the other; what is kept has those that are done, and how far the next one is."""
        self.device, self.context, count = task.device, task.context, self.options.members
        members, resume = self._resumed(task.resume)
        for number in range(len(members), count):
            member = self._member()
            own = replace(
                task,
                seed=count * task.seed + number,
                progress=_part(task.progress, number, count),
                curve=FitCurve(),  # of its own, and not kept: steps of a run's curve rise
                resume=resume,
                keep=lambda state: task.keep(_kept(members, state)),
            )
            member.fit(own)
            members.append(member)
            resume = None
            if len(members) < count:
                task.keep(_kept(members, None))
        self.members = members

    def _resumed(self, kept: TrainingState | None) -> tuple[list[Predictor[Any]], TrainingState | None]:
        """The members that were done, and what the next one kept."""
        if kept is None:
            return [], None
        members = [self._loaded(number, kept.arrays) for number in range(kept.values["done"])]
        values = kept.values["values"]
        return members, None if values is None else TrainingState(_below(TRAINING, kept.arrays), values)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if not self.members:
            raise RuntimeError("ensemble was asked to predict before it was fitted or loaded.")
        total = np.zeros((len(contexts), horizon, contexts.weights.shape[2]))
        for member in self.members:
            total += member.predict(contexts, horizon)
        return (total / len(self.members)).astype(np.float32)

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        if not self.members:
            return {}
        return _states(self.members) | {CONTEXT: np.array([self.context])}

    @property
    def parameter_count(self) -> int:
        """Those of all members."""
        return sum(member.parameter_count for member in self.members)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.context = int(state[CONTEXT][0])
        self.members = [self._loaded(number, state) for number in range(self.options.members)]

    def _loaded(self, number: int, state: Mapping[str, Array]) -> Predictor[Any]:
        member = self._member()
        member.device = self.device
        member.load_state(_below(f"{number}.", state))
        return member

    def _member(self) -> Predictor[Any]:
        kind = predictor_type(self.options.model)
        if self.options.model_version not in (None, kind.version):
            raise PredictorError(
                f"The ensemble is of version {self.options.model_version} of {kind.name}, and version {kind.version} "
                "is installed: fit it again."
            )
        member: Predictor[Any] = kind(build_options(kind, self.options.budget, (), self.context))
        return member


def _states(members: Sequence[Predictor[Any]]) -> dict[str, Array]:
    return {f"{number}.{name}": array for number, one in enumerate(members) for name, array in one.state().items()}


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _kept(members: Sequence[Predictor[Any]], state: TrainingState | None) -> TrainingState:
    """The fitted states of members, and how far the one after them has come, if it has begun."""
    own = {} if state is None else {f"{TRAINING}{name}": array for name, array in state.arrays.items()}
    return TrainingState(_states(members) | own, {"done": len(members), "values": state and dict(state.values)})


def _part(report: Callable[[int, int, str], None], number: int, count: int) -> Callable[[int, int, str], None]:
    """Progress of one of several equal parts."""
    return lambda done, total, word: report(
        number * total + done, count * total, f"fit {number + 1} of {count}, {word}"
    )
