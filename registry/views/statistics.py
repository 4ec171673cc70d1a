"""What a dataset's training returns look like: in numbers, and as curves for a page or a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...utils.tensorfile import Array
from ..trial import final_return

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReturnStatistics:
    """Training returns over trials.

    Parameters
    ----------
    trials
        How many.
    final_mean, final_deviation
        Mean and standard deviation over trials of each one's mean return at its end, where that is known; NaN if it
        nowhere is.
    best
        The highest return of any checkpoint; NaN if none is known.
    """

    trials: int
    final_mean: float
    final_deviation: float
    best: float


def return_statistics(returns: Mapping[int, Array]) -> ReturnStatistics:
    """Statistics of training returns [T] by trial; NaN marks checkpoints before the first finished episode."""
    finals = np.array([final_return(values) for values in returns.values()])
    finals = finals[np.isfinite(finals)]
    known = [values[np.isfinite(values)] for values in returns.values()]
    deviation = float(np.std(finals, ddof=1)) if len(finals) > 1 else 0.0
    return ReturnStatistics(
        trials=len(returns),
        final_mean=_mean(finals),
        final_deviation=deviation if len(finals) else float("nan"),
        best=max((float(values.max()) for values in known if len(values)), default=float("nan")),
    )


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")


def terminal_curves(returns: Sequence[Array], *, width: int = 64, height: int = 10) -> list[str]:
    """The mean training return over trials, and how far trials range, as lines of text.

    Parameters
    ----------
    returns
        Training returns [T], one of each trial.
    width, height
        Of the plot, in characters.

    Returns
    -------
    list of str
        The plot; empty if no return is known.
    """
    stacked = np.stack([np.asarray(values, dtype=np.float64) for values in returns])
    cells = np.array_split(stacked, min(width, stacked.shape[1]), axis=1)
    known = [cell[np.isfinite(cell)] for cell in cells]
    if not any(len(cell) for cell in known):
        return []
    low, high = (float(f(np.concatenate(known))) for f in (np.min, np.max))
    scale = (height - 1) / ((high - low) or 1.0)
    canvas = [[" "] * len(cells) for _ in range(height)]
    for column, cell in enumerate(known):
        if len(cell):
            bottom, top, mean = (round((float(f(cell)) - low) * scale) for f in (np.min, np.max, np.mean))
            for row in range(bottom, top + 1):
                canvas[row][column] = "·"
            canvas[mean][column] = "█"
    labels = {height - 1: f"{high:,.0f}", 0: f"{low:,.0f}"}
    margin = max(map(len, labels.values()))
    return [f"{labels.get(row, ''):>{margin}} │{''.join(canvas[row])}" for row in reversed(range(height))]


def draw_curves(returns: Mapping[int, Array], steps: Mapping[int, Array], title: str) -> bytes:
    """Every trial's training return against environment steps, as a PNG."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(7, 3.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for trial, values in returns.items():
        axes.plot(steps[trial], values, color="#4269d0", alpha=0.35, linewidth=0.8)
    with np.errstate(invalid="ignore"):
        stacked = np.stack(list(returns.values())).astype(np.float64)
        count = np.isfinite(stacked).sum(axis=0)
        mean = np.where(count > 0, np.nansum(stacked, axis=0) / np.maximum(count, 1), np.nan)
    axes.plot(
        np.mean(list(steps.values()), axis=0),
        mean,
        color="#15297c",
        linewidth=1.6,
        label=f"mean of {len(returns)} trials",
    )
    axes.set(xlabel="environment steps", ylabel="training return", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
