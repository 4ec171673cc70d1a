"""The policy as a graph: neurons are nodes, weights are edges, and biases and log-stds belong to nodes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...rl import PolicyLayout


@dataclass(frozen=True)
class Values:
    """Of every parameter: edges [B, out, in, F] and biases [B, out, F] of each layer, and log-stds [B, actions, F]."""

    edges: list[Tensor]
    biases: list[Tensor]
    log_std: Tensor


def split(values: Tensor, sizes: tuple[int, ...]) -> Values:
    """The parts of [B, P, F], which lies as `PolicyLayout.shapes` says, for layers of some sizes."""
    edges, biases, at = [], [], 0
    for inputs, outputs in pairwise(sizes):
        end = at + outputs * inputs
        edges.append(values[:, at:end].reshape(len(values), outputs, inputs, -1))
        biases.append(values[:, end : end + outputs])
        at = end + outputs
    return Values(edges, biases, values[:, at:])


def join(values: Values) -> Tensor:
    """The inverse of `split`."""
    parts = [
        part for edge, bias in zip(values.edges, values.biases, strict=True) for part in (edge.flatten(1, 2), bias)
    ]
    return torch.cat([*parts, values.log_std], 1)


def flip_signs(sizes: tuple[int, ...], count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Factors [count, P] of 1 and -1 that flip hidden units at random: with tanh they leave a policy as it is."""
    flips = [rng.choice([-1.0, 1.0], (count, size)) for size in sizes]
    flips[0], flips[-1] = np.ones_like(flips[0]), np.ones_like(flips[-1])
    parts = []
    for source, target in pairwise(flips):
        parts += [(target[:, :, None] * source[:, None]).reshape(count, -1), target]
    return np.concatenate([*parts, flips[-1]], 1).astype(np.float32)


def sample_units(
    layout: PolicyLayout, units: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Columns of the parameters between at most `units` random units of each hidden layer, and the layers' sizes."""
    kept = [np.arange(size) for size in layout.sizes]
    kept[1:-1] = [np.sort(rng.choice(size, min(size, units), replace=False)) for size in layout.hidden_sizes]
    parts, at = [], 0
    for place, (inputs, outputs) in enumerate(pairwise(layout.sizes)):
        matrix = at + np.arange(outputs * inputs).reshape(outputs, inputs)
        parts += [matrix[np.ix_(kept[place + 1], kept[place])].ravel(), at + outputs * inputs + kept[place + 1]]
        at += outputs * (inputs + 1)
    parts.append(np.arange(at, layout.parameter_count))
    return np.concatenate(parts), tuple(map(len, kept))
