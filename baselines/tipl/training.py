"""Training a backbone on windows of tokens, and rolling it out."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ...utils.errors import PredictorError
from ..fitting.torch_predictor import Schedule, seeded, train
from ..predictor import Array, FitTask
from .backbone import Backbone
from .design import Design
from .options import BackboneOptions

FIRST_TRAINED = 4
"""Tokens with less past than this are left out of the loss with `Design.skip_first`."""
VALIDATION_WINDOWS = 512


@dataclass(frozen=True)
class TokenWindows:
    """W windows of many trials as tokens, in one unit of squared error for all of a window's columns.

    Parameters
    ----------
    points
        [W, L + H, d]: the context's checkpoints, then those that follow.
    positions
        Each one's place within its PPO iteration, [W, L + H].
    start
        The first checkpoint's number in its trial, [W].
    weight
        Squared steps, [W].
    displacement
        Squared error [W, H] of persistence.
    outside
        Squared error [W, H] that remains where the tokens are right.
    metric
        What a squared error of each coordinate counts, [W, d].
    """

    points: Tensor
    positions: Tensor
    start: Tensor
    weight: Tensor
    displacement: Tensor
    outside: Tensor
    metric: Tensor

    def columns(self) -> tuple[Tensor, ...]:
        """All columns, in order."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def take(self, rows: Tensor) -> TokenWindows:
        """Some of the windows, by number or mask."""
        return TokenWindows(*(column[rows] for column in self.columns()))

    def to(self, device: str) -> TokenWindows:
        """The same on a device."""
        return TokenWindows(*(column.to(device) for column in self.columns()))


def joined(parts: list[TokenWindows]) -> TokenWindows:
    """The windows of several trials in one."""
    return TokenWindows(*(torch.cat(column) for column in zip(*(part.columns() for part in parts), strict=True)))


def fit_backbone(
    options: BackboneOptions,
    design: Design,
    task: FitTask,
    training: TokenWindows,
    validation: TokenWindows,
    ridge: Array | None = None,
) -> Backbone:
    """A backbone trained on windows of tokens, on top of a ridge line [Q, lags] if one is given."""
    windows, context = training.to(task.device), task.context
    if len(windows.points) == 0:
        raise PredictorError("no training weight ever moves; there is nothing to learn.")
    if len(validation.points) == 0:
        raise PredictorError("no weight of the validation trials ever moves; there is nothing to choose a state by.")
    held_out = validation.take(_drawn(validation, design, VALIDATION_WINDOWS)).to(task.device)
    rank = windows.points.shape[-1]
    first = min(FIRST_TRAINED, context - 1) if design.skip_first else 0
    length = context + task.horizon if design.growing else context + 1
    generator = torch.Generator(task.device).manual_seed(task.seed)
    with seeded(task.seed, task.device):
        model = Backbone(
            options,
            rank=rank,
            positions=int(windows.positions.max()) + 1,
            timesteps=context + task.horizon if design.window_time else max(map(len, task.train)),
            design=design,
            ridge=ridge,
        ).to(task.device)

        def loss(step: int) -> Tensor:
            rows = _drawn(windows, design, options.batch, generator)
            points, positions = windows.points[rows, :length], windows.positions[rows, : length - 1]
            if design.rotations:
                points = points @ _rotations(options.batch, rank, task.device, generator)
            residual = model.following(points[:, :-1], positions, windows.start[rows]) - points[:, 1:]
            return (residual[:, first:].square() * windows.metric[rows, None]).sum(-1).mean()

        def validate() -> float:
            future = held_out.points[:, context:]
            ahead = roll_out(model, held_out.points[:, :context], held_out.positions, held_out.start, future.shape[1])
            error = ((ahead - future).square() * held_out.metric[:, None]).sum(-1) + held_out.outside
            return float((error.sum(0) / held_out.displacement.sum(0)).mean())

        schedule = Schedule.of(options, cosine=options.cosine)
        train(model, loss, validate, schedule, task, [generator], select=design.select, replay=True)
    return model


def roll_out(model: Backbone, points: Tensor, positions: Tensor, start: Tensor | None, horizon: int) -> Tensor:
    """Feed forecasts back: points [B, L, d], positions [B, L + H] and starts [B] to forecasts [B, H, d]."""
    context = points.shape[1]
    for step in range(horizon):
        first = 0 if model.design.growing else step
        begin = None if start is None else start + first
        ahead = model.following(points[:, first:], positions[:, first : context + step], begin)[:, -1:]
        points = torch.cat([points, ahead], dim=1)
    return points[:, context:]


def _drawn(windows: TokenWindows, design: Design, count: int, generator: torch.Generator | None = None) -> Tensor:
    """The numbers of `count` windows; without a generator the same for every seed."""
    generator = generator or torch.Generator().manual_seed(0)
    if design.by_step:
        return torch.multinomial(windows.weight, count, replacement=True, generator=generator)
    device = windows.weight.device
    return torch.randint(len(windows.weight), (count,), generator=generator, device=device)


def _rotations(batch: int, rank: int, device: str, generator: torch.Generator) -> Tensor:
    """Random rotations and reflections of the coordinates, [batch, d, d]."""
    normal = torch.randn((batch, rank, rank), device=device, generator=generator)
    if device.startswith("cuda"):
        return orthogonal(normal)
    q, r = torch.linalg.qr(normal)
    rotations: Tensor = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return rotations


def orthogonal(matrices: Tensor) -> Tensor:
    """Q of the QR factors with a positive diagonal of R, [B, d, d], by Cholesky's method in float64.

    On CUDA, `torch.linalg.qr` takes one matrix after another. A part in 10^14 is added to the squared columns, so that
    a matrix that is all but singular has factors too; its Q is then a little too short in one direction.
    """
    columns = matrices.double()
    squared = columns.mT @ columns
    squared.diagonal(dim1=1, dim2=2).mul_(1 + 1e-14)
    factor = torch.linalg.cholesky_ex(squared).L  # R^T
    q: Tensor = torch.linalg.solve_triangular(factor, columns.mT, upper=False).mT.to(matrices.dtype)
    return q
