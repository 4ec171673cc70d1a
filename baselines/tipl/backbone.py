"""The Decision Transformer's backbone: a small GPT over checkpoint tokens.

Source: Chen et al. 2021, `kzl/decision-transformer` (gym): GPT-2 blocks with ReLU, a learned timestep embedding added
to every token, a LayerNorm on the embeddings and no further position embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .options import TIPLOptions

MIN_TIMESTEPS = 64
"""Timesteps that every backbone embeds: a seed gives the same initial weights whatever shorter windows it is for."""


class Block(nn.Module):
    """Pre-norm causal self-attention and a ReLU MLP of four times the width."""

    def __init__(self, options: TIPLOptions) -> None:
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
    """Predicts each token's next displacement.

    Parameters
    ----------
    options
        Sizes of the network.
    rank
        d, coordinates of a token.
    positions
        Positions within a PPO iteration.
    timesteps
        Longest context and horizon together.
    """

    def __init__(self, options: TIPLOptions, *, rank: int, positions: int, timesteps: int = MIN_TIMESTEPS) -> None:
        super().__init__()
        self.embed = nn.Linear(2 * rank, options.width)
        self.timestep = nn.Embedding(max(timesteps, MIN_TIMESTEPS), options.width)
        self.position = nn.Embedding(positions, options.width)
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
        nn.init.zeros_(self.head.weight)  # begins as persistence

    def forward(self, points: Tensor, positions: Tensor) -> Tensor:
        """Next displacements [B, N, d] after each of the points [B, N, d]; positions [B, N] within the iteration."""
        steps = F.pad(points[:, 1:] - points[:, :-1], (0, 0, 1, 0))
        x = self.embed(torch.cat([points, steps], dim=-1))
        x = x + self.timestep(torch.arange(points.shape[1], device=points.device)) + self.position(positions)
        x = F.dropout(self.norm(x), self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        head: Tensor = self.head(self.final_norm(x))
        return head
