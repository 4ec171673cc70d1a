"""docs/scaling.md: every number on it is computed here from what is kept of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...utils.bootstrap import Index
from ...utils.files import replace_atomically, write_text
from .. import figures, intervals
from ..intervals import Estimate
from ..metrics import BY_NAME, HEADLINE
from .scaling import RUN, SUMS, Curve, Study, read_kept
from .templating import mean_and_spread, templates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#8a8a8a", "#1f5fa8", "#1a8f4c", "#b8860b", "#b3261e", "#6a3d9a")
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What one curve came to: the sums of its runs."""

    curve: Curve
    runs: pd.DataFrame

    def ratios(self, count: int) -> dict[int, tuple[Float64, Float64]]:
        """By seed, of the runs with so many trials: arrays [H, K] whose sums over test trials have skill as ratio."""
        found, runs = {}, self.runs[self.runs["trials"] == count]
        for seed in self.curve.study.seeds:
            rows = runs[runs["seed"] == seed]
            if rows.empty:
                continue
            sums = {name: rows.pivot(index="horizon", columns="test_trial", values=name).to_numpy() for name in SUMS}
            found[seed] = BY_NAME[HEADLINE].ratio(sums)
        return found

    def skill(self, count: int) -> Estimate:
        """The mean skill over horizons and seeds, with its interval over test trials."""
        ratios = [*self.ratios(count).values()]
        if not ratios:
            return intervals.UNDEFINED

        def statistic(index: Index) -> Any:
            return np.mean([(a[:, index].sum(-1) / b[:, index].sum(-1)).mean(0) for a, b in ratios], axis=0)

        return intervals.bootstrap(statistic, ratios[0][0].shape[1], self.curve.study.protocol)

    def gain(self) -> Estimate:
        """The skill with the most trials minus that with the fewest, of the same seeds, paired over test trials.

        Its interval is over test trials and seeds, crossed, with each trial's part of a skill to first order.
        """
        parts = self._gains()
        if not len(parts):
            return intervals.UNDEFINED
        return intervals.crossed(parts, self.curve.study.protocol.confidence)

    def cell(self, count: int) -> str:
        """The mean skill, and its standard deviation over seeds where there are several."""
        ratios = self.ratios(count).values()
        return mean_and_spread([float((above.sum(1) / below.sum(1)).mean()) for above, below in ratios], 3)

    def gain_cell(self) -> str:
        """The gain with its interval."""
        gain = self.gain()
        return f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain.value is not None else "-"

    @property
    def has_seeds(self) -> bool:
        """Whether several seeds have both the fewest trials and the most."""
        return len(self._gains()) > 1

    def _gains(self) -> Float64:
        """Each test trial's part of the gain, [S, K], of the seeds that have both the fewest trials and the most."""
        first, last = (self.ratios(self.curve.trials[end]) for end in (0, -1))
        return np.array([_by_trial(*last[seed]) - _by_trial(*first[seed]) for seed in sorted({*first} & {*last})])

    @property
    def parameters(self) -> int | None:
        """Learned parameters."""
        return None if self.runs.empty else int(self.runs["parameters"].iloc[0])

    @property
    def fit_seconds(self) -> float | None:
        """The mean over the runs with the most trials."""
        found = self.runs[self.runs["trials"] == self.curve.trials[-1]]["fit_seconds"]
        return None if found.empty else float(found.mean())

    @property
    def processor(self) -> str:
        """What its runs with the most trials were fitted on."""
        runs = self.runs[self.runs["trials"] == self.curve.trials[-1]]
        return ", ".join(sorted(set(runs["processor"]))) or "-"


def _by_trial(above: Float64, below: Float64) -> Float64:
    """Values [K] whose mean is the mean over horizons of the ratios of sums [H, K], and that vary as it does."""
    ratio = above.sum(1, keepdims=True) / below.sum(1, keepdims=True)
    parts: Float64 = (ratio + (above - ratio * below) / below.mean(1, keepdims=True)).mean(0)
    return parts


def page_rows(study: Study, runs: pd.DataFrame) -> list[Row]:
    """A row a curve, of the runs that there are."""
    return [
        Row(
            curve,
            runs[
                (runs["predictor"] == curve.predictor) & (runs["steps"] == curve.steps) & (runs["width"] == curve.width)
            ],
        )
        for curve in study.curves()
    ]


def render(kept: Path, out: Path) -> Path:
    """Write the page into a folder from what is kept of the runs, with its figure in `scaling/` beside it."""
    study, runs = read_kept(kept)
    rows = page_rows(study, runs)
    draw(study, rows, out / "scaling" / "scaling.png")
    made = len(runs[RUN].drop_duplicates())
    told = [row for row in rows if row.has_seeds]
    helped = [row for row in told if (row.gain().low or 0) > 0]
    answer = {"helped": helped, "level": [row for row in told if row not in helped]}
    values = {"study": study, "rows": rows, "made": made, "test_trials": runs["test_trial"].nunique(), **answer}
    path = out / "scaling.md"
    write_text(path, templates().get_template("scaling.md.j2").render(values))
    return path


def draw(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Skill against training trials, training steps and learned parameters, a colour a predictor."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(12.4, 4.2), layout="constrained")
        by_trials, by_steps, by_width = figure.subplots(1, 3, sharey=True, width_ratios=(1.4, 1, 1))
        most = study.trials[-1]
        for name, colour in zip(study.predictors, COLOURS * len(study.predictors), strict=False):
            own = [row for row in rows if row.curve.predictor == name]
            for row in own:
                style = "-" if row.curve.steps == row.curve.width == 1 else ":" if row.curve.width > 1 else "--"
                points = [(count, row.skill(count)) for count in study.trials]
                _line(by_trials, points, colour, style, row.curve.label)
            usual_width = [row for row in own if row.curve.width == 1]
            _line(by_steps, [(row.curve.steps, row.skill(most)) for row in usual_width], colour, "-", name)
            usual_steps = [row for row in own if row.curve.steps == 1]
            _line(by_width, [(row.parameters or 1, row.skill(most)) for row in usual_steps], colour, "-", name)
        by_trials.set_xticks(study.trials, study.trials, minor=False)
        by_steps.set_xticks(study.steps, study.steps, minor=False)
        for axes in (by_trials, by_steps):
            axes.tick_params(axis="x", which="minor", labelbottom=False)
        by_trials.set_xlabel("training trials")
        by_trials.set_ylabel("mean skill, learning phase")
        by_steps.set_xlabel(f"times the steps of {study.budget}, {most} trials")
        by_width.set_xlabel(f"learned parameters, {most} trials")
        figure.legend(*by_trials.get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=7)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _line(axes: Axes, points: Sequence[tuple[float, Estimate]], colour: str, style: str, label: str) -> None:
    """Points that are known, with their intervals."""
    known = [(x, one.value, one.low, one.high) for x, one in points if one.value is not None]
    if not known:
        return
    x, value, low, high = zip(*known, strict=True)
    axes.plot(x, value, style, marker="o", ms=3, lw=1.4, color=colour, label=label)
    if None not in (*low, *high):
        axes.vlines(x, low, high, color=colour, lw=0.8, alpha=0.5)
    axes.set_xscale("log")
