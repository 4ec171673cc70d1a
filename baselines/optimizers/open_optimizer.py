"""OPEN, a learned optimizer for RL with released weights: a GRU and an MLP that see each coordinate by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from ...rl import AgentLayout, Optimizer, PPOHyperparameters
from ...rl.optimizer import SETTINGS, State
from ...rl.ppo import clip_by_norm
from ...utils.errors import OptionError, reason
from ...utils.files import sha256

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
FEATURES, UNITS, WIDTH, OUTPUTS = 19, 8, 16, 3
STEP = EXPONENT = 1e-3
SHAPES = {
    **{"hn.bias": (UNITS,), "hn.kernel": (UNITS, UNITS), "hr.kernel": (UNITS, UNITS), "hz.kernel": (UNITS, UNITS)},
    **{f"{gate}.{part}": shape for gate in ("in", "ir", "iz") for part, shape in
       (("bias", (UNITS,)), ("kernel", (FEATURES, UNITS)))},
    "0.bias": (WIDTH,), "0.kernel": (UNITS, WIDTH), "1.bias": (WIDTH,), "1.scale": (WIDTH,),
    "3.bias": (WIDTH,), "3.kernel": (WIDTH, WIDTH), "4.bias": (WIDTH,), "4.scale": (WIDTH,),
    "6.bias": (OUTPUTS,), "6.kernel": (WIDTH, OUTPUTS),
}  # fmt: skip
"""The network's arrays in the order of the released vector: the GRU's, then the MLP's, matrices [in, out]."""
LENGTH = sum(int(np.prod(shape)) for shape in SHAPES.values())
REMEDY = (
    "It is the vector of 1,211 numbers that github.com/AlexGoldie/rl-learned-optimization releases as "
    "rl_optimizer/pretrained/ant_OPEN.npy, or a .safetensors file with it as `ant_open`."
)


@dataclass(frozen=True, config=SETTINGS)
class OPEN(Optimizer):
    """OPEN (Goldie et al. 2024, arXiv 2407.07082) with released weights; those of Ant were meta-trained on PPO.

    Each coordinate has 19 features: its value, sign and logarithm of six running means of the gradient and of the
    gradient itself, these 15 divided by their root mean square over the tensor; then the proportions of training, of
    layers and of epochs that are behind, and the dormancy of the unit that it leads to (its mean absolute output, 1 on
    average over the layer). A GRU of 8 and an MLP of two layers of 16 give a, b and c; the coordinate moves by
    -0.001 (a exp(0.001 b) + c noise), noise in the actor alone, less the mean of all coordinates of the trial.

    As in the source, gradients of actor and critic are clipped by their norms apart. The annealed rate is not used but
    for the proportion of training, which is 1 / iterations less at the end than in the source.
    """

    name: ClassVar[str] = "open"
    summary: ClassVar[str] = "OPEN, a learned optimizer with released weights"
    clips_gradients = True
    wants_activations = True

    weights: str
    """File of the released weights, .npy or .safetensors."""

    @cached_property
    def network(self) -> dict[str, Tensor]:
        """The network's arrays by name; raises `OptionError` for a file that does not hold them."""
        vector = torch.from_numpy(_read(Path(self.weights)))
        parts = torch.split(vector, [int(np.prod(shape)) for shape in SHAPES.values()])
        return {name: part.view(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}

    def init(self, parameters: Tensor, layout: AgentLayout, seeds: Sequence[int]) -> State:
        """See `OuterRule.init`."""
        vars(self)["tensors"] = [*_tensors(layout)]  # no setting: the same in every training of such trials
        self.network  # noqa: B018 - a file that is none fails before anything is trained
        trials, count = parameters.shape
        return {
            "means": torch.zeros(trials, count, len(DECAYS)),
            "hidden": torch.zeros(trials, count, UNITS),
            "seeds": torch.tensor([seed % 2**63 for seed in seeds], dtype=torch.int64),
        }

    def step(self, parameters: Tensor, gradient: Tensor, state: State, **place: Any) -> Tensor:
        """See `Optimizer.step`."""
        actor = vars(self)["tensors"][0].actor
        for block in (slice(0, actor), slice(actor, None)):
            clip_by_norm(gradient[:, block], PPOHyperparameters().max_gradient_norm)
        decays = torch.tensor(DECAYS)
        means = state["means"].mul_(decays).add_(gradient[..., None] * (1 - decays))
        own = torch.cat(
            [parameters[..., None], means.sign(), _log(means), gradient.sign()[..., None], _log(gradient)[..., None]],
            -1,
        )
        features = torch.empty(*parameters.shape, FEATURES)
        behind = (
            1 - place["learning_rate"] / self.learning_rate,
            (place["epoch"] - 1) / (PPOHyperparameters().epochs - 1),
        )
        for tensor in vars(self)["tensors"]:
            part = own[:, tensor.part]
            features[:, tensor.part, :15] = part * torch.rsqrt(1e-5 + part.square().mean(1, keepdim=True))
            features[:, tensor.part, 15] = behind[0]
            features[:, tensor.part, 16] = tensor.depth
            features[:, tensor.part, 17] = behind[1]
            features[:, tensor.part, 18] = tensor.dormancy(place["activations"])
        outputs, hidden = apply(self.network, features, state["hidden"])
        state["hidden"].copy_(hidden)
        change = outputs[..., 0] * torch.exp(EXPONENT * outputs[..., 1])
        change[:, :actor] += outputs[:, :actor, 2] * _noise(state["seeds"], actor, place)
        change *= STEP
        return parameters.sub_(change - change.mean(1, keepdim=True))

    def describe(self) -> dict[str, Any]:
        """See `OuterRule.describe`; the weights are described by their bytes, wherever they are."""
        return {**super().describe(), "weights": sha256(Path(self.weights))}


class _Tensor(NamedTuple):
    """A tensor of actor or critic: where it lies, how deep, and which of the activations its units have."""

    part: slice
    depth: float
    layer: int | None
    inputs: int
    actor: int

    def dormancy(self, activations: Sequence[Tensor]) -> Tensor | float:
        """The dormancy of the unit that each coordinate leads to, [N, length]; of the log-std 1."""
        if self.layer is None:
            return 1.0
        units = activations[self.layer] + 1e-11
        dormant = units / units.sum(1, keepdim=True) * units.shape[1]
        return dormant.repeat_interleave(self.inputs, dim=1)  # matrices are [out, in]


def _tensors(layout: AgentLayout) -> Iterator[_Tensor]:
    layers = len(layout.critic_sizes) - 1
    sizes = [*pairwise(layout.policy.sizes), *pairwise(layout.critic_sizes)]
    for name, part in layout.slices.items():
        network, _, rest = name.partition(".")
        modules = layers + (network == "actor")  # the log-std is the actor's last one
        number = layers if rest == "log_std" else int(rest.partition(".")[0].removeprefix("layer"))
        place = None if rest == "log_std" else number + (network == "critic") * layers
        inputs = sizes[place][0] if place is not None and rest.endswith(".weight") else 1
        yield _Tensor(part, number / (modules - 1), place, inputs, layout.policy.parameter_count)


def apply(network: dict[str, Tensor], features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The network's outputs [..., 3] and new hidden states [..., 8] from features [..., 19] and hidden states."""
    gates = {g: features @ network[f"{g}.kernel"] + network[f"{g}.bias"] for g in ("in", "ir", "iz")}
    reset = torch.sigmoid(gates["ir"] + hidden @ network["hr.kernel"])
    keep = torch.sigmoid(gates["iz"] + hidden @ network["hz.kernel"])
    candidate = torch.tanh(gates["in"] + reset * (hidden @ network["hn.kernel"] + network["hn.bias"]))
    hidden = (1 - keep) * candidate + keep * hidden
    x = hidden
    for dense, norm in (("0", "1"), ("3", "4")):
        x = x @ network[f"{dense}.kernel"] + network[f"{dense}.bias"]
        x = torch.nn.functional.layer_norm(x, (WIDTH,), network[f"{norm}.scale"], network[f"{norm}.bias"], eps=1e-6)
        x = x.relu()
    return x @ network["6.kernel"] + network["6.bias"], hidden


def _log(values: Tensor) -> Tensor:
    return (values.abs() + 1e-13).log()


def _noise(seeds: Tensor, count: int, place: dict[str, Any]) -> Tensor:
    """Standard normal noise [N, count] of a trial's own stream: a counter's, so that there is no state to keep."""
    counter = [0, place["minibatch"], place["epoch"], place["iteration"]]
    rows = [
        np.random.Generator(np.random.Philox(key=int(seed), counter=counter)).standard_normal(count, np.float32)
        for seed in seeds
    ]
    return torch.from_numpy(np.stack(rows))


def _read(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The released vector."""
    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else load_file(path)["ant_open"]
    except (OSError, ValueError, KeyError, EOFError, SafetensorError) as error:
        raise OptionError(
            f"open: option weights: {path}: not the released weights ({reason(error)}). {REMEDY}"
        ) from None
    vector = np.asarray(found)
    if vector.shape != (LENGTH,) or vector.dtype != np.float32 or not np.isfinite(vector).all():
        raise OptionError(f"open: option weights: {path}: not {LENGTH:,} finite float32 numbers. {REMEDY}")
    return vector
