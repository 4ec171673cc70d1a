"""TIPL as the paper has it (Tang 2025, arXiv 2503.04074), and its twin that can be ranked.

Checkpoint t is the token u_t, row t of U in the temporal SVD [phi_0 .. phi_n]^T = U S V^T. A Decision Transformer reads
the last K tokens, each with the embedding of its checkpoint number, and is trained on the squared error of the next
weights (Eq. 1), phi_{t+1} = u_{t+1} S V^T; it forecasts further by feeding its forecasts back. As published the SVD is
of the whole trajectory that is forecast: *the basis sees the future*. Where the paper is silent:

- d = 64, and K = 20 as in Decision Transformer, whose other settings are kept too (`BackboneOptions`);
- tokens are scaled to mean 0 and standard deviation 1 over the training trials, as its code scales states;
- an SVD's signs are chosen so that the first checkpoint's token is positive;
- windows are whole (no left padding), sampled uniformly; the last state is kept;
- training trials are the dataset's, and test trials are never trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from ...registry.trial import Trial
from ...utils.errors import PredictorError
from ..fitting.torch_predictor import TorchPredictor
from ..predictor import Array, Contexts, FitTask, Weights, check_reach
from ..saving import Saveable
from .backbone import Backbone
from .basis import Basis, pooled_basis, trajectory_basis
from .design import Design
from .options import BackboneOptions
from .predictor import TIPL, context_forecast, forecast_points
from .tokens import Scaling, basis_tokens, context_tokens
from .training import fit_backbone

Float64 = npt.NDArray[np.float64]


class PublishedOptions(Design, BackboneOptions):
    """Backbone and training as for `tipl`; each departure of `tipl` from the paper can be switched on."""

    rank: int = Field(64, ge=1)
    """d, temporal-SVD coordinates kept; at most what the basis has."""


class TIPLPooled(TorchPredictor[PublishedOptions, Backbone]):
    """The published model with the only change that makes it honest: the SVD is of the training trials alone.

    With all of `Design`'s options switched on it is `tipl`.
    """

    name: ClassVar[str] = "tipl-pooled"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "TIPL as published, but for its basis, which is of training trials alone."
    options_type: ClassVar[type[Any]] = PublishedOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = TIPL.budgets
    consumes: ClassVar[str] = "statistics"  # the checkpoint's number in its trial

    def __init__(self, options: PublishedOptions) -> None:
        super().__init__(options)
        self.basis: Basis | None = None
        self.scaling: Scaling | None = None

    def fit(self, task: FitTask) -> None:
        """Make the basis of the training trials, and train on their tokens."""
        options, self.device = self.options, task.device
        if options.basis == "context":
            rank = min(options.rank, task.context - 1)
            training, validation = (
                context_tokens(trials, task.context, task.horizon, rank) for trials in (task.train, task.validation)
            )
        else:
            self.basis = basis = pooled_basis(task.train, options.rank)
            if not options.centred:
                self.scaling = Scaling.of([basis.tokens(trial.weights()) for trial in task.train])
            training, validation = (
                basis_tokens(trials, [basis] * len(trials), task.context, task.horizon, self.scaling)
                for trials in (task.train, task.validation)
            )
        self.network = fit_backbone(options, options, task, training, validation)

    def build(self, state: Mapping[str, Array]) -> Backbone:
        """See `TorchPredictor.build`."""
        return Backbone.of_state(self.options, state, self.options)

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        state = super().state()
        if self.basis is not None:
            state |= {"basis.vectors": self.basis.vectors, "basis.values": self.basis.values}
        if self.scaling is not None:
            state |= {"scaling.mean": self.scaling.mean, "scaling.deviation": self.scaling.deviation}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        network = dict(state)
        if "basis.vectors" in network:
            self.basis = Basis(network.pop("basis.vectors"), network.pop("basis.values"))
        if "scaling.mean" in network:
            self.scaling = Scaling(network.pop("scaling.mean"), network.pop("scaling.deviation"))
        super().load_state(network)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        model, options, length = self.fitted, self.options, contexts.weights.shape[1]
        last = length - 1 if options.window_time else int(contexts.origin.max())
        sliding = options.window_time and not options.growing
        longest = None if sliding else model.timestep.num_embeddings - last
        if longest is not None and longest < 1:
            raise PredictorError(
                f"{self.name}, as it was fitted, knows {model.timestep.num_embeddings} checkpoints of a trial and "
                f"cannot forecast beyond checkpoint {last}: fit it on longer trials."
            )
        if options.basis == "context":
            check_reach(self, contexts, horizon, context=model.head.out_features + 1, longest=longest)
            return context_forecast(model, contexts, horizon, self.device)
        assert self.basis is not None
        size = self.basis.vectors.shape[1]
        check_reach(self, contexts, horizon, context=2, longest=longest, parameters=size)
        tokens = self.basis.tokens(contexts.weights)
        if self.scaling is not None:
            return _scaled_forecast(model, self.basis, self.scaling, tokens, contexts, horizon, self.device)
        weights = contexts.weights.astype(np.float64)
        step = np.sqrt(np.square(np.diff(weights, axis=1)).sum(axis=2).mean(axis=1))[:, None, None]
        moved = (tokens - tokens[:, -1:]) * self.basis.values
        points = torch.from_numpy(moved / np.where(step > 0, step, 1.0)).float()
        ahead = forecast_points(model, points, contexts, horizon, self.device).numpy()
        forecast: Weights = (weights[:, -1:] + (ahead * step) @ self.basis.vectors).astype(np.float32)
        return forecast


class TIPLPublished(Saveable[PublishedOptions]):
    """The published model, literally; no `Predictor`, as its forecasts use the future of the trial.

    It is fitted as a predictor is, but forecasts from a whole trial instead of from contexts: nothing that runs, checks
    or ranks predictors can run it. `benchmark/paper` does, for docs/reproduction.md.
    """

    name: ClassVar[str] = "tipl-published"
    version: ClassVar[int] = 1
    label: ClassVar[str] = "the basis sees the future"

    def __init__(self, options: PublishedOptions) -> None:
        changed = sorted(name for name, value in Design() if value != getattr(options, name))
        if changed:
            raise ValueError(f"{self.name} has no option {', '.join(changed)}: it is the paper's; see tipl-pooled.")
        super().__init__(options)
        self.model: Backbone | None = None
        self.scaling: Scaling | None = None

    def fit(self, task: FitTask) -> None:
        """Train on the tokens of the training trials, each in the basis of its own trajectory."""
        self.device, rank = task.device, self.options.rank
        bases = {trial.index: trajectory_basis(trial, rank) for trial in (*task.train, *task.validation)}
        self.scaling = Scaling.of([bases[trial.index].tokens(trial.weights()) for trial in task.train])
        training, validation = (
            basis_tokens(trials, [bases[trial.index] for trial in trials], task.context, task.horizon, self.scaling)
            for trials in (task.train, task.validation)
        )
        self.model = fit_backbone(self.options, self.options, task, training, validation)

    def state(self) -> dict[str, Array]:
        """See `Saveable.state`."""
        assert self.model is not None
        assert self.scaling is not None
        network = {name: tensor.cpu().numpy() for name, tensor in self.model.state_dict().items()}
        return network | {"scaling.mean": self.scaling.mean, "scaling.deviation": self.scaling.deviation}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Saveable.load_state`."""
        network = dict(state)
        self.scaling = Scaling(network.pop("scaling.mean"), network.pop("scaling.deviation"))
        self.model = Backbone.of_state(self.options, network, self.options)
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in network.items()})
        self.model.to(self.device).eval()

    def forecast_trial(self, trial: Trial, contexts: Contexts, horizon: int) -> Weights:
        """Forecast from windows of one trial, all of which is read to make the basis; [B, H, P]."""
        if self.model is None or self.scaling is None:
            raise RuntimeError(f"{self.name} was asked to forecast before it was fitted.")
        basis = trajectory_basis(trial, self.options.rank)
        tokens = basis.tokens(contexts.weights)
        return _scaled_forecast(self.model, basis, self.scaling, tokens, contexts, horizon, self.device)


def _scaled_forecast(
    model: Backbone,
    basis: Basis,
    scaling: Scaling,
    tokens: Float64,
    contexts: Contexts,
    horizon: int,
    device: str,
) -> Weights:
    """Roll out scaled tokens [B, L, d], and the weights that they stand for, [B, H, P]."""
    points = torch.from_numpy((tokens - scaling.mean) / scaling.deviation).float()
    ahead = forecast_points(model, points, contexts, horizon, device).numpy()
    forecast: Weights = basis.weights(ahead * scaling.deviation + scaling.mean).astype(np.float32)
    return forecast
