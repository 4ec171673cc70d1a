"""The update rule of Optim4RL: two GRUs that see each coordinate's gradient by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ....rl.policy import ParameterLayout

UNITS = 8
"""Units of each GRU."""
CHUNKS = {"cpu": 4096, "cuda": 1 << 20}
"""Coordinates computed at once, by type of device: what stays in a processor's cache, and what keeps a GPU busy."""
TINY = 1e-18


@dataclass(frozen=True)
class Rule(ParameterLayout):
    """An update rule's structure; its meta-parameters are one vector [L].

    With gradients processed (2023) one GRU reads [sign g, log |g|] and the other 2 log |g|, without it g and its square
    (2024). A head on each gives the update -rate m / sqrt(v + epsilon): m has the gradient's sign, which the structure
    of 2023 can turn, and the logarithms of its length and of v are the heads' outputs.

    Parameters
    ----------
    processed
        Whether the GRUs read signs and logarithms of gradients. Epsilon is then 1e-18, otherwise 1e-8.
    head
        Widths of the heads' hidden layers.
    turns
        Whether the first head has an output that can turn the gradient's sign.
    single
        Whether one GRU does the work of both.
    normalised
        Whether the update of each tensor is scaled to a root mean square of the rate.
    """

    processed: bool = True
    head: tuple[int, ...] = (16, 16)
    turns: bool = True
    single: bool = False
    normalised: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters; matrices are [in, out], gates in the order reset, update, new."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, inputs, outputs in self._towers:
            shapes[f"{name}.input"], shapes[f"{name}.bias"] = (inputs, 3 * UNITS), (3 * UNITS,)
            shapes[f"{name}.recurrent"], shapes[f"{name}.new_bias"] = (UNITS, 3 * UNITS), (UNITS,)
            for layer, (wide, out) in enumerate(pairwise((UNITS, *self.head, outputs))):
                shapes[f"{name}.head{layer}.weight"], shapes[f"{name}.head{layer}.bias"] = (wide, out), (out,)
        return shapes

    @property
    def _towers(self) -> tuple[tuple[str, int, int], ...]:
        """Name, inputs and outputs of each GRU with its head."""
        first = (2 if self.processed else 1, 2 if self.turns else 1)
        if self.single:
            return (("both", first[0], first[1] + 1),)
        return (("mean", *first), ("square", 1, 1))

    @property
    def hidden_size(self) -> int:
        """Numbers that the rule remembers of each coordinate."""
        return UNITS * len(self._towers)

    def initial(self, seed: int) -> Tensor:
        """Meta-parameters [L] before training: recurrent matrices orthogonal, others normal of variance 1 / inputs."""
        draw = np.random.default_rng(seed)
        parts = []
        for name, shape in self.shapes.items():
            if name.endswith("recurrent"):
                gates = [np.linalg.qr(draw.standard_normal((UNITS, UNITS))) for _ in range(3)]
                parts.append(np.concatenate([q * np.sign(np.diag(r)) for q, r in gates], axis=1))
            elif len(shape) == 1:
                parts.append(np.zeros(shape))
            else:
                parts.append(draw.standard_normal(shape) / math.sqrt(shape[0]))
        return torch.from_numpy(np.concatenate([part.ravel() for part in parts]).astype(np.float32))

    def apply(self, vector: Tensor, gradient: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Updates for a rate of 1, not normalised, and what is remembered.

        Parameters
        ----------
        vector
            Meta-parameters [M, L]: of M rules, or of the one of all coordinates.
        gradient, hidden
            Gradients [M, n] of each rule's coordinates, and what it remembers of them [M, n, H].
        """
        shapes = self.shapes
        part = {name: vector[:, where].view(-1, *shapes[name]) for name, where in self.slices.items()}
        size, sign = gradient.abs(), gradient.sign()
        if self.processed:
            log = (size + TINY).log()
            reads = [torch.stack((sign, log), -1), (2 * log)[..., None]]
        else:
            reads = [gradient[..., None], gradient.square()[..., None]]
        states, outputs = [], []
        for place, (name, _, _) in enumerate(self._towers):
            own = {key.removeprefix(f"{name}."): value for key, value in part.items() if key.startswith(f"{name}.")}
            state = _gru(own, reads[place], hidden[..., UNITS * place : UNITS * (place + 1)])
            states.append(state)
            outputs.append(_head(own, state, len(self.head) + 1))
        found = torch.cat(outputs, -1)
        if self.turns:
            turn = torch.tanh(found[..., 0] + 1)
            # Its sign, with the gradient of the number itself.
            sign = sign * (turn + (torch.where(turn < 0, -1.0, 1.0) - turn).detach())
        epsilon = TINY if self.processed else 1e-8
        length = found[..., -2].exp() * torch.rsqrt(found[..., -1].exp() + epsilon)
        return sign * length, torch.cat(states, -1)

    @torch.no_grad()
    def advance(self, vector: Tensor, gradient: Tensor, hidden: Tensor) -> Tensor:
        """Updates [N, P] for a rate of 1, not normalised, chunk by chunk.

        Parameters
        ----------
        vector
            Meta-parameters [L], or of a rule for each agent [N, L].
        gradient
            Gradients [N, P].
        hidden
            What the rule remembers [N, P, H]; changed in place.
        """
        found = torch.empty_like(gradient)
        rules = vector.shape[0] if vector.ndim == 2 else 1
        flat, into = gradient.reshape(rules, -1), found.view(rules, -1)
        known = hidden.view(rules, -1, hidden.shape[-1])
        width = max(1, CHUNKS[gradient.device.type] // rules)
        for start in range(0, flat.shape[1], width):
            part = slice(start, start + width)
            into[:, part], known[:, part] = self.apply(vector.view(rules, -1), flat[:, part], known[:, part])
        return found


def scales(update: Tensor, slices: list[slice]) -> Tensor:
    """One over the root mean square of each tensor's update, as [N, P]; of a tensor that does not move 0."""
    found = torch.empty_like(update)
    for part in slices:
        square = update[:, part].square().mean(1, keepdim=True)
        found[:, part] = torch.where(square > 0, square.clamp_min(1e-30).rsqrt(), 0.0)
    return found


PRESETS: dict[Literal["2023", "2024"], Rule] = {
    "2023": Rule(),
    "2024": Rule(processed=False, head=(), turns=False),
}
"""The two published structures: of the first version (1,403 meta-parameters) and of the later one (514)."""


def _gru(part: dict[str, Tensor], x: Tensor, hidden: Tensor) -> Tensor:
    """A step of flax's GRU: x [M, n, inputs], hidden [M, n, UNITS]."""
    inputs = torch.baddbmm(part["bias"][:, None], x, part["input"])
    before = torch.bmm(hidden, part["recurrent"])
    gates = torch.sigmoid(inputs[..., : 2 * UNITS] + before[..., : 2 * UNITS])
    reset, keep = gates[..., :UNITS], gates[..., UNITS:]
    new = torch.tanh(inputs[..., 2 * UNITS :] + reset * (before[..., 2 * UNITS :] + part["new_bias"][:, None]))
    return new + keep * (hidden - new)


def _head(part: dict[str, Tensor], x: Tensor, layers: int) -> Tensor:
    for layer in range(layers):
        x = torch.baddbmm(part[f"head{layer}.bias"][:, None], x, part[f"head{layer}.weight"])
        if layer < layers - 1:
            x = x.relu()
    return x
