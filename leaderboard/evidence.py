"""What stands behind a record: how far it was checked, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..benchmark.record import Record

State = Literal["claimed", "rescored", "reproduced"]


@dataclass(frozen=True)
class Standing:
    """How far a record was checked, what disputes it, and the evidence."""

    state: State
    disputed: str | None
    evidence: tuple[dict[str, Any], ...]


def standing(record_path: Path, record: Record) -> Standing:
    """The standing of a record that nobody has checked."""
    return Standing("claimed", None, ())
