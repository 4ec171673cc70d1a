"""Forecasts that are none, and headers that are bombs."""

from __future__ import annotations

import re
import struct

import numpy as np

from helpers.small_collections import safetensors_bytes

from .table import FLAGGED, expect

# Forecasts that are not forecasts.


@expect("60 of 60 forecasts are nearly identical to their targets", FLAGGED)
def when_the_targets_are_the_forecasts(workspace):
    workspace.forge(forecasts=workspace.targets(), rescored=True)


@expect(
    r"3 of 60 forecasts are nearly identical to their targets .*, the first at trial \d+, origin \d+, h = 1",
    FLAGGED,
)
def when_one_window_is_copied_from_its_targets(workspace):
    forecasts = workspace.forecasts()["forecasts"].copy()
    forecasts[4] = workspace.targets()[4]
    workspace.forge(forecasts=forecasts, rescored=True)


def spoiled(value):
    def apply(workspace):
        forecasts = workspace.forecasts()["forecasts"].copy()
        forecasts[3, 1, 5] = value
        workspace.forge(forecasts=forecasts)

    return apply


expect(r"forecast of trial \d+, origin \d+ is not finite")(spoiled(np.nan))
expect(r"forecast of trial \d+, origin \d+ is not finite")(spoiled(-np.inf))


@expect(r"learning, h = 1: skill.value: the record says 0\.81\d*, recomputed -7\.\d*e\+79")
def when_the_forecasts_are_enormous(workspace):
    signs = np.where(np.arange(workspace.forecasts()["forecasts"].shape[-1]) % 2, 1, -1)
    workspace.forge(
        forecasts=np.zeros_like(workspace.forecasts()["forecasts"]) + np.float32(1e38) * signs.astype(np.float32)
    )


@expect(r"tensor 'forecasts' is float32 \[20, 2, \d+\], where the protocol asks for float32 \[20, 3, \d+\]")
def when_the_horizon_is_another(workspace):
    workspace.forge(forecasts=np.ascontiguousarray(workspace.forecasts()["forecasts"][:, :2]))


@expect(r"tensor 'forecasts' is float32 \[19, .*asks for float32 \[20, ")
def when_a_window_is_missing(workspace):
    workspace.forge(**{name: tensor[:-1].copy() for name, tensor in workspace.forecasts().items()})


@expect(r"window 0 is of trial \d+, origin \d+, where the protocol asks for trial \d+, origin \d+")
def when_windows_are_swapped(workspace):
    order = [1, 0, *range(2, 20)]
    workspace.forge(**{name: tensor[order] for name, tensor in workspace.forecasts().items()})


@expect(r"learning, h = 1: skill.value: the record says ")
def when_the_forecasts_of_two_windows_are_swapped(workspace):
    workspace.forge(forecasts=workspace.forecasts()["forecasts"][[9, *range(1, 9), 0, *range(10, 20)]])


@expect(r"window 0 is of trial 0, ")
def when_the_forecasts_are_of_a_training_trial(workspace):
    workspace.forge(trial=np.zeros(20, dtype=np.int64))


@expect(r"tensor 'forecasts' is float32 \[20, 3, 31\]")
def when_a_parameter_is_missing(workspace):
    workspace.forge(forecasts=np.ascontiguousarray(workspace.forecasts()["forecasts"][..., :31]))


@expect(r"tensor 'forecasts' is float64 ")
def when_the_forecasts_are_doubles(workspace):
    workspace.forge(forecasts=workspace.forecasts()["forecasts"].astype(np.float64))


@expect(r"tensor 'payload' is float32 \[3\], where the protocol asks for absent")
def when_there_is_a_tensor_too_many(workspace):
    workspace.forge(payload=np.zeros(3, dtype=np.float32))


@expect(r"tensor 'aaaaa.{0,90} is float32 \[0\], where the protocol asks for absent")
def when_the_name_of_a_tensor_is_half_a_megabyte(workspace):
    workspace.forge(**{"a" * 500_000: np.zeros(0, dtype=np.float32)})


@expect(r"has sha256 [0-9a-f]{64}, but the record says f{64}")
def when_the_record_states_another_sha256(workspace):
    workspace.edit("artifacts", "forecasts", to="f" * 64)


@expect(r"has sha256 [0-9a-f]{64}, but the record says [0-9a-f]{64}; one of them was changed")
def when_a_bit_of_the_forecasts_is_changed(workspace):
    path = workspace.run / "forecasts.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@expect(r"learning, h = 1: skill.value: the record says 0\.8109\d*, recomputed 0\.84")
def when_the_forecasts_are_better_and_the_record_is_that_of_others(workspace):
    forecasts = workspace.forecasts()["forecasts"]
    workspace.forge(forecasts=(0.9 * forecasts + 0.1 * workspace.targets()).astype(np.float32))


# Safetensors headers that are bombs.

SPAN = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "claims a length beyond all files": (
        struct.pack("<Q", 2**63) + b"{}",
        "its header claims 9223372036854775808 bytes",
    ),
    "is nested deeply": (safetensors_bytes(b'{"a":' * 100_000), "nested too deeply"),
    "repeats a key": (safetensors_bytes(b'{"a":1,"a":2}'), "repeats a key"),
    "overlaps its tensors": (safetensors_bytes({"a": SPAN, "b": SPAN}, bytes(8)), "'b' does not begin where"),
    "has negative offsets": (
        safetensors_bytes({"a": {**SPAN, "data_offsets": [-8, 0]}}, bytes(8)),
        "are not natural numbers",
    ),
    "has offsets beyond the file": (
        safetensors_bytes({"a": {**SPAN, "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(8)),
        "its tensors end at byte",
    ),
    "has a hundred thousand axes": (
        safetensors_bytes({"a": {**SPAN, "shape": [2**47] * 60_000}}),
        "tensor 'a': shape [1407",
    ),
    "has a shape that is no list": (safetensors_bytes({"a": {**SPAN, "shape": {"x": 1}}}, bytes(8)), "natural numbers"),
    "is a list": (safetensors_bytes([1, 2]), "not a JSON object"),
    "is empty": (b"", "its header claims 0 bytes"),
    "is a pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", "its header claims"),
}


def header(content):
    return lambda workspace: workspace.raw_forecasts(content)


for content, reason in HEADERS.values():
    expect(re.escape(reason))(header(content))


@expect("its header claims 200000000 bytes")
def when_the_header_has_200_megabytes(workspace):
    with (workspace.run / "forecasts.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", 200_000_000))
        stream.truncate(200_000_100)  # sparse
