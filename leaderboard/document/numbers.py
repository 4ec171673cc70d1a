"""Numbers as the document has them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ...benchmark.intervals import Estimate


def rounded(value: float | None) -> float | None:
    """A number of 6 significant digits, or None where it is undefined."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}") + 0.0  # no negative zero


def estimate(numbers: Iterable[float | None]) -> Estimate:
    """An estimate of value, low and high, rounded."""
    value, low, high = map(rounded, numbers)
    return Estimate(value, low, high)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the defined ones, or None if there is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
