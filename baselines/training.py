"""What the trained predictors share: a seeded AdamW loop that keeps the state best on the validation trials."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings: steps, AdamW, warm-up, and how often to validate."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup: int
    cosine: bool
    gradient_clip: float
    validate_every: int

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
    progress: Callable[[int, int, str], None],
) -> None:
    """Minimise `loss(step)`; leave the model in its best validated state.

    Parameters
    ----------
    model
        Trained in place.
    loss
        The loss on a fresh batch.
    validate
        The error to select by, called in evaluation mode without gradients.
    schedule
        The optimiser's settings.
    progress
        Told of every step.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
    best, best_error, word = copy.deepcopy(model.state_dict()), math.inf, ""
    for step in range(schedule.steps + 1):
        if step % schedule.validate_every == 0 or step == schedule.steps:
            model.eval()
            with torch.no_grad():
                error = validate()
            if error < best_error:
                best, best_error = copy.deepcopy(model.state_dict()), error
            model.train()
            word = f"validation skill {1 - error:.3f}, best {1 - best_error:.3f}"
        progress(step, schedule.steps, word)
        if step < schedule.steps:
            optimizer.zero_grad(set_to_none=True)
            loss(step).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
            optimizer.step()
            scheduler.step()
    model.load_state_dict(best)
    model.eval()
