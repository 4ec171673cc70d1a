"""A policy as a file: an ONNX model, or a safetensors file with all that it needs to act."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from ...rl.forward import NORMALIZER_EPSILON
from ...rl.network import PolicyNetwork
from ...utils.errors import OptionError
from ...utils.files import replace_atomically

SUFFIXES = (".onnx", ".safetensors")


def export_policy(policy: PolicyNetwork, path: Path, opset: int | None = None) -> None:
    """Write a policy in the form that the file's suffix asks for.

    A safetensors file holds the module's state, matrices as [out, in], and in its metadata the environment, the
    activation, and the constants of normalising and clipping.

    Raises
    ------
    OptionError
        For a suffix that is not among `SUFFIXES`, a folder that is not there, or an opset that no ONNX model can have;
        see `PolicyNetwork.to_onnx`.
    TiplBenchError
        If an ONNX model cannot be written for want of a package.
    """
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{path}: there is no folder {path.parent}.")
    if path.suffix == ".onnx":
        policy.to_onnx(path, opset)
        return
    if opset is not None:
        raise OptionError(f"{path}: only an ONNX model has an opset; leave out `opset=`, or name a .onnx file.")
    if path.suffix != ".safetensors":
        raise OptionError(f"{path}: the name of a policy's file ends in {' or '.join(SUFFIXES)}.")
    described = {
        "environment": policy.environment,
        "activation": policy.layout.activation,
        "distribution": policy.layout.distribution,
        "sizes": json.dumps(policy.layout.sizes),
        "normaliser_epsilon": str(NORMALIZER_EPSILON),
        "observation_clip": str(policy.layout.observation_bound),
    }
    with replace_atomically(path) as temporary:
        save_file({name: value.contiguous() for name, value in policy.state_dict().items()}, temporary, described)
