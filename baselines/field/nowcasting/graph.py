"""The neural graph of a policy: neurons and biases as nodes, parameters as edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from ....rl import PolicyLayout

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

POSITIONS = 8
TIE = 1e-6
"""Eigenvalues no farther apart count as one."""
WEIGHT, BIAS, SELF_LOOP = 0, 1, 2
"""Kinds of edges; the log-std, a vector added to each output, is a bias."""


@dataclass(frozen=True)
class Part:
    """The edges of a matrix [out, in], or of a vector [out] from its one node: nodes by place, edges as in P."""

    kind: int
    edges: slice
    targets: slice
    sources: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Targets and sources."""
        return self.targets.stop - self.targets.start, self.sources.stop - self.sources.start


@dataclass(frozen=True)
class NeuralGraph:
    """Kofinas et al. (ICLR 2024): N nodes, and an edge for each of P parameters, followed by N self-loops.

    Nodes are in the order of NiNo's graph of an MLP: inputs, then for each layer the nodes of its vectors (the bias,
    and with the outputs the log-std) and its neurons. Edges lead from input to output, in the order of the weights.
    """

    nodes: int
    parts: tuple[Part, ...]

    @classmethod
    @cache
    def of(cls, layout: PolicyLayout) -> NeuralGraph:
        """The graph of a layout's policies."""
        parts = []
        before = slice(0, layout.observation_size)
        for layer, size in enumerate(layout.sizes[1:]):
            last = layer == len(layout.hidden_sizes)
            vectors = [f"layer{layer}.bias", *["log_std"] * (last and not layout.categorical)]
            first = before.stop + len(vectors)
            neurons = slice(first, first + size)
            parts.append(Part(WEIGHT, layout.slices[f"layer{layer}.weight"], neurons, before))
            for node, name in enumerate(vectors, before.stop):
                parts.append(Part(BIAS, layout.slices[name], neurons, slice(node, node + 1)))
            before = neurons
        return cls(before.stop, tuple(parts))

    @property
    def parameters(self) -> int:
        """P."""
        return sum(part.edges.stop - part.edges.start for part in self.parts)

    @property
    def edge_count(self) -> int:
        """P + N."""
        return self.parameters + self.nodes

    @cached_property
    def edges(self) -> tuple[Integers, Integers, Integers]:
        """Target, source and kind of every edge, [P + N] each."""
        loops = np.arange(self.nodes)
        targets, sources = (np.concatenate([np.empty(self.parameters, dtype=np.int64), loops]) for _ in range(2))
        kinds = np.full(len(targets), SELF_LOOP)
        for part in self.parts:
            out, into = part.shape
            targets[part.edges] = np.repeat(np.arange(part.targets.start, part.targets.stop), into)
            sources[part.edges] = np.tile(np.arange(part.sources.start, part.sources.stop), out)
            kinds[part.edges] = part.kind
        return targets, sources, kinds

    @cached_property
    def positions(self) -> Float64:
        """The first eigenvectors of the graph's normalised Laplacian after the constant one, as features [N, 8].

        The graph is undirected and unweighted, without self-loops. An eigenvector is there only if its eigenvalue is
        simple; the place of any other is 0. Neurons of a layer all have the same neighbours, so that most eigenvalues
        are multiple and their eigenvectors arbitrary: what a library happens to return tells neurons apart by their
        storage order. The simple ones are the same for all neurons of a hidden layer. Their sign is positive at the
        first input.
        """
        targets, sources, _ = self.edges
        adjacency = np.zeros((self.nodes, self.nodes))
        adjacency[targets, sources] = adjacency[sources, targets] = 1
        np.fill_diagonal(adjacency, 0)
        scale = 1 / np.sqrt(adjacency.sum(axis=1))
        values, vectors = np.linalg.eigh(np.eye(self.nodes) - scale[:, None] * adjacency * scale)
        gaps = np.concatenate([[np.inf], np.diff(values), [np.inf]])
        simple = np.minimum(gaps[:-1], gaps[1:]) > TIE
        found = (vectors * np.where(vectors[0] < 0, -1, 1) * simple)[:, 1 : POSITIONS + 1]
        return np.pad(found, ((0, 0), (0, POSITIONS - found.shape[1])))
