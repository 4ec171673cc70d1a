"""TIPL: Transformer as Implicit Policy Learner (Tang 2025, arXiv 2503.04074).

A token is a checkpoint in temporal-SVD coordinates; a causal Transformer is trained on the next token's squared error
in weight space and forecasts further ahead by feeding its forecasts back. Choices where the paper is silent:

- the basis is the SVD of the window's own context (`coordinates`), so it is honest for a trial never seen;
- coordinates are in units of the window's mean step, and a token also carries its last displacement;
- the timestep embedding counts from the window's start, and the place within the PPO iteration is embedded beside it:
  an absolute timestep would let the model recite the mean trajectory;
- an SVD's signs and order are arbitrary, so training rotates every window's coordinates at random;
- windows are drawn in proportion to their squared step, which is the weighting of squared error in weight space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...registry.trial import Trial, iteration_positions
from ..gram import context_grams, window_grams
from ..predictor import Array, Contexts, FitTask, Predictor, Weights
from ..training import Schedule, seeded, train
from .backbone import Backbone
from .coordinates import window_coordinates
from .options import TIPLOptions

CONTEXT = 20
FIRST_TRAINED = 4
"""Tokens with less past than this are not trained on."""
VALIDATION_WINDOWS = 512


@dataclass(frozen=True)
class Windows:
    """Windows of many trials in coordinates: points [W, N, d], positions [W, N], squared steps and targets [W]."""

    points: Tensor
    positions: Tensor
    weight: Tensor
    displacement: Tensor
    """Squared length [W, H] of the true displacements from the origin, in units of the scale."""

    def drawn(self, count: int) -> Windows:
        """`count` of the windows, drawn in proportion to their weight, the same for every seed."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.multinomial(self.weight, count, replacement=True, generator=generator)
        return Windows(self.points[rows], self.positions[rows], self.weight[rows], self.displacement[rows])

    def to(self, device: str) -> Windows:
        """The same on a device."""
        return Windows(*(t.to(device) for t in (self.points, self.positions, self.weight, self.displacement)))


class TIPL(Predictor[TIPLOptions]):
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

    def __init__(self, options: TIPLOptions) -> None:
        super().__init__(options)
        self.model: Backbone | None = None

    def fit(self, task: FitTask) -> None:
        """Train on windows of the training trials; keep the state best on the validation trials."""
        options, self.device = self.options, task.device
        fitted = self._windows(task.train, task.horizon).to(task.device)
        if len(fitted.points) == 0:
            raise ValueError("no training weight ever moves; there is nothing to learn.")
        held_out = self._windows(task.validation, task.horizon).drawn(VALIDATION_WINDOWS).to(task.device)
        generator = torch.Generator(task.device).manual_seed(task.seed)
        with seeded(task.seed, task.device):
            self.model = model = Backbone(options, int(fitted.positions.max()) + 1).to(task.device)

            def loss(step: int) -> Tensor:
                rows = torch.multinomial(fitted.weight, options.batch, replacement=True, generator=generator)
                points = fitted.points[rows] @ _rotations(options, task.device, generator)
                ahead = model(points[:, :-1], fitted.positions[rows, :-1])
                wrong: Tensor = points[:, :-1] + ahead - points[:, 1:]
                return wrong[:, FIRST_TRAINED:].square().sum(-1).mean()

            def validate() -> float:
                return self._error(held_out, task.horizon)

            schedule = Schedule(
                options.steps,
                options.learning_rate,
                options.weight_decay,
                options.warmup,
                options.cosine,
                options.gradient_clip,
                options.validate_every,
            )
            train(model, loss, validate, schedule, task.progress)

    def _windows(self, trials: Sequence[Trial], horizon: int) -> Windows:
        """All windows of the trials, with their futures projected onto their contexts' spans."""
        parts = []
        for trial in trials:
            grams = torch.from_numpy(window_grams(trial, CONTEXT - 1, horizon))
            coordinates = window_coordinates(grams, CONTEXT, self.options.rank)
            moving = coordinates.scale > 0
            place = torch.from_numpy(iteration_positions(trial.columns["epoch"]))
            squared = coordinates.scale.square()
            future = grams[:, CONTEXT - 1 :, CONTEXT - 1 :].cumsum(1).cumsum(2).diagonal(dim1=1, dim2=2)
            parts.append(
                (
                    coordinates.points[moving],
                    place.unfold(0, CONTEXT + horizon, 1)[moving],
                    squared[moving].float(),
                    (future / squared[:, None])[moving].float(),
                )
            )
        return Windows(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _error(self, windows: Windows, horizon: int) -> float:
        """Squared error of the forecasts of drawn windows over persistence's, averaged over horizons."""
        origin, future = windows.points[:, :CONTEXT], windows.points[:, CONTEXT:]
        ahead = self._roll(origin, windows.positions, horizon)
        # what lies outside the context's span is beyond reach and stays in the error
        within = (ahead - future).square().sum(-1) + windows.displacement - future.square().sum(-1)
        return float((within.sum(0) / windows.displacement.sum(0)).mean())

    def _roll(self, points: Tensor, positions: Tensor, horizon: int) -> Tensor:
        """Feed forecasts back: points [B, L, d] and positions [B, L + H] to [B, H, d]."""
        assert self.model is not None
        for step in range(horizon):
            ahead = self.model(points, positions[:, : CONTEXT + step])[:, -1:]
            points = torch.cat([points, points[:, -1:] + ahead], dim=1)
        return points[:, CONTEXT:]

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.model is None:
            raise RuntimeError("tipl was asked to predict before it was fitted or loaded.")
        weights = contexts.weights[:, -CONTEXT:]
        coordinates = window_coordinates(torch.from_numpy(context_grams(weights)), CONTEXT, self.options.rank)
        past = iteration_positions(contexts.columns["epoch"])[:, -CONTEXT:]
        kinds = self.model.position.num_embeddings
        coming = (past[:, -1:] + np.arange(1, horizon + 1)) % kinds
        positions = torch.from_numpy(np.concatenate([past, coming], axis=1)).to(self.device)
        with torch.no_grad():
            ahead = self._roll(coordinates.points.to(self.device), positions, horizon).cpu().double()
        mixture = (ahead * coordinates.scale[:, None, None]) @ coordinates.lift  # [B, H, L]
        relative = weights - weights[:, -1:]
        forecast: Weights = weights[:, -1:] + mixture.float().numpy() @ relative
        return forecast

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        if self.model is None:
            return {}
        return {name: tensor.cpu().numpy() for name, tensor in self.model.state_dict().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.model = Backbone(self.options, len(state["position.weight"]))
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self.model.to(self.device).eval()


def _rotations(options: TIPLOptions, device: str, generator: torch.Generator) -> Tensor:
    """Random rotations and reflections of the coordinates, [batch, d, d]."""
    shape = (options.batch, options.rank, options.rank)
    q, r = torch.linalg.qr(torch.randn(shape, device=device, generator=generator))
    rotations: Tensor = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return rotations
