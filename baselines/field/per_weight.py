"""The base of methods that train one small network on the past of single weights, shared by all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..fitting.torch_predictor import SampledWeightsOptions, Schedule, TorchPredictor, seeded, train
from ..fitting.windows import TrainingWindows
from ..predictor import Array, Contexts, FitTask, Weights, check_reach

CHUNK_ROWS = 1 << 17
VALIDATION_WINDOWS = 256


class PerWeightOptions(SampledWeightsOptions):
    """Training of the network."""

    loss: Literal["squared", "absolute"] = "squared"
    """Error that is minimised; the originals' is absolute, the suite's skill is of squared errors."""
    steps: int = Field(50_000, ge=1)
    """Training batches."""
    validate_every: int = Field(500, ge=1)
    """Batches between evaluations at the validation trials; the best state seen is kept."""


class PerWeight(TorchPredictor[PerWeightOptions, nn.Sequential]):
    """Maps what a method reads of a weight's past to its displacement at each horizon, all horizons at once.

    A method says what it reads (`encode`) and with what network (`body`, and a linear layer after it). Values are
    relative to the origin, in units of the window's step, the root mean square of its differences. Windows are drawn in
    proportion to that step squared, so that squared errors weigh as in weight space.
    """

    options_type: ClassVar[type[Any]] = PerWeightOptions
    transfers: ClassVar[bool] = True
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 50, "windows": 16, "weights": 16, "validate_every": 25},
        "quick": {"steps": 4_000},
        "standard": {},
        "paper": {"steps": 200_000},
    }

    width: ClassVar[int]
    """Features that the last layer maps to displacements."""

    @staticmethod
    @abstractmethod
    def body() -> nn.Module:
        """An untrained network from `encode`'s features [..., F] to the last layer's [..., width]."""

    @staticmethod
    @abstractmethod
    def encode(past: Tensor) -> tuple[Tensor, Tensor]:
        """Features [..., F] of pasts [..., L], the origin last, and the unit [..., 1] of what the network answers."""

    @classmethod
    def module(cls, horizon: int) -> nn.Sequential:
        """An untrained network from features [..., F] to [..., H]."""
        return nn.Sequential(cls.body(), nn.Linear(cls.width, horizon))

    def fit(self, task: FitTask) -> None:
        """Train on weights of random windows of the training trials."""
        options, self.device = self.options, task.device
        rng = np.random.default_rng(task.seed)
        training, validation = (
            TrainingWindows.of(trials, task.context, task.horizon) for trials in (task.train, task.validation)
        )
        # One validation batch for all seeds.
        held_out = _batch(validation, VALIDATION_WINDOWS, options.weights, np.random.default_rng(0), task.device)
        with seeded(task.seed, task.device):
            network = self.network = self.module(task.horizon).to(task.device)

            def residual(batch: tuple[Tensor, Tensor]) -> Tensor:
                past, ahead = batch
                features, unit = self.encode(past)
                found: Tensor = unit * network(features) - ahead
                return found

            def loss(step: int) -> Tensor:
                missed = residual(_batch(training, options.windows, options.weights, rng, task.device))
                return missed.abs().mean() if options.loss == "absolute" else missed.square().mean()

            def validate() -> float:
                return float(residual(held_out).square().mean() / held_out[1].square().mean())

            train(network, loss, validate, Schedule.of(options, cosine=True), task, [rng])

    def build(self, state: Mapping[str, Array]) -> nn.Sequential:
        """See `TorchPredictor.build`."""
        return self.module(len(state["1.bias"]))

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        network = self.fitted
        longest = len(network.state_dict()["1.bias"])
        check_reach(self, contexts, horizon, context=2, longest=longest)
        forecast = np.repeat(contexts.weights[:, -1:], horizon, axis=1)
        for row, context in enumerate(contexts.weights):
            scale = float(np.sqrt(np.mean(np.square(np.diff(context, axis=0), dtype=np.float64))))
            if scale == 0:
                continue
            past = torch.from_numpy((context - context[-1:]).T / np.float32(scale)).to(self.device)  # [P, L]
            for start in range(0, len(past), CHUNK_ROWS):
                part = slice(start, start + CHUNK_ROWS)
                with torch.no_grad():
                    features, unit = self.encode(past[part])
                    ahead = (unit * network(features))[:, :horizon]
                forecast[row, :, part] += scale * ahead.T.cpu().numpy()
        return forecast


def _batch(
    windows: TrainingWindows, count: int, weights: int, rng: np.random.Generator, device: str
) -> tuple[Tensor, Tensor]:
    """Pasts [B, K, L] and displacements ahead [B, K, H] of `weights` weights of each of `count` windows."""
    rows, values = windows.sample_weights(count, weights, rng)
    values -= values[:, windows.context - 1, None]
    values /= windows.step(rows)[:, None, None].astype(np.float32)
    scaled = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 2, 1))).to(device)
    return scaled[..., : windows.context], scaled[..., windows.context :]
