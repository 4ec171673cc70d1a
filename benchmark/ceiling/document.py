"""The document of a branching ceiling: sums by window, in a file of its own that the catalog pins."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from ...registry.catalog import CatalogEntry
from ...registry.files import Document
from ...registry.locations import SHIPPED_CATALOG
from ...utils.canonical import strict_json
from ...utils.errors import DatasetError, reason
from ...utils.fields import Sha256
from ...utils.text import first_error
from ..forecast.windows import EvaluationWindow, Phase

if TYPE_CHECKING:
    from .branching import Branches

Float64 = npt.NDArray[np.float64]
FOLDER = SHIPPED_CATALOG.parent / "ceilings"
DIGITS = 5
"""Significant digits of the sums."""
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SUMS = ("variance", "displacement", "stored_error", "stored_displacement")


class BranchedWindow(Document):
    """One window, and what its continuations do at horizons 1 to H; see `Branches`."""

    trial: int
    origin: int
    phase: Phase
    position: int
    drift: Number
    variance: tuple[Number, ...]
    displacement: tuple[Number, ...]
    stored_error: tuple[Number, ...]
    stored_displacement: tuple[Number, ...]

    @classmethod
    def of(cls, window: EvaluationWindow, branches: Branches) -> Self:
        """A window's sums, rounded."""
        sums = {name: tuple(map(_rounded, getattr(branches, name).tolist())) for name in SUMS}
        return cls(**vars(window), drift=_rounded(branches.drift), **sums)

    @property
    def window(self) -> EvaluationWindow:
        """Which window it is."""
        return EvaluationWindow(self.trial, self.origin, self.phase, self.position)


class CeilingDocument(Document):
    """The branching ceiling of one dataset under one protocol version, from which all estimates follow."""

    format: Literal[1] = 1
    dataset: str
    """The dataset's name."""
    digest: Sha256
    """The dataset's digest."""
    protocol: int
    """The protocol's version, which says what the windows are."""
    copies: int = Field(ge=2)
    """N, continuations of each origin."""
    seed: int = Field(ge=0)
    """What their random streams are spawned from."""
    versions: dict[str, str]
    """Packages that it was computed with."""
    cpu: str
    """The processor that it was computed on."""
    windows: tuple[BranchedWindow, ...]
    """By trial, phase and origin."""

    @model_validator(mode="after")
    def _of_one_horizon(self) -> Self:
        lengths = {len(getattr(window, name)) for window in self.windows for name in SUMS}
        if len(lengths) > 1:
            raise ValueError("windows of several horizons")
        return self

    def sums(self, name: str) -> Float64:
        """One of `SUMS` of all windows, [W, H]."""
        return np.array([getattr(window, name) for window in self.windows])

    def to_json(self) -> str:
        """The text of its file: one window a line."""
        head = self.model_dump_json(indent=1, exclude={"windows"}).removesuffix("\n}")
        lines = ",\n".join(f"  {window.model_dump_json()}" for window in self.windows)
        return f'{head},\n "windows": [\n{lines}\n ]\n}}\n'


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def read_ceiling(path: Path) -> CeilingDocument:
    """Read and validate a document; raises `DatasetError` saying what is wrong with it."""
    try:
        return CeilingDocument.model_validate(strict_json(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise DatasetError(f"{path}: field {first_error(error)}. Remove it to compute the ceiling anew.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path}: not a readable branching ceiling ({reason(error)}). Remove it to compute the ceiling anew."
        ) from None


def published_path(name: str, protocol: int) -> Path:
    """Where the ceiling of a dataset under a protocol version stands among those that ship with the package."""
    return FOLDER / f"{name.replace('/', '--')}-p{protocol}.json"


def published_ceiling(name: str, protocol: int, entry: CatalogEntry | None) -> CeilingDocument | None:
    """The ceiling of a dataset that ships with the package; None where its entry in the catalog pins none.

    Raises
    ------
    DatasetError
        If the file is not the one that the catalog pins.
    """
    pinned = entry.ceilings.get(f"p{protocol}") if entry else None
    if entry is None or pinned is None:
        return None
    path = published_path(name, protocol)
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
    if found != pinned:
        raise DatasetError(
            f"{path}: sha256 {found}, but the catalog pins {pinned} for the branching ceiling of {name} under protocol "
            f"{protocol}. Install the package again, or restore the file."
        )
    document = read_ceiling(path)
    if document.digest not in entry.identity.digests:
        raise DatasetError(f"{path}: of a dataset with digest {document.digest}, not of {name} as the catalog has it.")
    return document
