"""NiNo: message passing on the neural graph of the policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .graph import POSITIONS, NeuralGraph
from .nowcaster import RELEASED_STEPS, Network, Nowcaster
from .released import Published, Release

WIDTH, ROUNDS = 128, 2
KINDS = [1, 2, 13]
"""The rows of the published edge types that a policy's graph has: matrices, vectors and self-loops."""
SELF_LOOP_STATE = 2.0
FEATURES = 9
"""The largest kernel of the published network's convolutions; a policy's edges have one weight each, the first."""
FIRST = np.arange(RELEASED_STEPS)
UNUSED_NODES = "updates nodes after the last update of edges, so that no forecast depends on it; it was never trained"


def _published() -> dict[str, Published]:
    """The tensors of the released file."""
    square, row = (WIDTH, WIDTH), (WIDTH,)
    found = {
        "layer_embed.weight": Published((15, WIDTH), "kind.weight", KINDS, "types that a policy does not have"),
        "edge_proj.fc.0.weight": Published(
            (WIDTH, 5 * FEATURES), "project.weight", np.s_[:, :5], "other places of a kernel, which are 0 here"
        ),
        "edge_proj.fc.0.bias": Published(row, "project.bias"),
        "node_proj.fc.0.weight": Published((WIDTH, POSITIONS), "position.weight"),
        "node_proj.fc.0.bias": Published(row, "position.bias"),
        "edge_out.fc.0.weight": Published(square, "out.weight"),
        "edge_out.fc.0.bias": Published(row, "out.bias"),
        "edge_out.fc.2.weight": Published(
            (FEATURES * RELEASED_STEPS, WIDTH), "head.weight", FIRST, "other places of a kernel"
        ),
        "edge_out.fc.2.bias": Published((FEATURES * RELEASED_STEPS,), "head.bias", FIRST, "other places of a kernel"),
    }
    layers = {
        "edge_encoder": ("modulate", 2 * WIDTH, WIDTH),
        "pre_nns.0.0": ("pre", WIDTH, 2 * WIDTH),
        "post_nns.0.0": ("post", WIDTH, 2 * WIDTH),
        "lin": ("node", WIDTH, WIDTH),
    }
    for number in range(ROUNDS + 1):
        for name, (own, out, into) in layers.items():
            for part, shape in (("weight", (out, into)), ("bias", (out,))):
                target, unused = (f"rounds.{number}.{own}.{part}", "") if number < ROUNDS else (None, UNUSED_NODES)
                found[f"gnn.convs.{number}.{name}.{part}"] = Published(shape, target, (), unused)
    for number in range(ROUNDS):
        for name, own in {"lin_e": "edge", "lin_s": "source", "lin_t": "target", "lin1": "edge_out"}.items():
            for part, shape in (("weight", square), ("bias", row)):
                found[f"gnn.edge_update.{number}.{name}.{part}"] = Published(shape, f"rounds.{number}.{own}.{part}")
    return found


class NiNo(Nowcaster):
    """Message passing on the policy's neural graph: each weight's future from its past and its neurons'.

    Nodes are inputs, neurons and biases (Kofinas et al., ICLR 2024). Edges are parameters, with the five standardised
    states that `wnn-plus` sees, and a self-loop at each node, whose states are 2. With e = W x + k(type) of edges and
    v = P(8 Laplacian features) of nodes, each of two rounds does m = a(e) * pre(v_target, v_source) + b(e), then
    v = silu(node(post(v, mean of m over the edges into the node))), then
    e = edge_out(silu(edge(e) + source(v_source) + target(v_target))), where a, b, pre, post, node, edge, source, target
    and edge_out are linear. Then phi(t + h) = phi(t) + s y_h, with y = head(silu(out(e))). Width 128.

    Knyazev et al. (ICLR 2025). The original has a third round that updates nodes alone: it cannot change a forecast,
    and is left out. Its Laplacian features are eigenvectors with random signs, most of them an arbitrary choice that
    depends on the order in which neurons are stored. Here those are 0, so that to permute the hidden units of a layer
    permutes the forecast likewise. It is trained as `wnn-plus` is, and takes released weights likewise
    (`checkpoints/nino_no_posw.pt`, as safetensors).
    """

    name: ClassVar[str] = "nino"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Message passing on the policy's neural graph, all steps at once (NiNo)."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 10, "windows": 4, "validate_every": 10},
        "quick": {"steps": 1_000, "validate_every": 250},
        "standard": {"steps": 10_000},
        "paper": {},
    }
    release: ClassVar[Release] = Release(
        "checkpoints/nino_no_posw.pt", "https://github.com/SamsungSAILMontreal/nino (commit 84fb0cf)", _published()
    )

    @staticmethod
    def module(steps: int) -> Network:
        """See `Nowcaster.module`."""
        return _GraphNetwork(steps)


class _Round(nn.Module):
    """One round of messages: an update of nodes, and one of edges."""

    def __init__(self) -> None:
        super().__init__()
        self.modulate = nn.Linear(WIDTH, 2 * WIDTH)
        self.pre, self.post = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.node = nn.Linear(WIDTH, WIDTH)
        self.edge, self.edge_out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.source, self.target = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, nodes: Tensor, edges: Tensor, graph: _Ends) -> tuple[Tensor, Tensor]:
        """Nodes [B, N, width] and edges [B, P + N, width] after the round."""
        # `pre` is applied to nodes before they are spread over their edges: fewer products than on every edge's pair.
        to_target, to_source = self.pre.weight[:, :WIDTH], self.pre.weight[:, WIDTH:]
        pre = (nodes @ to_target.T + self.pre.bias)[:, graph.targets] + (nodes @ to_source.T)[:, graph.sources]
        scale, shift = self.modulate(edges).chunk(2, dim=-1)
        nodes = self.node(self.post(torch.cat([nodes, graph.mean(scale * pre + shift)], dim=-1)))
        nodes = nn.functional.silu(nodes)
        edges = self.edge(edges) + self.source(nodes)[:, graph.sources] + self.target(nodes)[:, graph.targets]
        return nodes, self.edge_out(nn.functional.silu(edges))


class _Ends:
    """Where edges begin and end, as tensors on a device."""

    def __init__(self, graph: NeuralGraph, device: torch.device) -> None:
        self.graph = graph
        targets, sources, kinds = (torch.from_numpy(index).to(device) for index in graph.edges)
        self.targets, self.sources, self.kinds = targets, sources, kinds
        self.degree = torch.bincount(targets, minlength=graph.nodes)[:, None]

    def mean(self, messages: Tensor) -> Tensor:
        """The mean over the edges into each node, [B, N, width]."""
        # Sums of blocks rather than of scattered rows: the same bits every time, on every device.
        total = messages[:, self.graph.parameters :].clone()
        for part in self.graph.parts:
            block = messages[:, part.edges].reshape(len(messages), *part.shape, WIDTH).sum(dim=2)
            total[:, part.targets] = total[:, part.targets] + block
        return total / self.degree


class _GraphNetwork(Network):
    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.kind = nn.Embedding(len(KINDS), WIDTH)
        self.project = nn.Linear(5, WIDTH)
        self.position = nn.Linear(POSITIONS, WIDTH)
        self.rounds = nn.ModuleList(_Round() for _ in range(ROUNDS))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, steps)

    def answer(self, states: Tensor, graph: NeuralGraph, columns: Tensor | None) -> Tensor:
        """See `Network.answer`; all of P, as every edge depends on its neighbours."""
        ends = _Ends(graph, states.device)
        features = torch.from_numpy(graph.positions).to(states)
        loops = states.new_full((len(states), graph.nodes, states.shape[2]), SELF_LOOP_STATE)
        edges = self.project(torch.cat([states, loops], dim=1) @ self.basis.T) + self.kind(ends.kinds)
        nodes = self.position(features).expand(len(states), -1, -1)
        for message in self.rounds:
            nodes, edges = message(nodes, edges, ends)
        out: Tensor = self.head(nn.functional.silu(self.out(edges[:, : graph.parameters]))) * self.unit
        return out
