"""Introspection and Farcasting: a weight's future from a few of its past values, far apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .per_weight import PerWeight


class Introspection(PerWeight):
    """A network of 40 units on a weight's values at t, 7t/10, 4t/10 and 0, t the length of the context.

    Sinha, Sarkar, Mukherjee and Krishnamurthy (ICLR 2017) forecast the value at 2t, far ahead, from the whole past of a
    run, and jump there a few times. Here t is the context, values are in units of its step, and all horizons are
    answered at once; so is the next checkpoint, where values far apart say little. With s the step, L the context and
    x(q) = (w(t - (1 - q)(L - 1)) - w(t)) / s: w(t + h) = w(t) + s (B relu(A [x(0.7), x(0.4), x(0)] + a) + b)_h.
    """

    name: ClassVar[str] = "introspection"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Small network on four spread values of each weight's past (Introspection)."
    width: ClassVar[int] = 40

    @staticmethod
    def body() -> nn.Module:
        """See `PerWeight.body`."""
        return nn.Sequential(nn.Linear(3, 40), nn.ReLU())

    @staticmethod
    def encode(past: Tensor) -> tuple[Tensor, Tensor]:
        """The values relative to the origin, which is 0."""
        last = past.shape[-1] - 1
        places = [round(last * share) for share in (0.7, 0.4, 0.0)]
        return past[..., places], torch.ones_like(past[..., :1])


class Farcasting(PerWeight):
    """One linear layer on a weight's first and last value, for all horizons at once.

    arXiv 2505.02714 asks whether a weight's end can be told from its beginning; its simplest model is this one. In
    values relative to the origin it has one coefficient and one constant at each horizon, in units of the step s:
    w(t + h) = w(t) + a_h (w(t - L + 1) - w(t)) + b_h s.
    """

    name: ClassVar[str] = "farcasting"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "One linear layer on each weight's first and last value (Farcasting)."
    width: ClassVar[int] = 1

    @staticmethod
    def body() -> nn.Module:
        """See `PerWeight.body`."""
        return nn.Identity()

    @staticmethod
    def encode(past: Tensor) -> tuple[Tensor, Tensor]:
        """The oldest value, relative to the origin."""
        return past[..., :1], torch.ones_like(past[..., :1])


class WNN(PerWeight):
    """Two streams on a weight's last five values and their four differences, each in the weight's own range.

    Jang et al. (ICML 2023): values relative to the first of the five, over half of their range. Each stream is a dense
    layer of 64, a gated activation into 8 and a dense layer of 32; the joined streams give one tanh. The original
    trains one network for each kind of kernel and one for biases, on the absolute error, and its code adds a bias's
    forecast to the scaled bias. Here one network serves all weights, and its answer is added to the weight itself. It
    answers all horizons at once, without the tanh, which would bound a displacement by the range of the past.
    """

    name: ClassVar[str] = "wnn"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Two streams on each weight's last values and differences (WNN)."
    width: ClassVar[int] = 64

    @staticmethod
    def body() -> nn.Module:
        """See `PerWeight.body`."""
        return _TwoStreams()

    @staticmethod
    def encode(past: Tensor) -> tuple[Tensor, Tensor]:
        """Five values and four differences, in half of the range of the values."""
        last = past[..., -5:]
        if missing := 5 - last.shape[-1]:  # a shorter context stood still before
            last = torch.cat([last[..., :1].expand(*last.shape[:-1], missing), last], -1)
        unit = ((last.amax(-1, keepdim=True) - last.amin(-1, keepdim=True)) / 2).clamp_min(1e-6)
        return torch.cat([(last - last[..., :1]) / unit, last.diff(dim=-1) / unit], -1), unit


class _TwoStreams(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.values, self.differences = (
            nn.Sequential(nn.Linear(inputs, 64), nn.Linear(64, 16), nn.GLU(), nn.Linear(8, 32), nn.SiLU())
            for inputs in (5, 4)
        )

    def forward(self, features: Tensor) -> Tensor:
        """[..., 9] to [..., 64]."""
        values, differences = torch.split(features, [5, 4], dim=-1)
        return torch.cat([self.values(values), self.differences(differences)], -1)
