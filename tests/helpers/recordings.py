"""Recorded trials for tests of importing: policies that learn nothing, under the names of several libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

NAME = "inverted-pendulum/mine-v1"
STATED = {"environment": "InvertedPendulum-v4", "description": "random walks"}
COUNT, SIZES = 32, (4, 5, 3, 1)
MAPPINGS = {
    "tipl-bench": ("layer0", "layer1", "layer2", "log_std"),
    "CleanRL": ("actor_mean.0", "actor_mean.2", "actor_mean.4", "actor_logstd"),
    "Stable-Baselines3": ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net", "log_std"),
    "own": ("net.first", "net.second", "head", "deviation"),
}
VALUE_FUNCTIONS = {
    "tipl-bench": (),
    "CleanRL": ("critic.0.weight",),
    "Stable-Baselines3": ("mlp_extractor.value_net.0.bias", "value_net.weight"),
    "own": ("value.0.weight",),
}


def random_trial(number: int, library: str = "CleanRL", count: int = COUNT, **changes: Any) -> dict[str, Any]:
    """A trial's tensors [T, ...] with moments; `changes` replace or, with None, remove tensors."""
    rng = np.random.default_rng(number)
    *layers, log_std = MAPPINGS[library]
    tensors: dict[str, Any] = {}
    for layer, inputs, outputs in zip(layers, SIZES[:-1], SIZES[1:], strict=True):
        tensors[f"{layer}.weight"] = rng.normal(size=(count, outputs, inputs)).cumsum(0).astype(np.float32) / 10
        tensors[f"{layer}.bias"] = rng.normal(size=(count, outputs)).cumsum(0).astype(np.float32) / 10
    tensors[log_std] = np.zeros((count, 1, 1) if library == "CleanRL" else (count, 1), np.float32)
    tensors |= {name: np.zeros((count, 2), np.float32) for name in VALUE_FUNCTIONS[library]}
    tensors |= {
        "environment_steps": np.arange(count) * 64,
        "observation_mean": rng.normal(size=(count, SIZES[0])) / 10,
        "observation_variance": np.full((count, SIZES[0]), 0.5),
    }
    return {name: value for name, value in (tensors | changes).items() if value is not None}


def write_trials(folder: Path, *trials: dict[str, Any]) -> Path:
    """Write each trial as one file; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, tensors in enumerate(trials):
        save_file({name: np.ascontiguousarray(a) for name, a in tensors.items()}, folder / f"t{number}.safetensors")
    return folder


def write_checkpoints(folder: Path, *trials: dict[str, Any]) -> Path:
    """Write each trial as a folder of files named by their steps; returns the folder that holds them."""
    for number, tensors in enumerate(trials):
        inner = folder / f"seed-{number}"
        inner.mkdir(parents=True)
        for row, steps in enumerate(tensors["environment_steps"]):
            own = {k: np.ascontiguousarray(a[row]) for k, a in tensors.items() if k != "environment_steps"}
            save_file(own, inner / f"policy_{steps}_steps.safetensors")
    return folder
