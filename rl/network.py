"""A stored policy as a torch module: what it needs to act is inside, normaliser, clipping and action bounds."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..utils.errors import DatasetArgumentError, OptionError, TiplBenchError
from ..utils.files import replace_atomically
from .environments import make
from .evaluation import Policies, evaluate_returns
from .forward import NORMALIZER_EPSILON, evaluation_actions
from .policy import PolicyLayout

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
OLDEST_OPSET = 18
"""Of ONNX, that torch's exporter writes."""


class PolicyNetwork(torch.nn.Module):
    """A policy of one environment: observations in, actions within the environment's bounds out, or discrete ones.

    `act` computes as evaluations do, to the last bit. `forward` is torch's, so that gradients pass and the policy can
    be trained further or exported; it agrees with `act` up to float32 rounding.

    Parameters
    ----------
    environment
        Gymnasium environment id.
    layout
        Names and shapes of the parameters; the module's parameters have these names.
    weights
        [P], float32.
    mean, variance
        Moments [O] of the observations by which they are normalised, float64.

    Raises
    ------
    DatasetError
        If the weights are not of the layout.
    DatasetArgumentError
        If the environment has other observations or actions than the layout, or the moments are not of the
        observations.
    """

    observation_mean: Tensor
    observation_variance: Tensor
    action_low: Tensor
    action_high: Tensor

    def __init__(
        self, environment: str, layout: PolicyLayout, weights: Float32, mean: Float64, variance: Float64
    ) -> None:
        super().__init__()
        layout.check(np.asarray(weights), "policy")
        self.environment, self.layout = environment, layout
        for what, moment in (("mean", mean), ("variance", variance)):
            if np.shape(moment) != (layout.observation_size,):
                raise DatasetArgumentError(
                    f"The {what} has shape {list(np.shape(moment))}; the policy has {layout.observation_size} "
                    "observations."
                )
        simulation = make(environment, [0])
        own = PolicyLayout.of(simulation, layout.hidden_sizes)
        if (own.sizes, own.distribution) != (layout.sizes, layout.distribution):
            raise DatasetArgumentError(
                f"{environment} has {own.observation_size} observations and {own.action_size} actions of a "
                f"{own.distribution} policy; the policy's layers are {layout.sizes}, and it is {layout.distribution}."
            )
        for name, value in {
            "observation_mean": np.asarray(mean, np.float64),
            "observation_variance": np.asarray(variance, np.float64),
            "action_low": simulation.action_low,
            "action_high": simulation.action_high,
        }.items():
            stored = name.startswith("observation") or not layout.categorical  # logits have no bounds
            self.register_buffer(name, torch.from_numpy(np.array(value)), persistent=stored)
        for number, (inputs, outputs) in enumerate(zip(layout.sizes[:-1], layout.sizes[1:], strict=True)):
            self.add_module(f"layer{number}", torch.nn.Linear(inputs, outputs))
        if not layout.categorical:
            self.log_std = torch.nn.Parameter(torch.empty(layout.action_size))
        flat = torch.from_numpy(np.array(weights, np.float32))
        parts = {name: flat[part].view(layout.shapes[name]) for name, part in layout.slices.items()}
        self.load_state_dict(self.state_dict() | parts)

    def forward(self, observation: Tensor) -> Tensor:
        """The deterministic policy's actions for raw observations [..., O] of any float type.

        They are the mean [..., A] cut to the action bounds, or of discrete actions the likeliest, [...] int64.
        """
        if self.layout.categorical:
            return self.output(observation).argmax(-1)
        return self.output(observation).clamp(self.action_low, self.action_high)

    def output(self, observation: Tensor) -> Tensor:
        """The mean action [..., A] before it is cut, or the logits [..., A] of A discrete actions."""
        scale = (self.observation_variance + NORMALIZER_EPSILON).sqrt()
        normalised = (observation.double() - self.observation_mean) / scale
        clip = self.layout.observation_clip
        hidden = (normalised if clip is None else normalised.clamp(-clip, clip)).float()
        last = len(self.layout.sizes) - 2
        for number in range(last):
            hidden = torch.tanh(self.get_submodule(f"layer{number}")(hidden))
        found: Tensor = self.get_submodule(f"layer{last}")(hidden)
        return found

    def distribution(self, observation: Tensor) -> torch.distributions.Normal | torch.distributions.Categorical:
        """What actions are drawn from in training: normal distributions of their components before they are cut.

        Discrete actions are drawn from a categorical distribution.
        """
        output = self.output(observation)
        if self.layout.categorical:
            return torch.distributions.Categorical(logits=output)
        return torch.distributions.Normal(output, self.log_std.exp().expand_as(output))

    def act(self, observation: npt.ArrayLike) -> Float32 | npt.NDArray[np.int64]:
        """The actions of an evaluation, bit for bit, for raw observations [..., O]: as `forward`'s, as arrays."""
        given, size = np.asarray(observation, np.float64), self.layout.observation_size
        if given.ndim == 0 or given.shape[-1] != size:
            raise DatasetArgumentError(f"Observations have shape {list(given.shape)}; the last axis must be {size}.")
        rows = np.ascontiguousarray(given.reshape(-1, size) if given.size else np.empty((0, size)))
        found = np.empty((len(rows), self.layout.action_size), np.float32)
        own = self.stored
        evaluation_actions(
            self.layout.as_kernel(own.weights),
            np.array(self.layout.sizes, np.int64),
            *(own.mean, own.variance, self.layout.observation_bound),
            *(self.action_low.cpu().numpy(), self.action_high.cpu().numpy()),
            max(1, len(rows)),
            np.arange(len(rows)),
            *(rows, found),
        )
        found = found.reshape(*given.shape[:-1], self.layout.action_size)
        return found.argmax(-1) if self.layout.categorical else found

    @property
    def stored(self) -> Policies:
        """The policy as it is now in the form that evaluations take and datasets store."""
        state = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        flat = torch.cat([state[name].reshape(-1) for name in self.layout.shapes])
        moments = (state[name].numpy()[None] for name in ("observation_mean", "observation_variance"))
        return Policies(flat.numpy()[None], *moments)

    def evaluate(self, seeds: Sequence[int]) -> float:
        """J: the mean return of the deterministic policy over episodes from the resets of these seeds."""
        return float(evaluate_returns(self.environment, self.layout, self.stored, seeds)[0])

    def to_onnx(self, path: str | Path, opset: int | None = None) -> None:
        """Write the policy as an ONNX model: `observation` [batch, O] float64 in, `action` [batch, A] float32 out.

        Discrete actions are [batch] int64.

        Parameters
        ----------
        path
            The file.
        opset
            The version of ONNX's operators; torch's usual one by default.

        Raises
        ------
        OptionError
            If it is older than `OLDEST_OPSET`, or newer than the installed onnx knows.
        TiplBenchError
            If onnx and onnxscript are not installed (`pip install 'tipl-bench[onnx]'`).
        """
        try:
            import onnx
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise TiplBenchError(
                f"An ONNX model needs {error.name}, which is not installed: pip install 'tipl-bench[onnx]'."
            ) from None
        newest = onnx.defs.onnx_opset_version()
        if opset is not None and not OLDEST_OPSET <= opset <= newest:
            raise OptionError(
                f"Opset {opset}: torch's exporter and onnx {onnx.__version__}, which is installed, write opsets "
                f"{OLDEST_OPSET} to {newest}."
            )
        example = torch.zeros(2, self.layout.observation_size, dtype=torch.float64)
        exporter = logging.getLogger("torch.onnx")  # it says which packages it could export from if they were here
        level = exporter.level
        with replace_atomically(Path(path)) as temporary, warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore")  # of the exporter's own code
            exporter.setLevel(logging.ERROR)
            stack.callback(exporter.setLevel, level)
            torch.onnx.export(
                self,
                (example,),
                temporary,
                input_names=["observation"],
                output_names=["action"],
                opset_version=opset,
                dynamic_shapes={"observation": {0: torch.export.Dim("batch")}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            written = {one.domain: one.version for one in onnx.load(temporary).opset_import}[""]
            if opset not in (None, written):
                raise OptionError(f"Opset {opset}: torch's exporter writes {written} instead; ask for that.")
