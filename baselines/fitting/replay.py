"""A training step on a CUDA device as one graph: small networks otherwise wait for their kernels to be launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EAGER_STEPS = 3
"""Steps that are run before one is recorded: CUDA libraries allocate on first use, which a recording cannot hold."""


class ReplayedStep:
    """A step of training that is recorded as a CUDA graph and replayed.

    Parameters
    ----------
    step
        Draws a batch, updates the model, and returns the loss. It must do the same work on the same memory each time
        and never wait for the device; what it draws comes from `generators` and torch's global generator.
    generators
        Random generators of the device.
    """

    def __init__(self, step: Callable[[], Tensor], generators: Sequence[torch.Generator]) -> None:
        self.step, self.generators = step, generators
        self.eager = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.loss = torch.empty(0)

    def __call__(self) -> Tensor:
        """Run one step; returns its loss."""
        if self.eager < EAGER_STEPS:
            self.eager += 1
            return self._aside()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            for generator in self.generators:
                self.graph.register_generator_state(generator)
            with torch.cuda.graph(self.graph):
                self.loss = self.step()
        self.graph.replay()
        return self.loss.clone()

    def _aside(self) -> Tensor:
        """One step on a stream of its own, as a recording needs of the steps before it."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step()
        torch.cuda.current_stream().wait_stream(stream)
        return loss
