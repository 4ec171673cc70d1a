"""A small MLP on each weight's own past, shared by all weights; all horizons at once.

Kin to Introspection (Sinha et al. 2017) and to the WNN+ baseline of NiNo (Knyazev et al., ICLR 2025): no weight sees
another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..registry.trial import Trial, iteration_positions
from .gram import window_grams
from .predictor import Array, Contexts, FitTask, Predictor, Weights
from .training import Schedule, seeded, train

LAGS = 19
CHUNK_ROWS = 1 << 17
VALIDATION_WINDOWS = 256


@dataclass(frozen=True)
class MLPOptions:
    """Network and training."""

    width: int = 128
    hidden_layers: int = 2
    steps: int = 200_000
    """Training batches."""
    windows: int = 64
    """Windows a batch; of each, `weights` weights are drawn."""
    weights: int = 64
    """Weights drawn of each window."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    """Batches of linear warm-up; cosine to 0 after it."""
    gradient_clip: float = 1.0
    validate_every: int = 1_000

    def __post_init__(self) -> None:
        for name in ("width", "hidden_layers", "steps", "windows", "weights", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")


class WeightNetwork(nn.Module):
    """From one weight's last differences and the place within the iteration to its displacement at each horizon."""

    def __init__(self, options: MLPOptions, positions: int, horizon: int) -> None:
        super().__init__()
        self.position = nn.Embedding(positions, options.width)
        self.embed = nn.Linear(LAGS, options.width)
        layers: list[nn.Module] = []
        for _ in range(options.hidden_layers):
            layers += [nn.SiLU(), nn.Linear(options.width, options.width)]
        self.body = nn.Sequential(*layers, nn.SiLU())
        self.head = nn.Linear(options.width, horizon)
        nn.init.zeros_(self.head.weight)  # begins as persistence
        nn.init.zeros_(self.head.bias)

    def forward(self, differences: Tensor, positions: Tensor) -> Tensor:
        """Displacements [B, K, H] from differences [B, K, LAGS] of K weights and positions [B]."""
        out: Tensor = self.head(self.body(self.embed(differences) + self.position(positions)[:, None]))
        return out


@dataclass(frozen=True)
class _Batch:
    """Scaled differences [B, K, LAGS], displacements [B, K, H] and positions [B] of some windows' weights."""

    differences: Tensor
    displacements: Tensor
    positions: Tensor


class MLP(Predictor[MLPOptions]):
    """Scales a window by the root mean square of its differences and maps each weight's past to its future.

    Windows are drawn in proportion to their squared step, which is the weighting of squared error in weight space.
    """

    name: ClassVar[str] = "mlp"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "MLP on each weight's own past differences, shared by all weights, all horizons at once."
    options_type: ClassVar[type[Any]] = MLPOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 50, "validate_every": 25},
        "quick": {"steps": 4_000, "validate_every": 500},
        "standard": {"steps": 50_000},
        "paper": {},
    }

    def __init__(self, options: MLPOptions) -> None:
        super().__init__(options)
        self.network: WeightNetwork | None = None

    def fit(self, task: FitTask) -> None:
        """Train on weights of random windows of the training trials."""
        options, self.device = self.options, task.device
        stream = np.random.default_rng(task.seed)
        train_source = _Source(task.train, task.horizon)
        if train_source.cumulative[-1] == 0:
            raise ValueError("no training weight ever moves; there is nothing to learn.")
        held_out_source = _Source(task.validation, task.horizon)
        draw = np.random.default_rng(0)  # one validation batch for all seeds
        held_out = held_out_source.draw(VALIDATION_WINDOWS, options.weights, draw, task.device)
        positions = int(max(source.positions.max() for source in (train_source, held_out_source))) + 1
        with seeded(task.seed, task.device):
            self.network = network = WeightNetwork(options, positions, task.horizon).to(task.device)

            def loss(step: int) -> Tensor:
                return error(train_source.draw(options.windows, options.weights, stream, task.device))

            def error(batch: _Batch) -> Tensor:
                wrong: Tensor = network(batch.differences, batch.positions) - batch.displacements
                return wrong.square().mean()

            def validate() -> float:
                return float(error(held_out) / held_out.displacements.square().mean())

            schedule = Schedule(
                options.steps,
                options.learning_rate,
                options.weight_decay,
                options.warmup,
                True,
                options.gradient_clip,
                options.validate_every,
            )
            train(network, loss, validate, schedule, task.progress)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.network is None:
            raise RuntimeError("mlp was asked to predict before it was fitted or loaded.")
        positions = torch.from_numpy(iteration_positions(contexts.columns["epoch"])[:, -1]).to(self.device)
        forecast = np.repeat(contexts.weights[:, -1:], horizon, axis=1)
        for row, context in enumerate(contexts.weights):
            differences = np.diff(context[-LAGS - 1 :], axis=0)
            scale = float(np.sqrt(np.mean(np.square(differences, dtype=np.float64))))
            if scale == 0:
                continue
            features = torch.from_numpy(differences.T / np.float32(scale)).to(self.device)  # [P, LAGS]
            for start in range(0, len(features), CHUNK_ROWS):
                part = slice(start, start + CHUNK_ROWS)
                with torch.no_grad():
                    ahead = self.network(features[None, part], positions[row : row + 1])[0, :, :horizon]
                forecast[row, :, part] += scale * ahead.T.cpu().numpy()
        return forecast

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        if self.network is None:
            return {}
        return {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.network = WeightNetwork(self.options, len(state["position.weight"]), len(state["head.bias"]))
        self.network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self.network.to(self.device).eval()


class _Source:
    """Draws weights of windows from trials kept on disk."""

    def __init__(self, trials: Sequence[Trial], horizon: int) -> None:
        self.trials, self.horizon = trials, horizon
        squared, owners, origins, positions = [], [], [], []
        for number, trial in enumerate(trials):
            steps = window_grams(trial, LAGS, horizon).diagonal(axis1=1, axis2=2)[:, :LAGS].mean(axis=1)
            squared.append(steps)
            owners.append(np.full(len(steps), number))
            origins.append(np.arange(LAGS, LAGS + len(steps)))
            positions.append(iteration_positions(trial.columns["epoch"])[LAGS : LAGS + len(steps)])
        self.squared, self.owners, self.origins, self.positions = (
            np.concatenate(part) for part in (squared, owners, origins, positions)
        )
        self.cumulative = np.cumsum(self.squared)
        # mean squared difference of one weight: the scale of a window
        self.scale = np.sqrt(self.squared / trials[0].layout.parameter_count)

    def draw(self, windows: int, weights: int, stream: np.random.Generator, device: str) -> _Batch:
        """A batch of `windows` windows, drawn by their squared step, and `weights` weights of each."""
        rows = np.searchsorted(self.cumulative, stream.random(windows) * self.cumulative[-1], side="right")
        values = np.empty((windows, LAGS + 1 + self.horizon, weights), dtype=np.float32)
        for slot, row in enumerate(rows):
            trial, origin = self.trials[self.owners[row]], self.origins[row]
            columns = stream.integers(trial.layout.parameter_count, size=weights)
            values[slot] = trial.tensors["weights"][origin - LAGS : origin + self.horizon + 1, columns]
        scaled = values.transpose(0, 2, 1) / self.scale[rows, None, None].astype(np.float32)
        differences = np.diff(scaled[..., : LAGS + 1], axis=-1)
        displacements = scaled[..., LAGS + 1 :] - scaled[..., LAGS, None]
        parts = (differences, displacements, self.positions[rows])
        return _Batch(*(torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts))
