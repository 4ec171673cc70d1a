"""The figure of training runs: return against environment steps, and what each has more than the first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...utils.bootstrap import Float64, Index
from ..figures import COLOURS, STYLE, save, without_remarks
from ..intervals import bootstrap
from .curves import Curves
from .record import TrainingKey

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(runs: Sequence[tuple[TrainingKey, Curves]], path: Path) -> None:
    """Write `path`.svg and `path`.png, the same bytes for the same runs.

    Parameters
    ----------
    runs
        Keys and curves; the others are drawn against the first, of the same trials.
    path
        Where to, without a suffix.
    """
    with without_remarks():
        import matplotlib as mpl
        from matplotlib.figure import Figure

    with without_remarks(), mpl.rc_context(STYLE):
        panels = 2 if len(runs) > 1 else 1
        figure = Figure(figsize=(6.0 * panels, 3.6 + 0.2 * len(runs)), layout="constrained")
        left, *right = figure.subplots(1, panels, squeeze=False)[0]
        first, reference = runs[0]
        for colour, (key, curves) in zip(itertools.cycle(COLOURS), runs, strict=False):
            _band(left, curves.evaluated, curves.returns, key, key.label, colour)
            for beside in right if key is not first else ():
                difference = curves.returns - reference.returns
                _band(beside, curves.evaluated, difference, key, "", colour)
        left.set_ylabel("return J of the deterministic policy")
        for beside in right:
            beside.axhline(0, color="black", lw=0.8)
            beside.set_ylabel("J minus that of the first, paired by trial")
        for axes in (left, *right):
            axes.set_xlabel("environment steps of each trial")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center")
        scope = f"{first.trials} {first.split} trials"
        figure.suptitle(f"{first.protocol.environment}: mean of {scope} with its 95% interval", size=11)
        save(figure, path)


def _band(axes: Axes, evaluated: Any, values: Float64, key: TrainingKey, label: str, colour: str) -> None:
    """The mean of trials' curves [N, E] with its interval at each evaluation."""
    steps = evaluated * key.protocol.iteration_steps
    axes.plot(steps, values.mean(0), color=colour, lw=1.6, label=label)
    if len(values) < 2:
        return
    found = [bootstrap(partial(_mean_of, column), len(values), key.protocol) for column in values.T]
    bounds = np.array([(one.low, one.high) for one in found], dtype=np.float64)
    axes.fill_between(steps, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.15, lw=0)


def _mean_of(values: Float64, index: Index) -> Any:
    return values[index].mean(-1)
