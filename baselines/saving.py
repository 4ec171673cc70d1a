"""Save what a fit learned: named arrays as safetensors, with the name, version and options that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import PredictorError, reason
from ..utils.files import replace_atomically

Array = npt.NDArray[Any]

LABEL, NOTHING = "tipl_bench", "tipl_bench.nothing"
"""Names in a saved state: the header's entry, and the tensor that stands for an empty state."""


def options_dict(options: Any) -> dict[str, Any]:
    """Options, a model or a dataclass, as a dictionary."""
    values: dict[str, Any] = TypeAdapter(type(options)).dump_python(options, warnings=False)
    return values


OptionsT = TypeVar("OptionsT")


class Saveable(Generic[OptionsT]):
    """What is fitted and saved: its name, version and options, and what it has learned."""

    name: ClassVar[str]
    version: ClassVar[int]

    def __init__(self, options: OptionsT) -> None:
        self.options = options
        self.device = "cpu"
        """The torch device to run on: set by the harness before a state is loaded, and by `fit` from its task."""

    def state(self) -> dict[str, Array]:
        """What `fit` learned; empty by default.

        Returns
        -------
        dict
            Arrays by name: all that `load_state` needs to forecast the same again.
        """
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore what `fit` learned.

        Parameters
        ----------
        state
            What `state` gave, arrays by name.
        """
        return

    @property
    def parameter_count(self) -> int:
        """The number of learned parameters."""
        return sum(array.size for array in self.state().values())

    def _label(self) -> dict[str, Any]:
        """What a saved state must agree with."""
        return {"predictor": self.name, "version": self.version, "options": options_dict(self.options)}

    def save(self, path: Path) -> None:
        """Write the fitted state as safetensors, with name, version and options in its header.

        Parameters
        ----------
        path
            The file; the same state gives the same bytes.
        """
        state = {name: np.asarray(array, order="C") for name, array in self.state().items()}
        with replace_atomically(path) as temporary:
            # A file needs at least one tensor, and some predictors learn nothing. There is one header entry because the
            # order of several is not fixed, and the same state must give the same bytes.
            save_file(
                state or {NOTHING: np.zeros(1, dtype=np.uint8)}, temporary, {LABEL: canonical_json(self._label())}
            )

    def load(self, path: Path) -> None:
        """Read a state written by `save` of the same predictor, version and options.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        PredictorError
            If the file is another predictor's or not readable.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                found = strict_json((file.metadata() or {}).get(LABEL, "{}"))
                if not isinstance(found, dict):
                    raise ValueError("its header does not name a predictor")
                state = {name: file.get_tensor(name) for name in file.keys() if name != NOTHING}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise PredictorError(f"{path}: not a saved predictor ({reason(error)}).") from None
        for key, value in self._label().items():
            if found.get(key) != value:
                raise PredictorError(f"{path}: saved with {key} {found.get(key)}, not {value}.")
        self.load_state(state)
