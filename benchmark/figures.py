"""The figures of a run: the paper's, with persistence beside it, and how the losses fell in training.

The paper's has the errors by forward step, and predicted against true return.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..utils.files import replace_atomically
from .fitting.curve import LOSSES, read_curve
from .metrics import BY_NAME
from .record import Record, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREEN, GREY = "#1f5fa8", "#1a8f4c", "#8a8a8a"
COLOURS = (BLUE, "#c2571a", GREEN, "#8a3fa0", GREY, "#b8860b")
"""Of several runs in one figure."""
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "tipl-bench",
    "svg.fonttype": "none",
}


def draw(record: Record, rows: pd.DataFrame, folder: Path) -> None:
    """Write `figure.svg` and `figure.png`, and of a fit with a curve `fit.svg` and `fit.png`.

    The same run gives the same bytes.

    Parameters
    ----------
    record
        The finished run.
    rows
        Its `windows.parquet`.
    folder
        The run's folder.
    """
    with without_remarks():
        import matplotlib as mpl  # only where a figure is drawn: `verify` need not wait for it

    with without_remarks(), mpl.rc_context(STYLE):
        _draw_errors(record, rows, folder)
        curve = read_curve(folder)
        if curve is not None:
            _draw_fit(record, curve, folder)


def draw_several(records: Mapping[str, Record], path: Path, phase: str) -> None:
    """Write `path`.svg and `path`.png: skill, and REPW if all have it, of comparable runs in one phase.

    Parameters
    ----------
    records
        The runs by the names of the legend, all of the same windows.
    path
        Where to, without a suffix.
    phase
        The phase to draw.
    """
    with without_remarks():
        import matplotlib as mpl
        from matplotlib.figure import Figure

    found = {name: record.of_phase(phase) for name, record in records.items()}
    first, *_ = records.values()
    metrics = ["skill", *(["repw"] if all(record.has_returns for record in records.values()) else [])]
    references = {"skill": ("oracle_skill",), "repw": ("repw_persistence", "repw_perfect")}
    with without_remarks(), mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6 * len(metrics), 3.6 + 0.2 * len(records)), layout="constrained")
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            steps = [one.horizon for one in found[next(iter(found))]]
            for color, (name, results) in zip(itertools.cycle(COLOURS), found.items(), strict=False):
                (line,) = _band(axes, steps, results, metric, color, "o")
                line.set_label(name)
            shared = found[next(iter(found))]
            for reference, style in zip(references[metric], (":", "-."), strict=False):
                if all(reference in one.estimates for one in shared):
                    _reference(axes, steps, shared, reference, "black", style)
            axes.set_xticks(steps)
            axes.set_xlabel("forward prediction step")
            axes.set_ylabel(BY_NAME[metric].label)
        panels[0].axhline(0, color="black", lw=0.8, label="persistence")
        lines = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=2)
        scope = f", {first.scope}" if first.scope else ""
        figure.suptitle(
            f"{first.key.dataset.name}, {phase} phase (protocol {first.key.protocol.version}{scope})", size=11
        )
        save(figure, path)


def _draw_errors(record: Record, rows: pd.DataFrame, folder: Path) -> None:
    panels = 3 if record.has_returns else 2
    figure = _figure(record, (9.2 if panels == 2 else 12.4, 3.7))
    left, right, *others = figure.subplots(1, panels, width_ratios=(1.25, 1, 1)[:panels])
    phase = "learning" if (rows["phase"] == "learning").any() else "all"
    handles = _errors(left, record.of_phase(phase), phase)
    if record.has_returns:
        handles += _return_errors(left, record.of_phase(phase))
        _returns(right, rows, "return_forecast", record.key.method.name)
        for beside in others:
            beside.sharex(right)
            beside.sharey(right)
            _returns(beside, rows, "return_origin", "persistence")
    else:
        _skill(right, record.of_phase(phase))
    left.legend(handles=handles, loc="upper left")
    save(figure, folder / "figure")


def _draw_fit(record: Record, curve: pd.DataFrame, folder: Path) -> None:
    """The losses against the step, and the step whose state was kept; where they start may be above the panels."""
    figure = _figure(record, (9.2, 3.7))
    for axes, name, color in zip(figure.subplots(1, 2, sharex=True), LOSSES, (BLUE, GREEN), strict=True):
        known = curve[curve[name].notna()]
        axes.plot(known["step"], known[name], color=color, marker="o", ms=2.5, lw=1.4)
        for step in curve.loc[curve["kept"], "step"]:
            axes.axvline(step, color="black", ls=":", lw=1.2, label=f"kept: step {step:,}")
            axes.legend(loc="upper right")
        settled = known[name].iloc[len(known) // 10 + 1 :]
        if settled.nunique() > 1:
            margin = 0.1 * (settled.max() - settled.min())
            axes.set_ylim(settled.min() - margin, settled.max() + 2 * margin)
        axes.set_xlabel("training step")
        axes.set_title(name.replace("_", " "))
    save(figure, folder / "fit")


def _figure(record: Record, size: tuple[float, float]) -> Figure:
    """An empty figure under the name of its run."""
    from matplotlib.figure import Figure

    key = record.key
    scope = f", {record.scope}" if record.scope else ""
    about = f"protocol {key.protocol.version}, seed {key.seed}, {key.method.budget}{scope}"
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{key.method.name} on {key.dataset.name} ({about})", size=11)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG and PNG, the same bytes each time."""
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        with replace_atomically(path.with_name(f"{path.name}.{suffix}")) as temporary:
            figure.savefig(temporary, format=suffix, dpi=160, metadata=metadata)


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Keep back what matplotlib logs: where it cannot write its folder, it goes on in a temporary one by itself."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _errors(axes: Axes, results: list[Result], phase: str) -> list[Any]:
    """WPE against the forward step, with its 95% interval over trials; what the legend names."""
    steps = [one.horizon for one in results]
    handles = _band(axes, steps, results, "wpe", BLUE, "o")
    handles += _reference(axes, steps, results, "wpe_persistence", BLUE)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))
    axes.set_xticks(steps)
    axes.set_xlabel("forward prediction step")
    axes.set_ylabel("weight prediction error (WPE)", color=BLUE)
    axes.tick_params(axis="y", colors=BLUE)
    axes.set_title(f"{phase} phase" if phase != "all" else "all windows")
    return handles


def _return_errors(axes: Axes, results: list[Result]) -> list[Any]:
    """REPW on a second scale, with its 95% interval over trials; what the legend names."""
    steps = [one.horizon for one in results]
    twin = axes.twinx()
    handles = _band(twin, steps, results, "repw", GREEN, "s")
    handles += _reference(twin, steps, results, "repw_persistence", GREEN)
    if any("repw_perfect" in result.estimates for result in results):
        handles += _reference(twin, steps, results, "repw_perfect", GREEN, "-.")
    twin.set_ylim(bottom=0)
    twin.spines["right"].set_visible(True)
    twin.set_ylabel("return error (REPW)", color=GREEN)
    twin.tick_params(axis="y", colors=GREEN)
    return handles


def _skill(axes: Axes, results: list[Result]) -> None:
    """Skill against the forward step, with its 95% interval over trials, below the span ceiling."""
    steps = [one.horizon for one in results]
    _band(axes, steps, results, "skill", BLUE, "o")
    _reference(axes, steps, results, "oracle_skill", BLUE)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xticks(steps)
    axes.set_xlabel("forward prediction step")
    axes.set_title("skill (without returns)")
    axes.legend(loc="best")


def _band(axes: Axes, steps: list[int], results: list[Result], name: str, color: str, mark: str) -> list[Any]:
    bounds = [(e.low, e.high) for result in results if (e := result[name]).low is not None and e.high is not None]
    if len(bounds) == len(results):
        low, high = zip(*bounds, strict=True)
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
    label = BY_NAME[name].label
    return list(axes.plot(steps, _values(results, name), color=color, marker=mark, ms=3.5, lw=1.6, label=label))


def _reference(
    axes: Axes, steps: list[int], results: list[Result], name: str, color: str, style: str = ":"
) -> list[Any]:
    label = BY_NAME[name].label
    return list(axes.plot(steps, _values(results, name), color=color, ls=style, lw=1.2, label=label))


def _values(results: list[Result], name: str) -> list[float]:
    """A metric's values by horizon, NaN (a gap in the line) where undefined."""
    return [float("nan") if (value := result[name].value) is None else value for result in results]


def _returns(axes: Axes, rows: pd.DataFrame, forecast: str, name: str) -> None:
    """Return of a forecast, in a column of the rows, against the true one at every window and step, with the diagonal.

    The legend says how they are correlated in each phase.
    """
    for phase, color in (("converged", GREY), ("learning", BLUE)):
        part = rows[rows["phase"] == phase]
        axes.scatter(
            part["return_true"], part[forecast], s=7, alpha=0.35, color=color, lw=0,
            label=f"{phase}{_correlation(part['return_true'], part[forecast])}",
        )  # fmt: skip
    both = rows[["return_true", "return_forecast", "return_origin"]].to_numpy()
    low, high = float(both.min()), float(both.max())
    axes.plot([low, high], [low, high], color="black", lw=0.8)
    axes.set_xlabel(r"return of the true policy, $J(\pi_{\phi})$")
    axes.set_ylabel(r"return of the forecast, $J(\pi_{\tilde\phi})$")
    axes.set_title(f"{name}, all horizons")
    axes.legend(loc="upper left", markerscale=2)


def _correlation(true: pd.Series[float], forecast: pd.Series[float]) -> str:
    """Pearson's r for the legend; nothing where it is undefined."""
    if len(true) < 2 or not true.std() or not forecast.std():
        return ""
    return f", r = {true.corr(forecast):.3f}"
