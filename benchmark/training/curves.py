"""What a training run leaves: the returns of its trials over the iterations, kept in one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ...utils.errors import ProtocolError, reason
from ...utils.files import replace_atomically

CURVES_NAME = "curves.safetensors"


@dataclass(frozen=True)
class Curves:
    """Returns of N trials over a training of K iterations.

    Parameters
    ----------
    evaluated
        Iterations after which J was evaluated, rising from 0, [E] int64.
    returns
        J then, [N, E] float64. That of a trial that diverged is J of its initialisation from there on.
    training_returns
        Mean return of the last ten training episodes after each iteration, [N, K] float32, NaN before the first.
    diverged
        The iteration in which a trial's weights, normaliser or J became infinite or undefined, [N] int64; 0 for one
        where none did.
    """

    evaluated: npt.NDArray[np.int64]
    returns: npt.NDArray[np.float64]
    training_returns: npt.NDArray[np.float32]
    diverged: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, trials: int, evaluated: Sequence[int]) -> Curves:
        """Curves to be filled in."""
        return cls(
            np.array(evaluated, dtype=np.int64),
            np.full((trials, len(evaluated)), np.nan),
            np.full((trials, evaluated[-1]), np.nan, dtype=np.float32),
            np.zeros(trials, dtype=np.int64),
        )

    @classmethod
    def join(cls, parts: Sequence[Curves]) -> Curves:
        """The curves of several blocks of trials, in their order."""
        rows = ("returns", "training_returns", "diverged")
        return cls(parts[0].evaluated, *(np.concatenate([getattr(part, name) for part in parts]) for name in rows))

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def write(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        with replace_atomically(path) as temporary:
            save_file(self.arrays, temporary)

    @classmethod
    def read(cls, path: Path, trials: int, evaluated: Sequence[int]) -> tuple[Curves, dict[str, npt.NDArray[Any]]]:
        """Read a file; returns the curves, and what else it holds.

        Raises
        ------
        ProtocolError
            Unless it holds finite curves of so many trials and of these iterations.
        """
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ProtocolError(f"{path}: not readable curves ({reason(error)}).") from None
        curves = cls.empty(trials, evaluated)
        for name, array in curves.arrays.items():
            found = arrays.pop(name, None)
            if found is None or (found.shape, found.dtype) != (array.shape, array.dtype):
                raise ProtocolError(f"{path}: {name} is missing or not {array.dtype} {list(array.shape)}.")
            array[...] = found
        if not np.array_equal(curves.evaluated, evaluated) or not np.isfinite(curves.returns).all():
            raise ProtocolError(f"{path}: the returns are of other iterations than the protocol's, or not finite.")
        return curves, arrays
