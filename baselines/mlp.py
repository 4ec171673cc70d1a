"""A small MLP on each weight's own past, shared by all weights; all horizons at once.

Kin to Introspection (Sinha et al. 2017) and to the WNN+ baseline of NiNo (Knyazev et al., ICLR 2025): no weight sees
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ..registry.trial import iteration_positions
from .fitting.torch_predictor import SampledWeightsOptions, Schedule, TorchPredictor, seeded, train
from .fitting.windows import TrainingWindows
from .predictor import Array, Contexts, FitTask, Weights, check_reach

CHUNK_ROWS = 1 << 17
VALIDATION_WINDOWS = 256


class MLPOptions(SampledWeightsOptions):
    """Size of the network, and its training."""

    width: int = Field(128, ge=1)
    """Units of each hidden layer."""
    hidden_layers: int = Field(2, ge=1)
    """Hidden layers after the embedding."""
    steps: int = Field(200_000, ge=1)
    """Training batches."""
    validate_every: int = Field(1_000, ge=1)
    """Batches between evaluations at the validation trials; the best state seen is kept."""


class WeightNetwork(nn.Module):
    """From one weight's last differences and the position within the iteration to its displacement at each horizon."""

    def __init__(self, options: MLPOptions, lags: int, positions: int, horizon: int) -> None:
        super().__init__()
        self.position = nn.Embedding(positions, options.width)
        self.embed = nn.Linear(lags, options.width)
        layers: list[nn.Module] = []
        for _ in range(options.hidden_layers):
            layers += [nn.SiLU(), nn.Linear(options.width, options.width)]
        self.body = nn.Sequential(*layers, nn.SiLU())
        self.head = nn.Linear(options.width, horizon)
        nn.init.zeros_(self.head.weight)  # begins as persistence
        nn.init.zeros_(self.head.bias)

    def forward(self, differences: Tensor, positions: Tensor) -> Tensor:
        """Displacements [B, K, H] from differences [B, K, lags] of K weights and positions [B]."""
        out: Tensor = self.head(self.body(self.embed(differences) + self.position(positions)[:, None]))
        return out


@dataclass(frozen=True)
class WindowBatch:
    """Scaled differences [B, K, lags], displacements [B, K, H] and positions [B] of some windows' weights."""

    differences: Tensor
    displacements: Tensor
    positions: Tensor


class MLP(TorchPredictor[MLPOptions, WeightNetwork]):
    """Scales a window by the root mean square of its differences and maps each weight's past to its future.

    Windows are sampled in proportion to their squared step, which is the weighting of squared error in weight space.
    """

    name: ClassVar[str] = "mlp"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "MLP on each weight's own past differences, shared by all weights, all horizons at once."
    options_type: ClassVar[type[Any]] = MLPOptions
    transfers: ClassVar[bool] = True
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 50, "validate_every": 25},
        "quick": {"steps": 4_000, "validate_every": 500},
        "standard": {"steps": 50_000},
        "paper": {},
    }

    def fit(self, task: FitTask) -> None:
        """Train on weights of random windows of the training trials."""
        options, self.device = self.options, task.device
        rng = np.random.default_rng(task.seed)
        training, validation = (
            TrainingWindows.of(trials, task.context, task.horizon) for trials in (task.train, task.validation)
        )
        # One validation batch for all seeds.
        held_out = _batch(validation, VALIDATION_WINDOWS, options.weights, np.random.default_rng(0), task.device)
        positions = int(max(windows.position.max() for windows in (training, validation))) + 1
        with seeded(task.seed, task.device):
            network = WeightNetwork(options, task.context - 1, positions, task.horizon).to(task.device)
            self.network = network

            def error(batch: WindowBatch) -> Tensor:
                residual: Tensor = network(batch.differences, batch.positions) - batch.displacements
                return residual.square().mean()

            def loss(step: int) -> Tensor:
                return error(_batch(training, options.windows, options.weights, rng, task.device))

            def validate() -> float:
                return float(error(held_out) / held_out.displacements.square().mean())

            train(network, loss, validate, Schedule.of(options, cosine=True), task, [rng])

    def build(self, state: Mapping[str, Array]) -> WeightNetwork:
        """See `TorchPredictor.build`."""
        lags = state["embed.weight"].shape[1]
        return WeightNetwork(self.options, lags, len(state["position.weight"]), len(state["head.bias"]))

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        network = self.fitted
        lags = network.embed.in_features
        check_reach(self, contexts, horizon, context=lags + 1, longest=network.head.out_features)
        positions = torch.from_numpy(iteration_positions(contexts.columns["epoch"])[:, -1]).to(self.device)
        forecast = np.repeat(contexts.weights[:, -1:], horizon, axis=1)
        for row, context in enumerate(contexts.weights):
            differences = np.diff(context[-lags - 1 :], axis=0)
            scale = float(np.sqrt(np.mean(np.square(differences, dtype=np.float64))))
            if scale == 0:
                continue
            features = torch.from_numpy(differences.T / np.float32(scale)).to(self.device)  # [P, lags]
            for start in range(0, len(features), CHUNK_ROWS):
                part = slice(start, start + CHUNK_ROWS)
                with torch.no_grad():
                    ahead = network(features[None, part], positions[row : row + 1])[0, :, :horizon]
                forecast[row, :, part] += scale * ahead.T.cpu().numpy()
        return forecast


def _batch(windows: TrainingWindows, count: int, weights: int, rng: np.random.Generator, device: str) -> WindowBatch:
    """`count` windows, and `weights` weights sampled from each, in units of the mean step of a weight of the window."""
    context = windows.context
    rows, values = windows.sample_weights(count, weights, rng)
    scaled = values.transpose(0, 2, 1) / windows.step(rows)[:, None, None].astype(np.float32)
    differences = np.diff(scaled[..., :context], axis=-1)
    displacements = scaled[..., context:] - scaled[..., context - 1, None]
    parts = (differences, displacements, windows.position[rows])
    return WindowBatch(*(torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts))
