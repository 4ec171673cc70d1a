"""The Decision Transformer's backbone: a small GPT over checkpoint tokens.

Source: Chen et al. 2021, `kzl/decision-transformer` (gym): GPT-2 blocks with ReLU, a learned timestep embedding added
to every token, a LayerNorm on the embeddings and no further position embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..predictor import Array
from .design import SUITE, Design
from .options import BackboneOptions

MIN_TIMESTEPS = 64
"""Timesteps that every backbone embeds: a seed gives the same initial weights whatever shorter windows it is for."""


class Block(nn.Module):
    """Pre-norm causal self-attention and a ReLU MLP of four times the width."""

    def __init__(self, options: BackboneOptions) -> None:
        super().__init__()
        width = options.width
        self.heads, self.dropout = options.heads, options.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, W] to [B, N, W]."""
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)  # [B, heads, N, W / heads]
        y = y.transpose(1, 2).reshape(batch, length, width)
        x = x + F.dropout(self.project(y), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout, self.training)


class Backbone(nn.Module):
    """Predicts each token's next displacement, or the next token itself.

    Parameters
    ----------
    options
        Sizes of the network.
    design
        What a token holds, and what is embedded and predicted.
    rank
        d, coordinates of a token.
    positions
        Positions within a PPO iteration.
    timesteps
        Longest context and horizon together, or checkpoints of a trial.
    ridge
        Coefficients [positions, lags] of the next difference by the last ones, the last one first; the network's
        displacements are added to it.
    """

    ridge: Tensor | None
    """Given coefficients, which are not trained."""

    def __init__(
        self,
        options: BackboneOptions,
        *,
        rank: int,
        positions: int,
        timesteps: int = MIN_TIMESTEPS,
        design: Design = SUITE,
        ridge: Array | None = None,
    ) -> None:
        super().__init__()
        self.design = design
        self.register_buffer("ridge", None if ridge is None else torch.from_numpy(ridge))
        self.embed = nn.Linear(2 * rank if design.differences else rank, options.width)
        self.timestep = nn.Embedding(max(timesteps, MIN_TIMESTEPS), options.width)
        self.position = nn.Embedding(positions if design.position else 1, options.width)
        self.norm = nn.LayerNorm(options.width)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.layers))
        self.final_norm = nn.LayerNorm(options.width)
        self.head = nn.Linear(options.width, rank)
        self.dropout = options.dropout
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)  # GPT-2's
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        if design.displacement:
            nn.init.zeros_(self.head.weight)  # begins as persistence

    @classmethod
    def of_state(cls, options: BackboneOptions, state: Mapping[str, Array], design: Design = SUITE) -> Backbone:
        """A backbone with the sizes of a saved state, whose weights it does not have yet."""
        return cls(
            options,
            rank=len(state["head.bias"]),
            positions=len(state["position.weight"]),
            timesteps=len(state["timestep.weight"]),
            design=design,
            ridge=state.get("ridge"),
        )

    def forward(self, points: Tensor, positions: Tensor, start: Tensor | None = None) -> Tensor:
        """The head's output [B, N, d] after each of the points.

        Parameters
        ----------
        points
            [B, N, d].
        positions
            Their places within the PPO iteration, [B, N].
        start
            The first ones' checkpoint numbers [B], for timesteps that count from the trial's start.
        """
        tokens = points
        if self.design.differences:
            tokens = torch.cat([points, F.pad(points[:, 1:] - points[:, :-1], (0, 0, 1, 0))], dim=-1)
        times = torch.arange(points.shape[1], device=points.device)
        if not self.design.window_time:
            assert start is not None
            times = start[:, None] + times
        places = positions if self.design.position else torch.zeros_like(positions)
        x = self.embed(tokens) + self.timestep(times) + self.position(places)
        x = F.dropout(self.norm(x), self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        head: Tensor = self.head(self.final_norm(x))
        return head

    def following(self, points: Tensor, positions: Tensor, start: Tensor | None = None) -> Tensor:
        """The forecast of the point after each of the points, [B, N, d]; see `forward`."""
        head: Tensor = self(points, positions, start)
        if not self.design.displacement:
            return head
        return points + head if self.ridge is None else points + head + self._line(points, positions, self.ridge)

    @staticmethod
    def _line(points: Tensor, positions: Tensor, ridge: Tensor) -> Tensor:
        """The ridge line's next difference after each of the points, [B, N, d]; before the first, none is known."""
        lags = ridge.shape[1]
        differences = F.pad(points[:, 1:] - points[:, :-1], (0, 0, lags, 0))  # [B, lags + N - 1, d]
        last = differences.unfold(1, lags, 1)  # [B, N, d, lags], the oldest first
        return (last @ ridge[positions].flip(-1).unsqueeze(-1)).squeeze(-1)
