"""Released weights of a published network, read from a file that the user gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....utils.errors import DatasetError, PredictorError, reason
from ....utils.files import sha256
from ....utils.tensorfile import map_tensors

Array = npt.NDArray[np.float32]

DIGEST = r"sha256:[0-9a-f]{64}"
"""What stands for a file in records: the same for everyone who has it, wherever it lies."""


@dataclass(frozen=True)
class Published:
    """A tensor of a published file: its shape, and what becomes of it.

    Parameters
    ----------
    shape
        As published.
    name
        The parameter here that it becomes; None: none, see `unused`.
    part
        The part of it that is used, as an index.
    unused
        Why the tensor, or the rest of it, is not used.
    """

    shape: tuple[int, ...]
    name: str | None = None
    part: Any = ()
    unused: str = ""


@dataclass(frozen=True)
class Release:
    """A published file: what it is called, where it is from, and its tensors by published name."""

    file: str
    source: str
    tensors: Mapping[str, Published]

    @property
    def remedy(self) -> str:
        """What to do without the file, or with another one."""
        return (
            f"Give the tensors of {self.file} of {self.source}, saved as a .safetensors file under the names that they "
            "have there, and its path as option weights."
        )

    def digest(self, path: Path) -> str:
        """A file's sha256, for records; raises `ValueError` unless it is this release's."""
        self.read(path)
        return f"sha256:{sha256(path)}"

    def read(self, path: Path) -> dict[str, Array]:
        """Parameters by their names here.

        Raises
        ------
        ValueError
            If the file cannot be read, is damaged, or holds other tensors.
        """
        try:
            tensors = map_tensors(path, self.remedy)
        except DatasetError as error:
            raise ValueError(str(error)) from None
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({reason(error)}). {self.remedy}") from None
        for name in sorted({*tensors, *self.tensors}):
            self._check(path, name, tensors.get(name))
        return {
            known.name: np.array(tensors[name][known.part])
            for name, known in self.tensors.items()
            if known.name is not None
        }

    def _check(self, path: Path, name: str, tensor: npt.NDArray[Any] | None) -> None:
        """Refuse a tensor that is missing, unknown, of another shape or type, or not finite."""
        known, problem = self.tensors.get(name), ""
        if known is None:
            problem = f"has a tensor {name!r}, which {self.file} does not have"
        elif tensor is None:
            problem = f"lacks the tensor {name!r}"
        elif tensor.dtype != np.float32 or tensor.shape != known.shape:
            problem = (
                f"its tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, where it should be float32 "
                f"{list(known.shape)}"
            )
        elif not np.isfinite(tensor).all():
            problem = f"its tensor {name!r} has values that are not finite"
        if problem:
            raise ValueError(f"{path}: {problem}: the file is damaged or another. {self.remedy}")


def given_file(weights: str, predictor: str, release: Release) -> Path:
    """The file that an option `weights` names; `PredictorError` if a digest alone is given."""
    if re.fullmatch(DIGEST, weights):
        raise PredictorError(f"{predictor}: option weights is the digest of a file, {weights}. {release.remedy}")
    return Path(weights)
