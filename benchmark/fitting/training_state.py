"""The state of an unfinished fit in the run folder, from which the same command goes on after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...baselines.predictor import Array, TrainingState
from ...baselines.saving import LABEL
from ...utils.canonical import canonical_json, strict_json
from ...utils.errors import reason
from ...utils.files import replace_atomically
from ...utils.text import one_line
from ..provenance import Provenance

STATE_NAME = "fit-state.safetensors"


class TrainingStateFile:
    """One file that each state replaces; only what the same run and code wrote is read.

    Parameters
    ----------
    folder
        The run folder.
    key, circumstances
        What identifies the run, as JSON, and the code, packages and machine that it is made with.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], circumstances: Provenance) -> None:
        self.path = folder / STATE_NAME
        made_with = circumstances.model_dump(mode="json", exclude={"validation_runs"})
        self.identity = _digest({}, {"key": key, "provenance": made_with})

    def read(self) -> tuple[TrainingState | None, float]:
        """The state that was kept and the seconds of fitting behind it; none, with a warning if it is of no use."""
        if not self.path.exists():
            return None, 0.0
        try:
            with safe_open(self.path, framework="numpy") as file:
                header = strict_json((file.metadata() or {})[LABEL])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header["sha256"] != _digest(arrays, header["values"]):
                raise ValueError("its content is not what was written")
            if header["identity"] == self.identity:
                return TrainingState(arrays, header["values"]), float(header["seconds"])
            why = "is of another version of the code or its packages, or another machine"
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            why = f"is damaged ({one_line(reason(error), 100)})"
        warnings.warn(f"{self.path} {why}: the fit begins anew.", stacklevel=2)
        return None, 0.0

    def write(self, state: TrainingState, seconds: float) -> None:
        """Keep a state in place of the one before; where it cannot be written, the fit goes on without."""
        arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
        header = {
            "identity": self.identity,
            "seconds": seconds,
            "values": state.values,
            "sha256": _digest(arrays, state.values),
        }
        try:
            with replace_atomically(self.path) as temporary:
                save_file(arrays, temporary, {LABEL: canonical_json(header)})
        except OSError as error:
            warnings.warn(
                f"{self.path} cannot be written ({reason(error)}): if the fit is interrupted, it begins anew.",
                stacklevel=2,
            )

    def remove(self) -> None:
        """Remove the file: the fit is done."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _digest(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> str:
    """The sha256 of arrays and of what stands beside them."""
    digest = hashlib.sha256(canonical_json(values).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
