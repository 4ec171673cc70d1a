"""Numbers as the board's document has them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def rounded(value: float | None) -> float | None:
    """A number of 6 significant digits, or None where it is undefined."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}") + 0.0  # no negative zero


def estimate(numbers: Iterable[float | None]) -> Json:
    """An estimate of value, low and high."""
    return dict(zip(("value", "low", "high"), map(rounded, numbers), strict=True))
