"""The curve of meta-training: the reward of training and validation agents against meta-iterations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..figures import STYLE, save, without_remarks
from .record import MetaRecord

COLOURS = ("#1f5fa8", "#c2571a", "#1a8f4c", "#8a3fa0", "#8a8a8a", "#b8860b")


def draw(records: Mapping[str, MetaRecord], path: Path) -> None:
    """Write `path`.svg and `path`.png: a colour a run, lines of training agents and points of validation agents.

    `records` has the runs by what the legend calls them.
    """
    with without_remarks():
        import matplotlib as mpl
        from matplotlib.figure import Figure

    with without_remarks(), mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.6 + 0.1 * len(records)), layout="constrained")
        axes = figure.subplots()
        for (name, record), colour in zip(records.items(), itertools.cycle(COLOURS), strict=False):
            width = max(1, len(record.rewards) // 40)
            smooth = np.convolve(record.rewards, np.ones(width) / width, "valid")
            axes.plot(np.arange(width, len(record.rewards) + 1), smooth, color=colour, lw=1, label=name)
            places = [one.iteration for one in record.validations]
            means = [one.mean for one in record.validations]
            errors = [1.96 * np.std(one.rewards, ddof=1) / np.sqrt(len(one.rewards)) for one in record.validations]
            axes.errorbar(places, means, errors, color=colour, fmt="o", ms=4, lw=1)
        axes.set_xlabel("meta-iterations")
        axes.set_ylabel("reward of a step")
        axes.set_title("lines: training agents; points: validation agents with 95% intervals", fontsize=9)
        if records:
            figure.legend(loc="outside lower center", ncols=3)
        save(figure, path)
