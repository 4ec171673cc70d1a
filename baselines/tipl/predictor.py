"""TIPL: Transformer as Implicit Policy Learner (Tang 2025, arXiv 2503.04074).

A token is a checkpoint in temporal-SVD coordinates; a causal Transformer is trained on the next token's squared error
in weight space and forecasts further ahead by feeding its forecasts back. Choices where the paper is silent:

- the basis is the SVD of the window's own context (`coordinates`), so it is honest for a trial never seen;
- coordinates are in units of the window's mean step, and a token also carries its last displacement;
- the timestep embedding counts from the window's start; the position within the PPO iteration is embedded beside it:
  an absolute timestep would let the model recite the mean trajectory;
- an SVD's signs and order are arbitrary, so training rotates every window's coordinates at random;
- windows are sampled in proportion to their squared step: the weighting of squared error in weight space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...registry.trial import Trial, iteration_positions
from ...utils.errors import PredictorError
from ..fitting.gram import context_grams, window_grams
from ..fitting.torch_predictor import Schedule, TorchPredictor, seeded, train
from ..fitting.windows import TrainingWindows
from ..predictor import Array, Contexts, FitTask, Weights, check_reach
from .backbone import Backbone
from .coordinates import window_coordinates
from .options import TIPLOptions

FIRST_TRAINED = 4
"""Tokens with less past than this are not trained on."""
VALIDATION_WINDOWS = 512


@dataclass(frozen=True)
class WindowBatch:
    """Windows of many trials in coordinates: points [W, N, d], positions [W, N], squared steps and targets [W]."""

    points: Tensor
    positions: Tensor
    weight: Tensor
    displacement: Tensor
    """Squared length [W, H] of the true displacements from the origin, in units of the scale."""

    def sample(self, count: int) -> WindowBatch:
        """`count` of the windows, sampled in proportion to their weight, the same for every seed."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.multinomial(self.weight, count, replacement=True, generator=generator)
        return WindowBatch(self.points[rows], self.positions[rows], self.weight[rows], self.displacement[rows])

    def to(self, device: str) -> WindowBatch:
        """The same on a device."""
        return WindowBatch(*(t.to(device) for t in (self.points, self.positions, self.weight, self.displacement)))


class TIPL(TorchPredictor[TIPLOptions, Backbone]):
    """The Transformer over a window's temporal-SVD coordinates."""

    name: ClassVar[str] = "tipl"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Decision-Transformer backbone over temporal-SVD coordinates (arXiv 2503.04074)."
    options_type: ClassVar[type[Any]] = TIPLOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"layers": 1, "width": 32, "batch": 16, "steps": 20, "warmup": 5, "validate_every": 20},
        "quick": {"steps": 1_000, "learning_rate": 1e-3, "warmup": 100, "cosine": True, "validate_every": 200},
        "standard": {"steps": 30_000, "learning_rate": 5e-4, "warmup": 1_000, "cosine": True},
        "paper": {},
    }

    context: int | None = None
    """The contexts that it was fitted on here; a saved state does not say."""

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
        rank, self.device, self.context = options.rank, task.device, task.context
        windows = _windows(task.train, task, rank).to(task.device)
        if len(windows.points) == 0:
            raise ValueError("no training weight ever moves; there is nothing to learn.")
        held_out = _windows(task.validation, task, rank).sample(VALIDATION_WINDOWS).to(task.device)
        first = min(FIRST_TRAINED, task.context - 1)
        generator = torch.Generator(task.device).manual_seed(task.seed)
        with seeded(task.seed, task.device):
            model = Backbone(
                options,
                rank=rank,
                positions=int(windows.positions.max()) + 1,
                timesteps=task.context + task.horizon,
            ).to(task.device)
            self.network = model

            def loss(step: int) -> Tensor:
                rows = torch.multinomial(windows.weight, options.batch, replacement=True, generator=generator)
                points = windows.points[rows] @ _rotations(options.batch, rank, task.device, generator)
                ahead = model(points[:, :-1], windows.positions[rows, :-1])
                residual: Tensor = points[:, :-1] + ahead - points[:, 1:]
                return residual[:, first:].square().sum(-1).mean()

            def validate() -> float:
                return _error(model, held_out, task.context)

            train(model, loss, validate, Schedule.of(options, cosine=options.cosine), task.progress)

    def build(self, state: Mapping[str, Array]) -> Backbone:
        """See `TorchPredictor.build`."""
        return Backbone(
            self.options,
            rank=len(state["head.bias"]),
            positions=len(state["position.weight"]),
            timesteps=len(state["timestep.weight"]),
        )

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        model, weights = self.fitted, contexts.weights
        if self.context not in (None, weights.shape[1]):
            raise PredictorError(
                f"{self.name} was fitted on contexts of {self.context} checkpoints and cannot forecast from "
                f"{weights.shape[1]}: fit it on such contexts."
            )
        rank, length = model.head.out_features, weights.shape[1]
        check_reach(self, contexts, horizon, context=rank + 1, longest=model.timestep.num_embeddings - length + 1)
        coordinates = window_coordinates(torch.from_numpy(context_grams(weights)), length, rank)
        past = iteration_positions(contexts.columns["epoch"])
        future = (past[:, -1:] + np.arange(1, horizon + 1)) % model.position.num_embeddings
        positions = torch.from_numpy(np.concatenate([past, future], axis=1)).to(self.device)
        with torch.no_grad():
            ahead = _rollout(model, coordinates.points.to(self.device), positions, horizon).cpu().double()
        mixture = (ahead * coordinates.scale[:, None, None]) @ coordinates.lift  # [B, H, L]
        relative = weights - weights[:, -1:]
        forecast: Weights = weights[:, -1:] + mixture.float().numpy() @ relative
        return forecast


def _windows(trials: Sequence[Trial], task: FitTask, rank: int) -> WindowBatch:
    """All windows of the trials that move, with their futures projected onto their contexts' spans."""
    context, windows = task.context, TrainingWindows.of(trials, task.context, task.horizon)
    parts = []
    for number, trial in enumerate(trials):
        grams = torch.from_numpy(window_grams(trial, context - 1, task.horizon))
        coordinates = window_coordinates(grams, context, rank)
        positions = torch.from_numpy(iteration_positions(trial.columns["epoch"]))
        squared = torch.from_numpy(windows.squared_step[windows.trial == number])
        moving = squared > 0
        future = grams[:, context - 1 :, context - 1 :].cumsum(1).cumsum(2).diagonal(dim1=1, dim2=2)
        parts.append(
            (
                coordinates.points[moving],
                positions.unfold(0, context + task.horizon, 1)[moving],
                squared[moving].float(),
                (future / squared[:, None])[moving].float(),
            )
        )
    return WindowBatch(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _error(model: Backbone, windows: WindowBatch, context: int) -> float:
    """Squared error of the forecasts of sampled windows over persistence's, averaged over horizons."""
    origin, future = windows.points[:, :context], windows.points[:, context:]
    ahead = _rollout(model, origin, windows.positions, future.shape[1])
    # what lies outside the context's span is beyond reach and stays in the error
    within = (ahead - future).square().sum(-1) + windows.displacement - future.square().sum(-1)
    return float((within.sum(0) / windows.displacement.sum(0)).mean())


def _rollout(model: Backbone, points: Tensor, positions: Tensor, horizon: int) -> Tensor:
    """Feed forecasts back: points [B, L, d] and positions [B, L + H] to [B, H, d]."""
    context = points.shape[1]
    for step in range(horizon):
        ahead = model(points, positions[:, : context + step])[:, -1:]
        points = torch.cat([points, points[:, -1:] + ahead], dim=1)
    return points[:, context:]


def _rotations(batch: int, rank: int, device: str, generator: torch.Generator) -> Tensor:
    """Random rotations and reflections of the coordinates, [batch, d, d]."""
    q, r = torch.linalg.qr(torch.randn((batch, rank, rank), device=device, generator=generator))
    rotations: Tensor = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return rotations
