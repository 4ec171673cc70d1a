"""A2C's networks for many independent agents at once: a shared trunk, nine logits and a value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..policy import ParameterLayout
from .worlds import MOVES, World

UNITS, CHANNELS = 32, 16


@dataclass(frozen=True)
class GridAgentLayout(ParameterLayout):
    """Names and shapes of an agent's parameters in storage order; matrices are [in, out].

    Small worlds have a dense layer of 32 units on the flat observation. Big ones have before it a convolution of 16
    channels with 2 x 2 kernels, which, as in the source, takes the planes for the image's rows, the map's rows for its
    columns, and the map's columns for channels.

    Parameters
    ----------
    world
        The gridworld.
    """

    world: World

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes."""
        planes, rows, columns = self.world.planes
        inputs, shapes = planes * rows * columns, {}
        if self.world.convolutional:
            shapes = {"convolution.weight": (2, 2, columns, CHANNELS), "convolution.bias": (CHANNELS,)}
            inputs = planes * rows * CHANNELS
        shapes |= {"dense.weight": (inputs, UNITS), "dense.bias": (UNITS,)}
        shapes |= {"policy.weight": (UNITS, len(MOVES)), "policy.bias": (len(MOVES),)}
        return {**shapes, "value.weight": (UNITS, 1), "value.bias": (1,)}

    def initial(self, seed: int) -> Tensor:
        """An initialisation [P]: flax's default, truncated normal matrices of variance 1 / inputs, biases of 0."""
        draw = np.random.default_rng(seed)
        parts = []
        for name, shape in self.shapes.items():
            if name.endswith("bias"):
                parts.append(np.zeros(shape))
                continue
            values = draw.standard_normal(shape)
            while (beyond := np.abs(values) > 2).any():
                values[beyond] = draw.standard_normal(beyond.sum())
            # A normal cut at two deviations has 0.8796 of its deviation.
            parts.append(values / 0.87962566103423978 / math.sqrt(math.prod(shape[:-1])))
        return torch.from_numpy(np.concatenate([part.ravel() for part in parts]).astype(np.float32))

    def forward(self, parameters: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, B, 9] and values [N, B] of agents with parameters [N, P] on observations [N, B, ...]."""
        shapes = self.shapes
        part = {name: parameters[:, where].view(-1, *shapes[name]) for name, where in self.slices.items()}
        x = planes
        if self.world.convolutional:
            x = self._convolve(planes, part["convolution.weight"], part["convolution.bias"])
        x = x.flatten(2)
        x = torch.baddbmm(part["dense.bias"][:, None], x, part["dense.weight"]).relu()
        logits = torch.baddbmm(part["policy.bias"][:, None], x, part["policy.weight"])
        return logits, torch.baddbmm(part["value.bias"][:, None], x, part["value.weight"])[..., 0]

    def _convolve(self, planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Images [N, B, height, width, channels], padded by 0 below and to the right, convolved and cut at 0."""
        height, width = planes.shape[2:4]
        padded = F.pad(planes, (0, 0, 0, 1, 0, 1))
        shifted = [padded[:, :, y : y + height, x : x + width] for y in range(2) for x in range(2)]
        patches = torch.cat(shifted, -1).flatten(1, 3)  # [N, B * height * width, 4 * channels]
        found = torch.baddbmm(bias[:, None], patches, weight.flatten(1, 3)).relu_()
        return found.view(*planes.shape[:4], CHANNELS)


def select(logits: Tensor, draws: Tensor) -> Tensor:
    """Actions by logits [..., 9], from one uniform number [...] each."""
    chances = torch.softmax(logits, -1).cumsum(-1)
    return (chances < draws[..., None].to(chances.dtype)).sum(-1).clamp_(max=logits.shape[-1] - 1)
