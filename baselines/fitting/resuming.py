"""The state of a training loop, as `FitTask.keep` takes it and `FitTask.resume` gives it back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..predictor import Array, FitCurve, TrainingState

Stream = np.random.Generator | torch.Generator


@dataclass
class Loop:
    """All that decides how a training loop goes on.

    Parameters
    ----------
    model, optimizer
        What is trained, and by what.
    streams
        The random generators that the batches are drawn from; torch's global one is kept beside them.
    curve
        The losses so far.
    best, best_error
        The state to keep, and its validation error.
    losses
        Of training, since the last look at the validation error.
    step
        Batches done.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    streams: Sequence[Stream]
    curve: FitCurve
    best: Mapping[str, Tensor]
    best_error: float = math.inf
    losses: list[Tensor] = field(default_factory=list)
    step: int = 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def state(self) -> TrainingState:
        """The loop as arrays and numbers."""
        arrays: dict[str, Array] = {
            "curve": np.array(self.curve.points, dtype=np.float64).reshape(-1, 4),
            "best_error": np.array(self.best_error),
            "losses": np.array([float(loss) for loss in self.losses], dtype=np.float32),
            "random": torch.random.get_rng_state().numpy(),
        }
        if self.device.type == "cuda":
            arrays["random.cuda"] = torch.cuda.get_rng_state(self.device).numpy()
        for group, tensors in (("model", self.model.state_dict()), ("best", self.best)):
            arrays |= {f"{group}.{name}": tensor.cpu().numpy() for name, tensor in tensors.items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer.{number}.{name}": tensor.cpu().numpy() for name, tensor in moments.items()}
        streams: list[Any] = []
        for number, stream in enumerate(self.streams):
            if isinstance(stream, torch.Generator):
                arrays[f"stream.{number}"] = stream.get_state().numpy()
            streams.append(None if isinstance(stream, torch.Generator) else stream.bit_generator.state)
        return TrainingState(arrays, {"step": self.step, "streams": streams})

    def restore(self, state: TrainingState) -> None:
        """Take what `state` gave in an earlier process."""
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.arrays.items()}
        self.model.load_state_dict(_group(tensors, "model"))
        self.best = {name: tensor.to(self.device) for name, tensor in _group(tensors, "best").items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _group(tensors, "optimizer").items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.best_error, self.step = float(state.arrays["best_error"]), state.values["step"]
        self.losses = [*tensors["losses"].to(self.device)]
        for step, training, validation, kept in state.arrays["curve"].tolist():
            self.curve.add(int(step), training=training, validation=validation, kept=bool(kept))
        for place, stream in enumerate(self.streams):
            if isinstance(stream, torch.Generator):
                stream.set_state(tensors[f"stream.{place}"])
            else:
                stream.bit_generator.state = state.values["streams"][place]
        torch.random.set_rng_state(tensors["random"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)


def _group(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
