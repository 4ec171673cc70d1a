"""Where a policy's parameters are among the tensors of a checkpoint, whatever library named them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...rl import PolicyLayout
from ...utils.errors import DatasetError
from ...utils.text import join_first, one_line

Shape = tuple[int, ...]
MOMENTS = ("observation_mean", "observation_variance", "observation_count")
POSITION = ("environment_steps", "iteration", "epoch")
STATED = (*POSITION, *MOMENTS, "learning_rate", "episodic_return", "seed")
"""Tensors of a checkpoint beside the policy's parameters, by the names of a trial's tensors."""


@dataclass(frozen=True)
class Naming:
    """How a library names the parameters of an MLP policy.

    Parameters
    ----------
    library
        The library.
    layer
        The name of a linear layer, with `{}` for its number; layers are in the order of these numbers.
    last
        Linear layers after those.
    log_std
        The name of the log-std.
    ignored
        Beginnings of the names of tensors that are no part of the policy.
    """

    library: str
    layer: str
    last: tuple[str, ...]
    log_std: str
    ignored: tuple[str, ...] = ()

    def layers(self, names: Sequence[str]) -> tuple[str, ...]:
        """The policy's linear layers among these tensors, input to output; none if they are named otherwise."""
        pattern = re.compile(rf"{re.escape(self.layer).replace(re.escape('{}'), '([0-9]{1,4})')}\.(weight|bias)")
        numbers = sorted({int(found[1]) for name in names if (found := pattern.fullmatch(name))})
        return (*(self.layer.format(number) for number in numbers), *self.last) if numbers else ()


NAMINGS = (
    Naming("tipl-bench", "layer{}", (), "log_std", ("action_low", "action_high")),
    Naming("CleanRL", "actor_mean.{}", (), "actor_logstd", ("critic.",)),
    Naming(
        "Stable-Baselines3",
        "mlp_extractor.policy_net.{}",
        ("action_net",),
        "log_std",
        ("mlp_extractor.value_net.", "value_net."),
    ),
)
WAY_OUT = (
    "Name the policy's linear layers from input to output (`layers`, such as actor.0, actor.2, actor.4) and its "
    "log-std (`log_std`)"
)


@dataclass(frozen=True)
class PolicyNames:
    """Which tensors are a policy's parameters.

    Parameters
    ----------
    layout
        The policy's layout.
    tensors
        The tensor of each of the layout's parameters, by the parameter's name.
    """

    layout: PolicyLayout
    tensors: Mapping[str, str]

    def shapes(self, parameter: str) -> list[Shape]:
        """Shapes that a parameter may be stored in: CleanRL's log-std has a leading axis of one."""
        shape = self.layout.shapes[parameter]
        return [shape, (1, *shape)] if parameter == "log_std" else [shape]


def find_policy(
    shapes: Mapping[str, Shape], where: str, *, layers: Sequence[str] = (), log_std: str | None = None
) -> PolicyNames:
    """Find a tanh Gaussian MLP policy among a checkpoint's tensors.

    Parameters
    ----------
    shapes
        Shapes of the checkpoint's tensors by name; those in `STATED` are no parameters.
    where
        The checkpoint, for messages.
    layers, log_std
        The policy's linear layers and its log-std, where no library of `NAMINGS` named them. Other tensors are then no
        part of the policy.

    Raises
    ------
    DatasetError
        If there is no such policy, a tensor is not known, or shapes do not fit together.
    """
    names = [name for name in shapes if name not in STATED]
    if layers:
        chosen = Naming("", "", (), log_std or "log_std", ("",))
    else:
        found = [naming for naming in NAMINGS if naming.layers(names)]
        if len(found) != 1:
            raise DatasetError(f"{where}: {_unrecognised(found, names)}. {WAY_OUT}.")
        chosen, layers = found[0], found[0].layers(names)
    parts = [(f"layer{i}", layer) for i, layer in enumerate(layers)]
    tensors = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in parts for kind in ("weight", "bias")}
    tensors["log_std"] = log_std or chosen.log_std
    missing = [name for name in tensors.values() if name not in shapes]
    if missing:
        needed = _needed(missing[0] == tensors["log_std"])
        raise DatasetError(f"{where}: no tensor {one_line(missing[0])!r}; it has {_listed(names)}. {needed}")
    unknown = [name for name in names if name not in tensors.values() and not name.startswith(chosen.ignored)]
    if unknown:
        raise DatasetError(
            f"{where}: {_listed(unknown)} is no part of a {chosen.library} MLP policy that is known here. Leave it out "
            f"of what is saved if the policy acts without it. {WAY_OUT} if they are others."
        )
    return _checked(tensors, shapes, where)


def _unrecognised(found: Sequence[Naming], names: Sequence[str]) -> str:
    if found:
        return f"tensors named as by {' and '.join(naming.library for naming in found)}, of which only one can be it"
    known = ", ".join(f"{naming.layer.format(0)}.weight ({naming.library})" for naming in NAMINGS)
    return f"no policy among {_listed(names)}; known names are {known}"


def _needed(log_std: bool) -> str:
    if log_std:
        return (
            "A policy is stored with its state-independent log-std, which may be constant: add it, of shape [actions]."
        )
    return f"Each layer has a weight and a bias; a missing bias is one of zeros. {WAY_OUT}."


def _listed(names: Sequence[str]) -> str:
    return join_first([one_line(name, 80) for name in names]) or "no tensors"


def _checked(tensors: Mapping[str, str], shapes: Mapping[str, Shape], where: str) -> PolicyNames:
    """The policy whose parameters these tensors are; raises `DatasetError` if their shapes do not fit together."""
    weights = [name for name in tensors if name.endswith(".weight")]
    for name in weights:
        if len(shapes[tensors[name]]) != 2 or 0 in shapes[tensors[name]]:
            raise DatasetError(
                f"{where}: {tensors[name]!r} has shape {list(shapes[tensors[name]])}; a layer's weight is [out, in]."
            )
    if len(weights) < 2:
        raise DatasetError(f"{where}: a policy of one linear layer; datasets are of networks with a hidden layer.")
    for before, after in pairwise(weights):
        outputs, inputs = shapes[tensors[before]][0], shapes[tensors[after]][1]
        if outputs != inputs:
            raise DatasetError(
                f"{where}: {tensors[before]!r} has {outputs} outputs, and {tensors[after]!r} after it {inputs} inputs. "
                "Layers go from input to output."
            )
    sizes = [shapes[tensors[weights[0]]][1], *(shapes[tensors[name]][0] for name in weights)]
    found = PolicyNames(PolicyLayout(sizes[0], tuple(sizes[1:-1]), sizes[-1]), tensors)
    for own, name in tensors.items():
        if shapes[name] not in found.shapes(own):
            expected = list(found.shapes(own)[0])
            raise DatasetError(f"{where}: {name!r} has shape {list(shapes[name])} where {expected} is expected.")
    return found
