"""The predictor: windows in, displacements out, and its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ...registry.trial import iteration_positions
from ...rl import PolicyLayout
from ...utils.errors import PredictorError
from ..autoregression import Autoregression, AutoregressionOptions
from ..fitting.torch_predictor import Schedule, TorchPredictor, seeded, train
from ..fitting.windows import TrainingWindows
from ..predictor import Array, Contexts, FitTask, Options, Weights, check_reach
from .batches import Batch, draw
from .network import NeuronNetwork
from .statistics import Statistics

CHUNK_PARAMETERS = 20_000
VALIDATION_BATCHES = 8


class NeuronOptions(Options):
    """Size of the network, and its training."""

    rounds: int = Field(3, ge=1)
    """Rounds of messages and attention."""
    width: int = Field(64, ge=1)
    """Width of a neuron's and of a weight's state."""
    heads: int = Field(4, ge=1)
    """Heads of attention; they divide the width."""
    steps: int = Field(16_000, ge=1)
    """Training batches."""
    windows: int = Field(32, ge=1)
    """Windows per batch."""
    units: int = Field(64, ge=1)
    """Units sampled from each hidden layer of more, another sample each batch. A batch costs their square: of policies
    of 64 units, 2,000 batches take two hours with 64 and seven minutes with 16."""
    converged: float = Field(0.1, ge=0, le=1)
    """How often windows are drawn where the training return has levelled, as a share of the others."""
    learning_rate: float = Field(2e-3, gt=0)
    """AdamW's learning rate."""
    weight_decay: float = Field(1e-3, ge=0)
    """AdamW's weight decay."""
    warmup: int = Field(200, ge=0)
    """Batches of linear warm-up; cosine to 0 after it."""
    gradient_clip: float = Field(1.0, gt=0)
    """Limit of the gradient's norm."""
    validate_every: int = Field(500, ge=1)
    """Batches between evaluations at the validation trials; the best state seen is kept."""


class TIPLNeuron(TorchPredictor[NeuronOptions, NeuronNetwork]):
    """Adds what a Transformer over the policy's neurons sees to the forecast of `autoregression`.

    phi(t + h) = phi(t) + ridge line + s * network, s the root mean square of the context's differences. Weights are
    the edges of a graph whose nodes are neurons (`network`): an edge knows its last differences and its value. The
    order of hidden units does not matter by construction; training flips their signs at random, which tanh allows.
    Neurons as a graph are NiNo's idea (Knyazev et al., ICLR 2025), which has no attention among them, adds its answer
    to the last weights, and standardises features by layer.

    Windows are drawn in proportion to their squared step, fewer where the policy has learned, and the error of each
    horizon is weighed by 1 / h.
    """

    name: ClassVar[str] = "tipl-neuron"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Transformer over the policy's neurons, all horizons at once, on top of the ridge line."
    reads_statistics: ClassVar[bool] = False
    options_type: ClassVar[type[Any]] = NeuronOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"width": 16, "rounds": 1, "windows": 8, "units": 8, "steps": 20, "warmup": 5, "validate_every": 20},
        "quick": {"steps": 2_000, "units": 16},
        "standard": {"steps": 8_000},
        "paper": {"steps": 100_000},
    }

    @classmethod
    def resolve_options(cls, options: NeuronOptions, context: int) -> NeuronOptions:
        """See `Predictor.resolve_options`."""
        if options.width % options.heads:
            raise ValueError(f"option heads is {options.heads}, which does not divide width, {options.width}.")
        return options

    def fit(self, task: FitTask) -> None:
        """Fit the ridge line, and train the network on what it leaves over; keep the state best on validation."""
        options, self.device = self.options, task.device
        line = Autoregression(AutoregressionOptions())
        line.fit(FitTask(task.train, task.validation, task.horizon, task.context))
        assert line.coefficients is not None
        rng = np.random.default_rng(task.seed)
        training, validation = (
            TrainingWindows.of(trials, task.context, task.horizon).favour_learning(options.converged)
            for trials in (task.train, task.validation)
        )
        layout = task.train[0].layout
        with seeded(task.seed, task.device):
            network = NeuronNetwork.of(layout, line.coefficients, options, statistics=self.reads_statistics)
            self.network = network.to(task.device)
        if network.statistics is not None:
            network.statistics.standardise(task.train)
        weigh = (1 / torch.arange(1, task.horizon + 1)).to(task.device)
        held_out = list(self._held_out(validation, layout))

        def loss(step: int) -> Tensor:
            batch = self._draw(training, layout, rng, flip=True)
            return (batch.missed(network).square() * weigh).mean()

        def validate() -> float:
            errors, moved = torch.zeros(2, task.horizon)
            for batch in held_out:
                errors += batch.missed(network).square().sum((0, 1)).cpu()
                moved += batch.ahead.square().sum((0, 1)).cpu()
            return float((errors / moved).mean())

        train(network, loss, validate, Schedule.of(options, cosine=True), task, [rng])

    def _draw(self, windows: TrainingWindows, layout: PolicyLayout, rng: np.random.Generator, *, flip: bool) -> Batch:
        options, statistics = self.options, self.reads_statistics
        return draw(windows, layout, options.windows, options.units, rng, self.device, flip=flip, statistics=statistics)

    def _held_out(self, windows: TrainingWindows, layout: PolicyLayout) -> Iterator[Batch]:
        """Validation batches, the same for all seeds."""
        rng = np.random.default_rng(0)
        for _ in range(VALIDATION_BATCHES):
            yield self._draw(windows, layout, rng, flip=False)

    def build(self, state: Mapping[str, Array]) -> NeuronNetwork:
        """See `TorchPredictor.build`."""
        positions, horizon, lags = state["ridge"].shape
        return NeuronNetwork(
            inputs=len(state["input.weight"]), outputs=len(state["output.weight"]),
            layers=len(state["edge_layer.weight"]), lags=lags, positions=positions, horizon=horizon,
            width=self.options.width, rounds=self.options.rounds, heads=self.options.heads,
            statistics=self.reads_statistics,
        )  # fmt: skip

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        network = self.fitted
        _, longest, lags = network.ridge.shape
        check_reach(self, contexts, horizon, context=lags + 1, longest=longest)
        inputs, *hidden, outputs = contexts.layout.sizes
        if (inputs, len(hidden) + 1, outputs) != network.shape:
            observations, layers, actions = network.shape
            raise PredictorError(
                f"{self.name} was fitted on policies of {observations} observations, {layers - 1} hidden layers and "
                f"{actions} actions, and was given some of {inputs}, {len(hidden)} and {outputs}: fit it on such ones."
            )
        positions = iteration_positions(contexts.columns["epoch"])[:, -1]
        forecast = np.repeat(contexts.weights[:, -1:], horizon, axis=1)
        count = max(1, CHUNK_PARAMETERS // contexts.weights.shape[2])
        for start in range(0, len(contexts), count):
            rows = slice(start, start + count)
            past = contexts.weights[rows, -lags - 1 :]
            scale = np.sqrt(np.square(np.diff(past, axis=1), dtype=np.float64).mean(axis=(1, 2)))
            shown = None
            if self.reads_statistics:
                shown = Statistics.of(contexts.take(np.arange(len(contexts))[rows]), lags + 1, self.device)
            scales = np.where(scale, scale, 1)
            batch = Batch.of(past, positions[rows], scales, contexts.layout.sizes, self.device, statistics=shown)
            with torch.no_grad():
                ahead = batch.displacement(network)[..., :horizon].permute(0, 2, 1).cpu().numpy()
            forecast[rows] += scale.astype(np.float32)[:, None, None] * ahead
        return forecast


class TIPLNeuronStatistics(TIPLNeuron):
    """`tipl-neuron` that is also shown the learning rate, the training return and the observation normaliser.

    All neurons are told the learning rate, the return and its change over the context; each input neuron is told the
    mean and the variance of its observation, and their change (`statistics`). All else is as in `tipl-neuron`.
    """

    name: ClassVar[str] = "tipl-neuron-statistics"
    summary: ClassVar[str] = "tipl-neuron that also reads learning rate, return and observation statistics."
    consumes: ClassVar[str] = "statistics"
    reads_statistics: ClassVar[bool] = True
