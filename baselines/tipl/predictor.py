"""TIPL: Transformer as Implicit Policy Learner (Tang 2025, arXiv 2503.04074).

A token is a checkpoint in temporal-SVD coordinates; a causal Transformer is trained on the next token's squared error
in weight space and forecasts further ahead by feeding its forecasts back. `design` lists every departure from the
published model (`published`). The chief ones:

- the basis is the SVD of the window's own context (`coordinates`), so it is honest for a trial never seen;
- coordinates are in units of the window's mean step, and a token also carries its last displacement;
- the timestep embedding counts from the window's start; the position within the PPO iteration is embedded beside it:
  an absolute timestep would let the model recite the mean trajectory;
- an SVD's signs and order are arbitrary, so training rotates every window's coordinates at random;
- windows are sampled in proportion to their squared step: the weighting of squared error in weight space.

What each is worth was measured one by one (docs/reproduction.md: InvertedPendulum, `quick`, one seed, mean skill of
h = 1, 2, 5, 10). Coordinates in the window's units take the published model from -4,000 to -0.04; the context's own
basis to 0.21, displacements as outputs to 0.39, a context that grows as far as it is rolled out from 0.41 to 0.53. Left
out of the whole, the basis costs 0.24, displacements 0.17, sampling by step 0.13, growing 0.11, the rest 0.06 at most.
Rotations cost 0.03 in so short a training. What `tipl-neuron` taught came later, as options: `ridge` begins at the
ridge line; without `rotations`, with `dropout` 0, twice the `learning_rate` and a `gradient_clip` of 1 as many steps
reach farther.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...registry.trial import iteration_positions
from ...utils.errors import PredictorError
from ..autoregression import Autoregression, AutoregressionOptions
from ..fitting.gram import context_grams
from ..fitting.torch_predictor import TorchPredictor
from ..predictor import Array, Contexts, FitTask, Weights, check_reach
from .backbone import Backbone
from .coordinates import window_coordinates
from .design import SUITE
from .options import TIPLOptions
from .tokens import context_tokens
from .training import fit_backbone, roll_out

LENGTHS = "lengths"
"""Name of the state's entry that holds the context and the horizon that were fitted for."""


class TIPL(TorchPredictor[TIPLOptions, Backbone]):
    """The Transformer over a window's temporal-SVD coordinates."""

    name: ClassVar[str] = "tipl"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Decision-Transformer backbone over temporal-SVD coordinates (arXiv 2503.04074)."
    options_type: ClassVar[type[Any]] = TIPLOptions
    transfers: ClassVar[bool] = True
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"layers": 1, "width": 32, "batch": 16, "steps": 20, "warmup": 5, "validate_every": 20},
        "quick": {"steps": 1_000, "learning_rate": 1e-3, "warmup": 100, "cosine": True, "validate_every": 200},
        "standard": {"steps": 30_000, "learning_rate": 5e-4, "warmup": 1_000, "cosine": True},
        "paper": {},
    }

    lengths: tuple[int, int] | None = None
    """The context and the horizon that it was fitted for; older saved states do not say."""

    @classmethod
    def resolve_options(cls, options: TIPLOptions, context: int) -> TIPLOptions:
        """See `Predictor.resolve_options`."""
        rank = options.rank or context - 1
        if rank >= context:
            raise ValueError(f"option rank is {rank}, but a context of {context} has {context - 1} coordinates.")
        return options.model_copy(update={"rank": rank})

    def fit(self, task: FitTask) -> None:
        """Train on windows of the training trials; keep the state best on the validation trials."""
        self.options = options = self.resolve_options(self.options, task.context)
        assert options.rank is not None
        rank, self.device, self.lengths = options.rank, task.device, (task.context, task.horizon)
        training, validation = (
            context_tokens(trials, task.context, task.horizon, rank) for trials in (task.train, task.validation)
        )
        design = SUITE.model_copy(update={"rotations": options.rotations})
        line = one_step_line(task) if options.ridge else None
        self.network = fit_backbone(options, design, task, training, validation, line)

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        return super().state() | ({LENGTHS: np.array(self.lengths)} if self.lengths else {})

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        if LENGTHS in state:
            self.lengths = (int(state[LENGTHS][0]), int(state[LENGTHS][1]))
        super().load_state({name: array for name, array in state.items() if name != LENGTHS})

    @property
    def parameter_count(self) -> int:
        """Those of the network."""
        return super().parameter_count - (len(self.lengths) if self.lengths else 0)

    def build(self, state: Mapping[str, Array]) -> Backbone:
        """See `TorchPredictor.build`."""
        return Backbone.of_state(self.options, state)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        model, weights = self.fitted, contexts.weights
        rank, length = model.head.out_features, weights.shape[1]
        context, longest = self.lengths or (length, model.timestep.num_embeddings - length + 1)
        check_reach(self, contexts, horizon, context=rank + 1, longest=longest)
        if length != context:
            raise PredictorError(
                f"{self.name} was fitted on contexts of {context} checkpoints and cannot forecast from {length}: fit "
                "it on such contexts."
            )
        return context_forecast(model, contexts, horizon, self.device)


def one_step_line(task: FitTask) -> Array:
    """The coefficients [Q, lags] of `autoregression` for the next difference, the last difference first."""
    line = Autoregression(AutoregressionOptions())
    line.fit(FitTask(task.train, task.validation, 1, task.context))
    assert line.coefficients is not None
    coefficients: Array = line.coefficients[:, 0].astype(np.float32)
    return coefficients


def context_forecast(model: Backbone, contexts: Contexts, horizon: int, device: str) -> Weights:
    """Roll out in each context's own temporal SVD, [B, H, P]."""
    weights = contexts.weights
    coordinates = window_coordinates(
        torch.from_numpy(context_grams(weights)), weights.shape[1], model.head.out_features
    )
    ahead = forecast_points(model, coordinates.points, contexts, horizon, device)
    mixture = (ahead * coordinates.scale[:, None, None]) @ coordinates.lift  # [B, H, L]
    relative = weights - weights[:, -1:]
    forecast: Weights = weights[:, -1:] + mixture.float().numpy() @ relative
    return forecast


def forecast_points(model: Backbone, points: Tensor, contexts: Contexts, horizon: int, device: str) -> Tensor:
    """The points [B, H, d] that follow a context's [B, L, d], in float64."""
    past = iteration_positions(contexts.columns["epoch"])
    count = model.position.num_embeddings if model.design.position else 1
    future = (past[:, -1:] + np.arange(1, horizon + 1)) % count
    positions = torch.from_numpy(np.concatenate([past, future], axis=1)).to(device)
    start = torch.from_numpy(contexts.origin - points.shape[1] + 1).to(device)
    with torch.no_grad():
        return roll_out(model, points.to(device), positions, start, horizon).cpu().double()
