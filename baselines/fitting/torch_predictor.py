"""The base of predictors that train a torch module, and their training loop.

The loop is AdamW with warm-up; it keeps the state with the least error on the validation trials.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ...utils.errors import PredictorError
from ..predictor import Array, FitTask, Options, Predictor
from ..saving import OptionsT
from .replay import ReplayedStep
from .resuming import Loop, Stream

KEEP_EVERY = 120.0
"""Seconds of training between two states that are kept for a resumption."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class TorchPredictor(Predictor[OptionsT], Generic[OptionsT, NetworkT]):
    """A predictor whose state is that of a torch module.

    `fit` sets `network` to a trained module on `self.device`; `build` makes an untrained one that a state fits.
    """

    def __init__(self, options: OptionsT) -> None:
        super().__init__(options)
        self.network: NetworkT | None = None

    @abstractmethod
    def build(self, state: Mapping[str, Array]) -> NetworkT:
        """A module of the sizes that a saved state has."""

    @property
    def fitted(self) -> NetworkT:
        """The network; raises `RuntimeError` before there is one."""
        if self.network is None:
            raise RuntimeError(f"{self.name} was asked to predict before it was fitted or loaded.")
        return self.network

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        if self.network is None:
            return {}
        return {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        self.network = self.build(state)
        self.network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self.network.to(self.device).eval()


class SampledWeightsOptions(Options):
    """Training of a small network that weights share, on a sample of them."""

    windows: int = Field(64, ge=1)
    """Windows per batch; of each, `weights` weights are sampled."""
    weights: int = Field(64, ge=1)
    """Weights sampled from each window."""
    learning_rate: float = Field(1e-3, gt=0)
    """AdamW's learning rate."""
    weight_decay: float = Field(1e-4, ge=0)
    """AdamW's weight decay."""
    warmup: int = Field(100, ge=0)
    """Batches of linear warm-up; cosine to 0 after it."""
    gradient_clip: float = Field(1.0, gt=0)
    """Limit of the gradient's norm."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a module is trained.

    Parameters
    ----------
    steps
        Training batches.
    learning_rate, weight_decay
        AdamW's.
    warmup
        Batches of linear warm-up.
    cosine
        Whether the rate falls to 0 as a cosine, else it is constant after the warm-up.
    gradient_clip
        Limit of the gradient's norm.
    validate_every
        Batches between two looks at the validation error.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    warmup: int
    cosine: bool
    gradient_clip: float
    validate_every: int

    @classmethod
    def of(cls, options: Any, *, cosine: bool) -> Schedule:
        """The schedule that options with fields of these names ask for."""
        return cls(
            steps=options.steps,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            warmup=options.warmup,
            cosine=cosine,
            gradient_clip=options.gradient_clip,
            validate_every=options.validate_every,
        )

    def factor(self, step: int) -> float:
        """The share of the learning rate at a step."""
        rise = min((step + 1) / max(self.warmup, 1), 1.0)
        if not self.cosine:
            return rise
        return rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@contextlib.contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Torch's global generators (initialisation and dropout draw from them) seeded here and restored after."""
    with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        yield


def train(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    validate: Callable[[], float],
    schedule: Schedule,
    task: FitTask,
    streams: Sequence[Stream],
    *,
    select: bool = True,
    replay: bool = False,
) -> None:
    """Minimise `loss(step)`; leave the model in its best validated state, or its last.

    Every `KEEP_EVERY` seconds the task is given the state of training, and a task that has one is continued: on one
    thread, to the same bits as without an interruption.

    Parameters
    ----------
    model
        Trained in place.
    loss
        The loss on a fresh batch.
    validate
        The error to select by, called in evaluation mode without gradients.
    schedule
        How to train.
    task
        Told the progress at every step, and the losses at every look at the validation error: of training, the mean
        since the look before.
    streams
        The random generators that `loss` draws from, besides torch's global one.
    select
        Whether the state with the least validation error is kept, else the last.
    replay
        Whether steps on a CUDA device are replayed as a graph (`ReplayedStep`): `loss` draws from torch's generators
        on the device alone, and takes no notice of the step.

    Raises
    ------
    PredictorError
        If the validation error is not finite; no state that is not is kept for a resumption.
    """
    if replay and not all(isinstance(stream, torch.Generator) for stream in streams):
        raise TypeError("steps that are replayed draw from torch's generators alone")
    replay = replay and task.device.startswith("cuda")
    optimizer = _optimizer(model, schedule, task.device, replay=replay)
    loop = Loop(model, optimizer, streams, task.curve, copy.deepcopy(model.state_dict()))
    if task.resume is not None:
        loop.restore(task.resume)

    def update() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        missed = loss(loop.step)
        missed.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
        optimizer.step()
        return missed.detach()

    advance = ReplayedStep(update, cast("Sequence[torch.Generator]", streams)) if replay else update
    message, kept_at = "", time.monotonic()
    model.train()
    while True:
        if loop.step % schedule.validate_every == 0 or loop.step == schedule.steps:
            message = _look(loop, validate, schedule, select=select)
        task.progress(loop.step, schedule.steps, message)
        if loop.step >= schedule.steps:
            break
        _set_rate(optimizer, schedule.learning_rate * schedule.factor(loop.step))
        loop.losses.append(advance())
        loop.step += 1
        if time.monotonic() - kept_at >= KEEP_EVERY:
            if all(bool(torch.isfinite(one).all()) for one in model.parameters()):
                task.keep(loop.state())
            kept_at = time.monotonic()
    model.load_state_dict(loop.best)
    model.eval()


def _optimizer(model: nn.Module, schedule: Schedule, device: str, *, replay: bool) -> torch.optim.AdamW:
    """AdamW; one whose steps are replayed reads its rate from the device."""
    rate = torch.tensor(schedule.learning_rate, device=device) if replay else schedule.learning_rate
    return torch.optim.AdamW(
        model.parameters(), lr=rate, weight_decay=schedule.weight_decay, fused=True, capturable=replay
    )


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate: where a graph reads it, in place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _look(loop: Loop, validate: Callable[[], float], schedule: Schedule, *, select: bool) -> str:
    """Look at the validation error, and add it to the curve; returns a status message."""
    loop.model.eval()
    with torch.no_grad():
        error = validate()
    if not math.isfinite(error):
        raise PredictorError(
            f"its training diverged: the validation error at step {loop.step} of {schedule.steps} is {error}. Lower "
            f"its learning rate, which is {schedule.learning_rate:g}."
        )
    if kept := error < loop.best_error or not select:
        loop.best, loop.best_error = copy.deepcopy(loop.model.state_dict()), error
    loop.model.train()
    training = float(torch.stack(loop.losses).mean()) if loop.losses else None
    loop.curve.add(loop.step, training=training, validation=error, kept=kept)
    loop.losses.clear()
    return f"validation skill {1 - error:.3f}, {'best' if select else 'last'} {1 - loop.best_error:.3f}"
