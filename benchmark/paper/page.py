"""docs/reproduction.md: every number on it is computed here from the files that are kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...baselines.plugins.discovery import SEES_THE_FUTURE
from ...utils.errors import DatasetError
from ...utils.files import replace_atomically, write_text
from ..figures import BLUE, GREEN, GREY, STYLE
from .ablation import tables
from .kept import Facts, Shown, kept_ablation, kept_sections
from .templating import templates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64 = npt.NDArray[np.float64]

HORIZONS = (1, 2, 5, 10)
"""The forward steps that tables show."""
WIDTHS = (1.25, 1, 1)
"""Relative widths of a row's panels."""
LABELS = {
    SEES_THE_FUTURE: "TIPL as published (the basis sees the future)",
    "tipl-pooled": "its honest twin (basis of training trials)",
    "tipl": "the suite's TIPL",
    "persistence": "persistence",
}


@dataclass(frozen=True)
class Series:
    """One model's errors at each forward step, and how its returns lie about the diagonal.

    Parameters
    ----------
    model
        Its name.
    wpe, repw
        Means [H].
    correlation
        Of predicted with true return over all windows and steps.
    exact
        The share of windows and steps whose REPW is exactly 0.
    skill
        1 - WPE / WPE of persistence, [H].
    """

    model: str
    wpe: Float64
    repw: Float64
    correlation: float
    exact: float
    skill: Float64

    @property
    def label(self) -> str:
        """What people read."""
        return LABELS.get(self.model, self.model)

    @property
    def rise(self) -> float:
        """WPE at the last step over that at the first."""
        return float(self.wpe[-1] / self.wpe[0])


@dataclass(frozen=True)
class Section:
    """What one dataset shows, in the paper's presentation and in the suite's protocol."""

    facts: Facts
    windows: int
    learning: float
    """The share of learning windows in the paper's presentation."""
    highest: float
    """The highest return of a true policy there."""
    paper: tuple[Series, ...]
    suite: tuple[Series, ...]
    figure: str
    """The figure's file name."""


def series(rows: pd.DataFrame, persistence: pd.DataFrame, model: str) -> Series:
    """A model's series from its rows and persistence's of the same windows."""
    means = rows.groupby("horizon")[["wpe", "repw"]].mean()
    still = persistence.groupby("horizon")["wpe"].mean()
    true, forecast = rows["return_true"].to_numpy(), rows["return_forecast"].to_numpy()
    varies = np.ptp(true) > 0 and np.ptp(forecast) > 0
    return Series(
        model,
        means["wpe"].to_numpy(),
        means["repw"].to_numpy(),
        float(np.corrcoef(true, forecast)[0, 1]) if varies else float("nan"),
        float((rows["repw"] == 0).mean()),
        1 - (means["wpe"] / still).to_numpy(),
    )


def section(shown: Shown, folder: Path) -> Section:
    """Draw a section's figure into a folder, and compute what the section says."""
    facts = shown.facts
    paper, suite = (
        {str(model): part for model, part in rows.groupby("model", sort=False)} for rows in (shown.paper, shown.suite)
    )
    name = f"{facts.dataset.replace('/', '--')}.png"
    draw(paper, suite, folder / name, facts.environment)
    still = paper["persistence"]
    return Section(
        facts=facts,
        windows=len(still[still["horizon"] == 1]),
        learning=float((still["phase"] == "learning").mean()),
        highest=float(still["return_true"].max()),
        paper=tuple(series(part, still, model) for model, part in paper.items()),
        suite=tuple(series(part, suite["persistence"], model) for model, part in suite.items()),
        figure=name,
    )


def draw(
    paper: Mapping[str, pd.DataFrame],
    suite: Mapping[str, pd.DataFrame],
    path: Path,
    environment: str,
) -> None:
    """Both panels as the paper draws them, with persistence beside; the suite's learning phase below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    upper, lower = SEES_THE_FUTURE, "tipl"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.6), layout="constrained")
        axes = figure.subplots(2, 3, width_ratios=WIDTHS)
        for row, (frames, model, title) in enumerate(
            (
                (paper, upper, f"{environment}, the paper's presentation\n{LABELS[upper]}"),
                (suite, lower, f"The suite's protocol, learning phase\n{LABELS[lower]}"),
            )
        ):
            _panels(axes[row], frames, model, title)
        _save(figure, path)


def draw_presentation(frames: Mapping[str, pd.DataFrame], path: Path, title: str) -> None:
    """The published model's panels alone, with persistence beside."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.5), layout="constrained")
        _panels(figure.subplots(1, 3, width_ratios=WIDTHS), frames, SEES_THE_FUTURE, title)
        _save(figure, path)


def _panels(axes: Sequence[Axes], frames: Mapping[str, pd.DataFrame], model: str, title: str) -> None:
    """A row of panels: errors, the model's returns, and persistence's."""
    _errors(axes[0], frames, model)
    axes[0].set_title(title, loc="left")
    for axis, name in zip(axes[1:], (model, "persistence"), strict=True):
        _scatter(axis, frames[name], name)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _errors(axes: Axes, frames: Mapping[str, pd.DataFrame], model: str) -> None:
    """WPE (blue) and REPW (green) against the forward step; persistence dashed."""
    twin = axes.twinx()
    for name, style in ((model, "-o"), ("persistence", "--")):
        means = frames[name].groupby("horizon")[["wpe", "repw"]].mean()
        for axis, column, color in ((axes, "wpe", BLUE), (twin, "repw", GREEN)):
            label = {"wpe": "WPE", "repw": "REPW"}[column]
            axis.plot(means.index, means[column], style, color=color, ms=3, lw=1.4, label=f"{label}, {name}")
    axes.set_xlabel("forward prediction step")
    axes.set_ylabel("WPE", color=BLUE)
    twin.set_ylabel("REPW", color=GREEN)
    twin.spines["right"].set_visible(True)
    axes.set_yscale("log")
    twin.set_ylim(bottom=0)
    handles = [*axes.get_lines(), *twin.get_lines()]
    axes.legend(handles, [str(line.get_label()) for line in handles], loc="best", fontsize=7)


def _scatter(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    axes.scatter(
        rows["return_true"],
        rows["return_forecast"],
        s=6,
        alpha=0.3,
        lw=0,
        color=GREY if name == "persistence" else BLUE,
    )
    ends = [float(rows["return_true"].min()), float(rows["return_true"].max())]
    axes.plot(ends, ends, color="black", lw=0.8)
    axes.set_xlabel("return of the true policy")
    axes.set_ylabel("return of the forecast")
    axes.set_title(name)


def render(folder: Path, out: Path) -> Path:
    """Write the page into `out` from the files that are kept in a folder; its figures go into `reproduction/` there.

    Raises
    ------
    DatasetError
        If nothing is kept there.
    """
    shown, ablated = kept_sections(folder), kept_ablation(folder)
    if not shown:
        raise DatasetError(f"{folder} keeps no section of the page; `--fit DATASET` makes one.")
    values: dict[str, Any] = {
        "sections": [section(one, out / "reproduction") for one in shown],
        "ablation": ablated,
        "tables": tables(ablated) if ablated else {},
        "horizons": HORIZONS,
    }
    path = out / "reproduction.md"
    write_text(path, templates().get_template("reproduction.md.j2").render(values))
    return path
