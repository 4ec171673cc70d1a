"""What WNN+ and NiNo share: how they are trained, or released weights fitted in, and how they forecast."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ....rl import PolicyLayout
from ....utils.tensorfile import SUFFIX
from ...fitting.torch_predictor import Schedule, TorchPredictor, seeded, train
from ...fitting.windows import TrainingWindows
from ...predictor import Array, Contexts, FitTask, Options, Weights, check_reach
from .batches import Batch, WindowBatches
from .calibration import Calibration, interpolation
from .graph import NeuralGraph
from .released import DIGEST, Release, given_file
from .states import EPSILON, STATES, Layers, standardised, state_places

CHUNK_EDGES = 1 << 17
"""Edges that pass through a network at once."""
VALIDATION_WINDOWS = CONDITIONING_WINDOWS = 128
RELEASED_STEPS = 40


class NowcastingOptions(Options):
    """Training of the network, or the file that replaces it."""

    steps: int = Field(20_000, ge=1)
    """Training batches."""
    loss: Literal["squared", "absolute"] = "squared"
    """Error that is minimised; the originals' is absolute, the suite's skill is of squared errors."""
    windows: int = Field(16, ge=1)
    """Windows per batch."""
    learning_rate: float = Field(3e-3, gt=0)
    """AdamW's learning rate."""
    weight_decay: float = Field(1e-2, ge=0)
    """AdamW's weight decay."""
    warmup: int = Field(100, ge=0)
    """Batches of linear warm-up; cosine to 0 after it."""
    gradient_clip: float = Field(5.0, gt=0)
    """Limit of the gradient's norm."""
    validate_every: int = Field(500, ge=1)
    """Batches between evaluations at the validation trials; the best state seen is kept."""
    weights: str | None = None
    """A .safetensors file of released weights to forecast with, recorded as its sha256; none: train."""
    stride: int | None = Field(None, ge=1)
    """Checkpoints between two of the five states; none: 1, or with released weights chosen on the validation trials."""
    scale: float | None = None
    """Of released weights: factor of the forecast displacement; none: chosen on the validation trials."""

    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file of released weights, after `weights` has become its digest."""
        return self._file

    def identified(self, file: Path, digest: str) -> NowcastingOptions:
        """The same with the file's digest as `weights`."""
        found = self.model_copy(update={"weights": digest})
        found._file = file
        return found


class Network(nn.Module):
    """A network from five standardised states of weights to their displacements in the layers' deviations.

    Its first layer is given `states @ basis.T`, and the answers of the last one, `head`, are times `unit`: of released
    weights, both are 1. `stride` and `scale` are those of the forecasts.

    Parameters
    ----------
    steps
        Answers for each weight.
    """

    stride: Tensor
    scale: Tensor
    basis: Tensor
    unit: Tensor
    head: nn.Linear

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("stride", torch.ones((), dtype=torch.int64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("basis", torch.eye(STATES))
        self.register_buffer("unit", torch.ones(steps))

    def condition(self, batch: Batch) -> None:
        """Begin as persistence, with differences of the states and answers in units of their size in a batch.

        Standardised states differ by thousandths of their size, which training would take very long to see. The first
        and the last linear layer could absorb these units: what a network can compute is the same.
        """
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        differences = torch.eye(STATES) - torch.diag(torch.ones(STATES - 1), -1)  # the first stays a value
        differences = differences.to(batch.states)
        importance = batch.unit.square() / batch.unit.square().sum()
        size = ((batch.states @ differences.T).square() * importance).sum((0, 1)).sqrt()
        self.basis.copy_(differences / size.clamp_min(EPSILON)[:, None])
        self.unit.copy_((batch.ahead.square().sum((0, 1)) / batch.unit.square().sum()).sqrt())

    def answer(self, states: Tensor, graph: NeuralGraph, columns: Tensor | None) -> Tensor:
        """Displacements [B, K, steps] from states [B, K, 5] of all P weights, or of `columns` [B, K]."""
        raise NotImplementedError


class Nowcaster(TorchPredictor[NowcastingOptions, Network]):
    """Displacements ahead from five past states of every weight, all steps at once: see `WNNPlus`.

    Windows for training are drawn in proportion to their squared step, and errors are in units of it, so that squared
    errors weigh as in weight space.
    """

    options_type: ClassVar[type[Any]] = NowcastingOptions
    transfers: ClassVar[bool] = True
    release: ClassVar[Release]
    per_window: ClassVar[int | None] = None
    """Weights sampled from each window for training; none: all."""

    @staticmethod
    @abstractmethod
    def module(steps: int) -> Network:
        """An untrained network that answers so many steps."""

    @classmethod
    def resolve_options(cls, options: NowcastingOptions, context: int) -> NowcastingOptions:
        """See `Predictor.resolve_options`."""
        if options.stride is not None and options.stride > widest_stride(context):
            needed = (STATES - 1) * options.stride + 1
            raise ValueError(
                f"option stride is {options.stride}: five states so far apart need {needed} checkpoints, and a context "
                f"has {context}."
            )
        if options.weights is None:
            if options.scale not in (None, 1.0):
                raise ValueError("option scale is of released weights (option weights); training would make up for it.")
            return options.model_copy(update={"stride": options.stride or 1, "scale": 1.0})
        if options.file is not None or re.fullmatch(DIGEST, options.weights):
            return options
        file = Path(options.weights)
        if file.suffix != SUFFIX:
            raise ValueError(f"option weights: {file}: not the name of a {SUFFIX} file. {cls.release.remedy}")
        try:
            return options.identified(file, cls.release.digest(file))
        except ValueError as error:
            raise ValueError(f"option weights: {error}") from None

    @property
    def information_class(self) -> str:
        """With released weights "pretrained", else `consumes`."""
        return super().information_class if self.options.weights is None else "pretrained"

    @property
    def spacing(self) -> int:
        """Checkpoints from one answered step to the next."""
        return 1 if self.options.weights is None else int(self.fitted.stride)

    def fit(self, task: FitTask) -> None:
        """Train, or choose spacing and scale for released weights."""
        self.device = task.device
        if self.options.weights is None:
            self._train(task)
        else:
            file = self.options.file or given_file(self.options.weights, self.name, self.release)
            self._adopt(self.release.read(file), task)

    def _train(self, task: FitTask) -> None:
        options, stride, rng = self.options, self.options.stride or 1, np.random.default_rng(task.seed)
        training, validation = (
            WindowBatches.of(TrainingWindows.of(trials, task.context, task.horizon), stride, self.per_window)
            for trials in (task.train, task.validation)
        )
        # The same validation windows for all seeds.
        held_out = validation.sample(VALIDATION_WINDOWS, np.random.default_rng(0), task.device)
        graph = NeuralGraph.of(task.train[0].layout)
        with seeded(task.seed, task.device):
            network = self.network = self.module(task.horizon).to(task.device)
            network.condition(training.sample(CONDITIONING_WINDOWS, np.random.default_rng(0), task.device))
            network.stride.fill_(stride)

            def loss(step: int) -> Tensor:
                batch = training.sample(options.windows, rng, task.device)
                missed = torch.cat([_residual(network, graph, part) for part in _parts(batch, graph)])
                return missed.abs().mean() if options.loss == "absolute" else missed.square().mean()

            def validate() -> float:
                parts = [_residual(network, graph, part).square().sum() for part in _parts(held_out, graph)]
                return float(sum(parts) / held_out.ahead.square().sum())

            train(network, loss, validate, Schedule.of(options, cosine=True), task, [rng])

    def _adopt(self, parameters: Mapping[str, Array], task: FitTask) -> None:
        """Take released parameters, and the spacing and scale that the options give or the validation trials favour."""
        network = self.network = self.module(RELEASED_STEPS).to(task.device)
        tensors = {name: torch.from_numpy(array) for name, array in parameters.items()}
        network.load_state_dict({**dict(network.named_buffers()), **tensors})
        network.eval()
        options = self.options
        if options.stride is not None and options.scale is not None:
            chosen = options.stride, options.scale
        else:
            strides = [options.stride] if options.stride else range(1, widest_stride(task.context) + 1)
            calibration = Calibration.of(task.validation, task.context, task.horizon)
            chosen = calibration.best(self._displacements, strides, options.scale, task.progress)
        network.stride.fill_(chosen[0])
        network.scale.fill_(chosen[1])

    def build(self, state: Mapping[str, Array]) -> Network:
        """See `TorchPredictor.build`."""
        return self.module(len(state["head.bias"]))

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        network = self.fitted
        check_reach(self, contexts, horizon, context=2, longest=network.steps * self.spacing)
        ahead = self._displacements(contexts.weights, contexts.layout, int(network.stride), horizon)
        forecast: Weights = contexts.weights[:, -1:] + np.float32(network.scale.item()) * ahead
        return forecast

    def _displacements(self, weights: Weights, layout: PolicyLayout, stride: int, horizon: int) -> Weights:
        """Unscaled displacements ahead [B, H, P] from contexts [B, L, P]."""
        network, graph, layers = self.fitted, NeuralGraph.of(layout), Layers.of(layout)
        columns = layers.layer_of(np.arange(weights.shape[-1]))
        spacing = stride if self.options.weights is not None else 1
        steps = torch.from_numpy(interpolation(spacing, network.steps, horizon)).to(self.device)
        ahead = np.empty((len(weights), horizon, weights.shape[-1]), dtype=np.float32)
        rows = max(1, CHUNK_EDGES // graph.edge_count)
        for start in range(0, len(weights), rows):
            part = slice(start, start + rows)
            states = weights[part, state_places(weights.shape[1], stride)]
            mean, deviation = layers.scales(layers.moments(states))
            features = standardised(states, mean[:, columns], deviation[:, columns])
            with torch.no_grad():
                answer = network.answer(torch.from_numpy(features).to(self.device), graph, None)
                moved = (answer @ steps.T).swapaxes(1, 2).cpu().numpy()
            ahead[part] = moved * deviation[:, None, columns].astype(np.float32)
        return ahead


def widest_stride(context: int) -> int:
    """The most checkpoints that five states can be apart within a context; 1 at least."""
    return max(1, (context - 1) // (STATES - 1))


def _parts(batch: Batch, graph: NeuralGraph) -> Iterator[Batch]:
    """A batch in pieces of at most `CHUNK_EDGES` edges, one window at least."""
    edges = graph.edge_count if batch.columns is None else batch.columns.shape[1]
    return batch.split(max(1, CHUNK_EDGES // edges))


def _residual(network: Network, graph: NeuralGraph, batch: Batch) -> Tensor:
    """Forecast less true displacement, in units of the window's step, [b, K, H].

    What a piece of many windows needs for its gradient is computed again when it is due: memory is one piece's.
    """

    def missed(states: Tensor) -> Tensor:
        return network.scale.float() * batch.unit * network.answer(states, graph, batch.columns) - batch.ahead

    if torch.is_grad_enabled() and not batch.is_whole:
        return checkpoint(missed, batch.states, use_reentrant=False)  # type: ignore[no-any-return]
    return missed(batch.states)
