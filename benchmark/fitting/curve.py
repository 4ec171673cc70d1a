"""The curve of a fit, `fit.csv` in the run folder: how the losses fell, and at which step the kept state stood."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...utils.files import write_text
from ...utils.text import one_line

CURVE_NAME = "fit.csv"
LOSSES = ("training_loss", "validation_loss")
COLUMNS = ("step", *LOSSES, "kept")
MAX_POINTS = 100_000
MAX_BYTES = 100 * MAX_POINTS
"""Bytes of `fit.csv`."""


def write_curve(name: str, points: npt.NDArray[Any], folder: Path) -> None:
    """Write the points that the process of a predictor sent; what is no curve is left out, with a warning.

    Parameters
    ----------
    name
        The predictor's.
    points
        [N, 4] float64, a column each for `COLUMNS`; whatever else the process may have sent is refused.
    folder
        The run folder.
    """
    try:
        curve = _checked(points)
    except ValueError as error:
        warnings.warn(f"{name}: the curve of its fit is left out: {error}.", stacklevel=2)
        return
    write_text(folder / CURVE_NAME, curve.to_csv(index=False))


def read_curve(folder: Path) -> pd.DataFrame | None:
    """The curve in a run folder; None if there is none, or, with a warning, if the file is damaged."""
    path = folder / CURVE_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        found = pd.read_csv(path)
        if tuple(found) != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        return _checked(found.to_numpy(np.float64))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        warnings.warn(f"{path} is left out: {one_line(error, 200)}.", stacklevel=2)
        return None


def _checked(points: npt.NDArray[Any]) -> pd.DataFrame:
    """Points as a table, losses that are not finite as missing ones; raises `ValueError` for what is no curve."""
    if points.ndim != 2 or points.shape[1] != len(COLUMNS) or points.dtype != np.float64:
        raise ValueError(f"not a table of numbers with the columns {', '.join(COLUMNS)}")
    if len(points) > MAX_POINTS:
        raise ValueError(f"it has more than {MAX_POINTS:,} points")
    steps, losses, kept = points[:, 0], points[:, 1:3], points[:, 3]
    if not (np.isfinite(steps).all() and (steps == np.round(steps)).all() and ((steps >= 0) & (steps < 2**53)).all()):
        raise ValueError("its steps are not whole numbers from 0")
    if (np.diff(steps) <= 0).any():
        raise ValueError("its steps do not rise")
    finite = np.isfinite(losses)
    if not finite.any():
        raise ValueError("it holds no finite loss")
    curve = pd.DataFrame({"step": steps.astype(np.int64)})
    curve[[*LOSSES]] = np.where(finite, losses, np.nan)
    last = np.flatnonzero(kept == 1)[-1:]
    curve["kept"] = np.isin(np.arange(len(curve)), last)
    return curve
