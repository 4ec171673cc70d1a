"""WNN+: an MLP on five states of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .graph import NeuralGraph
from .nowcaster import RELEASED_STEPS, Network, Nowcaster
from .released import Published, Release

WIDTH = 128
KINDS = [1, 2]
"""The rows of the published layer types that a policy has: matrices and vectors."""


class WNNPlus(Nowcaster):
    """The last weights plus what an MLP says of five standardised states of each weight by itself.

    phi(t + h) = phi(t) + s y_h, with y = head(silu(L3(silu(L2(silu(L1(W x + k(type)))))))) and x = (w - m) / (s + 1e-6)
    for the five states w of a weight; m and s are mean and standard deviation over its matrix or vector and the five
    states, k an embedding of which of the two it is in (the log-std is a vector). Width 128.

    Knyazev et al. (ICLR 2025), whose baseline without a graph it is, after WNN (Jang et al., ICML 2023). The original
    is trained on the absolute error in standardised units, of 40 steps of 200 optimiser steps each. Here it is trained
    on the squared error in weight space (`loss=absolute`: the absolute error in units of the window's step), of the
    checkpoints of the horizon, with differences of states and answers in units of their size. W and the head could
    absorb those units: without them, a thousand batches teach it nothing.

    `weights=PATH` takes the released network (`checkpoints/nino_mlp.pt`, as safetensors) in place of training. Its
    steps are as long as the spacing of the states, and between two of them forecasts are interpolated. `stride=1` and
    `scale=1` use it as it is; else both are what has the highest mean skill on the validation trials.
    """

    name: ClassVar[str] = "wnn-plus"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "MLP on five states of each weight, standardised per layer (WNN+)."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 50, "validate_every": 25},
        "quick": {"steps": 4_000},
        "standard": {},
        "paper": {"steps": 100_000},
    }
    per_window: ClassVar[int | None] = 256
    release: ClassVar[Release] = Release(
        "checkpoints/nino_mlp.pt",
        "https://github.com/SamsungSAILMontreal/nino (commit 84fb0cf)",
        {
            "layer_embed.weight": Published((15, WIDTH), "kind.weight", KINDS, "types that a policy does not have"),
            "edge_proj.fc.0.weight": Published((WIDTH, 5), "project.weight"),
            "edge_proj.fc.0.bias": Published((WIDTH,), "project.bias"),
            **{
                f"edge_mlp.fc.{2 * layer}.{part}": Published(shape, f"hidden.{layer}.{part}")
                for layer in range(3)
                for part, shape in (("weight", (WIDTH, WIDTH)), ("bias", (WIDTH,)))
            },
            "edge_mlp.fc.6.weight": Published((RELEASED_STEPS, WIDTH), "head.weight"),
            "edge_mlp.fc.6.bias": Published((RELEASED_STEPS,), "head.bias"),
        },
    )

    @staticmethod
    def module(steps: int) -> Network:
        """See `Nowcaster.module`."""
        return _WeightNetwork(steps)


class _WeightNetwork(Network):
    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.kind = nn.Embedding(len(KINDS), WIDTH)
        self.project = nn.Linear(5, WIDTH)
        self.hidden = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, steps)

    def answer(self, states: Tensor, graph: NeuralGraph, columns: Tensor | None) -> Tensor:
        """See `Network.answer`."""
        kinds = torch.from_numpy(graph.edges[2][: graph.parameters]).to(states.device)
        found = self.project(states @ self.basis.T) + self.kind(kinds if columns is None else kinds[columns])
        for layer in self.hidden:
            found = nn.functional.silu(layer(found))
        out: Tensor = self.head(found) * self.unit
        return out
