"""The Transformer over neurons: messages along the weights, attention among neurons, and an update of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...rl import PolicyLayout
from .graph import Values, join, split
from .statistics import Statistics, StatisticsEmbedding


class Round(nn.Module):
    """One round on edges [B, out, in, C] of each layer and nodes [B, units, C] of each layer of units.

    A neuron takes the mean message of its incoming weights and of its outgoing ones, then attends to all neurons; a
    weight takes what its two neurons have become. All is residual, so that the order of hidden units does not matter.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.edge_norm, self.node_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.message = Meeting(width, 2 * width)
        self.node = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.attention_norm = nn.LayerNorm(width)
        self.queries, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.new_edge_norm, self.new_node_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.edge = Meeting(width, width)

    def forward(self, edges: list[Tensor], nodes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Edges and nodes after the round."""
        seen = [self.node_norm(node) for node in nodes]
        incoming = [torch.zeros_like(node) for node in nodes]
        outgoing = [torch.zeros_like(node) for node in nodes]
        for layer, edge in enumerate(edges):
            forth, back = self.message(self.edge_norm(edge), seen[layer], seen[layer + 1]).chunk(2, -1)
            incoming[layer + 1], outgoing[layer] = forth.mean(2), back.mean(1)
        nodes = [
            node + self.node(torch.cat(parts, -1)) for node, *parts in zip(nodes, seen, incoming, outgoing, strict=True)
        ]
        nodes = self._attend(nodes)
        seen = [self.new_node_norm(node) for node in nodes]
        edges = [
            edge + self.edge(self.new_edge_norm(edge), seen[layer], seen[layer + 1]) for layer, edge in enumerate(edges)
        ]
        return edges, nodes

    def _attend(self, nodes: list[Tensor]) -> list[Tensor]:
        tokens = torch.cat(nodes, 1)
        parts = self.queries(self.attention_norm(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        tokens = tokens + self.attended(found)
        return list(tokens.split([node.shape[1] for node in nodes], 1))


class Meeting(nn.Module):
    """A dense layer of an edge and the neurons at its ends, SiLU, and a dense layer."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.own, self.out = nn.Linear(width, width), nn.Linear(width, outputs)
        self.source, self.target = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """[B, out, in, outputs]."""
        found: Tensor = self.out(
            F.silu(self.own(edge) + self.source(source)[:, None] + self.target(target)[:, :, None])
        )
        return found


class NeuronNetwork(nn.Module):
    """From what is known of every parameter [B, P, lags + 1] to its displacement at each horizon [B, P, H].

    Input and output neurons have an embedding each, hidden ones one for their layer; the place within the PPO iteration
    and the size of the window's step are added to all. The answer is 0 before training.

    Parameters
    ----------
    inputs, outputs, layers
        Observations, actions, and layers of weights of the policy.
    lags, positions, horizon
        Differences of a context, places within an iteration, and H.
    width, rounds, heads
        C, rounds of messages, and heads of attention.
    statistics
        Whether it is given `Statistics` too.
    """

    ridge: Tensor
    """Coefficients [positions, H, lags] of the ridge line that the network's answer is added to."""

    def __init__(
        self, *, inputs: int, outputs: int, layers: int, lags: int, positions: int, horizon: int, width: int,
        rounds: int, heads: int, statistics: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("ridge", torch.zeros(positions, horizon, lags))
        self.weight, self.bias, self.log_std = (nn.Linear(lags + 1, width) for _ in range(3))
        self.edge_layer, self.node_layer = nn.Embedding(layers, width), nn.Embedding(layers + 1, width)
        self.input, self.output = nn.Embedding(inputs, width), nn.Embedding(outputs, width)
        self.place, self.size = nn.Embedding(positions, width), nn.Linear(1, width)
        self.rounds = nn.ModuleList(Round(width, heads) for _ in range(rounds))
        self.edge_head, self.bias_head, self.log_std_head = (_head(width, horizon) for _ in range(3))
        self.statistics = StatisticsEmbedding(width) if statistics else None

    @classmethod
    def of(
        cls, layout: PolicyLayout, ridge: npt.NDArray[np.float64], options: Any, *, statistics: bool = False
    ) -> NeuronNetwork:
        """An untrained one for policies of a layout, on top of a ridge line [positions, H, lags]."""
        positions, horizon, lags = ridge.shape
        network = cls(
            inputs=layout.observation_size, outputs=layout.action_size, layers=len(layout.sizes) - 1, lags=lags,
            positions=positions, horizon=horizon, width=options.width, rounds=options.rounds, heads=options.heads,
            statistics=statistics,
        )  # fmt: skip
        network.ridge.copy_(torch.from_numpy(ridge))
        return network

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observations, layers of weights and actions of the policies that it is for."""
        return self.input.num_embeddings, self.edge_layer.num_embeddings, self.output.num_embeddings

    def forward(
        self,
        known: Tensor,
        position: Tensor,
        size: Tensor,
        sizes: tuple[int, ...],
        statistics: Statistics | None = None,
    ) -> Tensor:
        """Displacements [B, P, H] in units of the window's step.

        Parameters
        ----------
        known
            [B, P, lags + 1]: differences in units of the window's step, oldest first, and the weight at the origin.
        position, size
            [B]: the origin's place within its iteration, and the logarithm of the window's step.
        sizes
            Units of each layer, observation to action; P may be of some of the hidden units alone.
        statistics
            Of the windows, for a network that takes them.
        """
        parts = split(known, sizes)
        everywhere = (self.place(position) + self.size(size[:, None]))[:, None]
        edges = [self.weight(edge) + self.edge_layer.weight[layer] for layer, edge in enumerate(parts.edges)]
        nodes = [(self.input.weight + self.node_layer.weight[0]).expand(len(known), -1, -1) + everywhere]
        for layer, bias in enumerate(parts.biases, 1):
            nodes.append(self.bias(bias) + self.node_layer.weight[layer] + everywhere)
        nodes[-1] = nodes[-1] + self.output.weight
        if deviations := parts.log_std.shape[1]:  # of a Gaussian policy
            nodes[-1] = nodes[-1] + self.log_std(parts.log_std)
        if self.statistics is not None:
            overall, inputs = self.statistics(statistics)
            nodes = [nodes[0] + overall + inputs, *(node + overall for node in nodes[1:])]
        for round_ in self.rounds:
            edges, nodes = round_(edges, nodes)
        return join(
            Values(
                [self.edge_head(edge) for edge in edges],
                [self.bias_head(node) for node in nodes[1:]],
                self.log_std_head(nodes[-1][:, :deviations]),
            )
        )


def _head(width: int, horizon: int) -> nn.Sequential:
    last = nn.Linear(width, horizon)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), last)
