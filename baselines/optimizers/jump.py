"""A jump: the actor's weights are moved to where a predictor forecasts that they will be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from ...registry.trial import COLUMNS
from ...rl import AgentLayout, Checkpoint, OuterRule
from ...rl.optimizer import SETTINGS, State
from ...utils.errors import PredictorError
from ...utils.files import sha256
from ...utils.text import one_line
from ..predictor import Contexts, Predictor
from .state_file import CONTEXT, load_state_file

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, config=SETTINGS)
class Jump(OuterRule):
    """Every few iterations, move the actor by what a predictor forecasts; critic and moments stay as they are.

    Its control jumps at the same times along the change of the last iteration, trial by trial exactly as far as the
    predictor forecasts there, on the control's own path: a forecast that is no better than a longer step does no better
    than that.
    """

    name: ClassVar[str] = "jump"
    summary: ClassVar[str] = "Move the actor to where a predictor forecasts it"

    predictor: str
    """A fitted state by its name, or the run folder of one; or a predictor that needs no fitting, by its name."""
    horizon: Annotated[int, Field(ge=1, le=1000)] = 10
    """Checkpoints ahead that are forecast; an iteration has five."""
    factor: Annotated[float, Field(gt=0)] = 1.0
    """What the forecast change is multiplied by."""
    period: Annotated[int, Field(ge=1)] = 5
    """PPO iterations between two jumps."""
    direction: Literal["forecast", "last-change"] = "forecast"
    """Where to: as forecast, or (the control) the forecast's length along the last iteration's change."""

    @cached_property
    def forecaster(self) -> Predictor[Any]:
        """The predictor, ready to forecast; loaded when first used."""
        return load_state_file(self.predictor)

    @property
    def history(self) -> int:  # type: ignore[override]
        """The predictor's context, which holds one iteration at least."""
        return max(CONTEXT, self.forecaster.context_length)

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """Make a first forecast, of weights that stand still: what cannot jump fails before anything is trained.

        Raises
        ------
        PredictorError
            If the predictor is not fitted, or not for such policies.
        """
        vars(self)["policy"] = layout.policy  # no setting: the same in every training of such trials
        weights = np.repeat(parameters[:1, None, layout.blocks["actor"]].numpy(), self.history, axis=1)
        moments = np.zeros((1, self.history, layout.policy.observation_size))
        epochs = np.arange(self.history)[None]
        columns = {name: np.zeros_like(epochs) for name in COLUMNS}
        columns |= {"iteration": epochs // 5 + 1, "epoch": 2 * (epochs % 5) + 2}
        count = np.ones((1, self.history))
        self._forecast(Contexts(weights, moments, moments + 1, count, columns, epochs[:, -1], layout.policy))
        return {}

    def end_of_iteration(self, parameters: Tensor, state: State, trajectory: Sequence[Checkpoint]) -> Tensor:
        """See `OuterRule.end_of_iteration`; a trial whose weights or forecast are not finite does not jump."""
        last = trajectory[-1]
        if last.iteration % self.period or len(trajectory) < self.history:
            return parameters
        finite = np.flatnonzero(np.isfinite([one.weights for one in trajectory]).all(axis=(0, 2)))
        contexts = self._contexts(trajectory).take(finite)
        change = self._forecast(contexts) - contexts.weights[:, -1]
        change[~np.isfinite(change).all(axis=1)] = 0
        if self.direction == "last-change":
            before = next(one for one in reversed(trajectory) if one.iteration < last.iteration)
            change = _along((last.weights - before.weights)[finite], change)
        parameters[torch.from_numpy(finite), : change.shape[1]] += self.factor * torch.from_numpy(change)
        return parameters

    def describe(self) -> dict[str, Any]:
        """See `OuterRule.describe`; the predictor's state is described by its bytes, wherever it is."""
        path = Path(self.predictor)
        return {**super().describe(), "predictor": sha256(path) if path.is_file() else self.predictor}

    def _contexts(self, trajectory: Sequence[Checkpoint]) -> Contexts:
        def column(name: str) -> npt.NDArray[Any]:
            values = np.stack([np.broadcast_to(getattr(one, name), len(one.weights)) for one in trajectory], axis=1)
            return values

        def stacked(name: str) -> npt.NDArray[Any]:
            return np.stack([getattr(one, name) for one in trajectory], axis=1)

        return Contexts(
            weights=stacked("weights"),
            observation_mean=stacked("observation_mean"),
            observation_variance=stacked("observation_variance"),
            observation_count=stacked("observation_count"),
            columns={name: column(name) for name in COLUMNS},
            origin=np.full(len(trajectory[-1].weights), trajectory[-1].row),
            layout=vars(self)["policy"],
        )

    def _forecast(self, contexts: Contexts) -> Float32:
        """The weights [B, P] that are forecast for the horizon's end."""
        if not len(contexts):
            return np.empty((0, contexts.weights.shape[-1]), np.float32)
        try:
            forecasts = np.asarray(self.forecaster.predict(contexts, self.horizon), np.float32)
        except Exception as error:  # an unfitted predictor may fail in any way
            why = one_line(error, 200) or type(error).__name__
            raise PredictorError(
                f"A jump cannot forecast with {self.predictor} ({why}). Give the run folder or the name of a state "
                "that was fitted on such policies (`tipl-bench forecast` lists those that ship)."
            ) from None
        expected = (len(contexts), self.horizon, contexts.weights.shape[-1])
        if forecasts.shape != expected:
            raise PredictorError(
                f"{self.predictor}: forecasts are of shape {list(forecasts.shape)}, not {list(expected)}."
            )
        return forecasts[:, -1]


def _along(direction: Float32, change: Float32) -> Float32:
    """A direction [N, P] scaled, trial by trial, to the length of a change [N, P]; 0 where it has none."""
    length, wanted = (np.linalg.norm(one.astype(np.float64), axis=1, keepdims=True) for one in (direction, change))
    scale = np.divide(wanted, length, out=np.zeros_like(length), where=length > 0)
    scaled: Float32 = (scale * direction).astype(np.float32)
    return scaled
