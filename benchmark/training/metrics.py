"""Metrics of the training track: from the curves of a run, by trial; and what two runs of the same trials differ by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...utils.bootstrap import Float64, Index, wilson
from ..intervals import Estimate, bootstrap
from .curves import Curves
from .protocol import TrainingProtocol


@dataclass(frozen=True)
class TrainingMetric:
    """A metric of the training track.

    Parameters
    ----------
    name, heading
        How records and tables call it.
    meaning
        What it is, in one line.
    column
        The number of each trial that it is computed from.
    statistic
        From these numbers, [..., N] to [...].
    direction
        Whether higher or lower is better.
    digits
        Decimals shown.
    ratio
        Whether two runs are compared by the ratio of their values, not by the difference.
    """

    name: str
    heading: str
    meaning: str
    column: str
    statistic: Callable[[Float64], Any]
    direction: Literal["higher", "lower"]
    digits: int
    ratio: bool = False


def _mean(values: Float64) -> Any:
    return values.mean(-1)


def _known_mean(values: Float64) -> Any:
    """The mean over trials that have a number."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(-1) / known.sum(-1)


def _interquartile_mean(values: Float64) -> Any:
    """The mean of the middle half, as Agarwal et al. (2021) have it; trials are cut whole."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(-1)


def _worst_quarter(values: Float64) -> Any:
    """The mean of the lowest quarter, one trial at least."""
    return np.sort(values, axis=-1)[..., : max(1, values.shape[-1] // 4)].mean(-1)


METRICS = (
    TrainingMetric("auc", "AUC", "mean normalised return over the steps", "auc", _mean, "higher", 3),
    TrainingMetric(
        "steps_50", "steps to 50%", "until half of the rise, else all steps", "steps_50", _mean, "lower", 0, ratio=True
    ),
    TrainingMetric(
        "steps_95", "steps to 95%", "until solved, else all steps", "steps_95", _mean, "lower", 0, ratio=True
    ),
    TrainingMetric("solved", "solved", "share of the trials", "solved", _mean, "higher", 2),
    TrainingMetric("final", "final J", "in the last tenth of the training", "final", _mean, "higher", 1),
    TrainingMetric("final_iqm", "IQM", "the middle half's final J", "final", _interquartile_mean, "higher", 1),
    TrainingMetric("worst_quarter", "worst quarter", "its final J", "final", _worst_quarter, "higher", 1),
    TrainingMetric("kept", "kept", "share above 90%, once solved", "kept", _known_mean, "higher", 3),
)
HEADLINE = "auc"
STEPS = {0.5: "steps_50", 0.95: "steps_95"}
"""Columns of the times of the protocol's crossings."""
FEWEST = 6
"""Trials of a bootstrap that are chosen by their results: of fewer, its interval is little more than their range."""


def normalised(curves: Curves, protocol: TrainingProtocol) -> Float64:
    """Returns [N, E] on the protocol's scale: 0 before training, 1 at its reference."""
    return (curves.returns - protocol.initial_return) / (protocol.reference_return - protocol.initial_return)


def trial_columns(curves: Curves, protocol: TrainingProtocol) -> dict[str, Float64]:
    """The numbers of each trial [N] that metrics are computed from.

    Environment steps to a return that is never reached are all steps of the training; `kept` is NaN of a trial that was
    not solved before the last evaluation, and AUC is by trapezoids between evaluations.
    """
    steps = curves.evaluated * protocol.iteration_steps
    values = normalised(curves, protocol)
    widths = np.diff(steps)
    columns = {"auc": ((values[:, 1:] + values[:, :-1]) / 2 * widths).sum(1) / steps[-1]}
    for fraction in protocol.fractions:
        columns[STEPS[fraction]] = _crossings(values, steps, fraction)
    solved = values >= protocol.fractions[-1]
    after = np.zeros_like(solved)
    after[:, 1:] = np.maximum.accumulate(solved, axis=1)[:, :-1]
    with np.errstate(invalid="ignore"):
        columns["kept"] = (after & (values >= protocol.kept_fraction)).sum(1) / after.sum(1)
    columns["solved"] = solved.any(1).astype(np.float64)
    columns["final"] = curves.returns[:, steps >= (1 - protocol.final_fraction) * steps[-1]].mean(1)
    return columns


def _crossings(values: Float64, steps: Any, fraction: float) -> Float64:
    """Environment steps [N] until a return is first reached, interpolated between evaluations."""
    found = np.full(len(values), float(steps[-1]))
    for trial, curve in enumerate(values):
        reached = np.flatnonzero(curve >= fraction)
        if not len(reached):
            continue
        at = reached[0]
        before, width = (curve[at - 1], steps[at] - steps[at - 1]) if at else (fraction, 0)
        found[trial] = steps[at] - width * (curve[at] - fraction) / (curve[at] - before) if width else steps[at]
    return found


def estimates(columns: Mapping[str, Float64], protocol: TrainingProtocol) -> dict[str, Estimate]:
    """Every metric with its interval over trials."""

    def one(metric: TrainingMetric) -> Estimate:
        values = np.asarray(columns[metric.column])
        return bootstrap(lambda index: metric.statistic(values[index]), len(values), protocol)

    return {metric.name: one(metric) for metric in METRICS}


def paired(
    ours: Mapping[str, Float64], theirs: Mapping[str, Float64], protocol: TrainingProtocol
) -> dict[str, Estimate]:
    """What one run has more than another of the same trials: every metric's difference or ratio, resampled together.

    `kept`, which not all trials have, is compared over those that have it in both runs, without an interval if they are
    fewer than `FEWEST`. `better` is the probability of improvement in the headline metric: the share of trials that
    are better, ties half, with Wilson's interval.
    """

    def one(metric: TrainingMetric) -> Estimate:
        mine, other = np.asarray(ours[metric.column]), np.asarray(theirs[metric.column])
        known = np.isfinite(mine) & np.isfinite(other)
        mine, other = mine[known], other[known]

        def statistic(index: Index) -> Any:
            first, second = metric.statistic(mine[index]), metric.statistic(other[index])
            return first / second if metric.ratio else first - second

        found = bootstrap(statistic, len(mine), protocol)
        return found if known.all() or len(mine) >= FEWEST else Estimate(found.value, None, None)

    better = (np.sign(np.asarray(ours[HEADLINE]) - np.asarray(theirs[HEADLINE])) + 1) / 2
    low, high = wilson(better.sum(), len(better), protocol.confidence)
    share = Estimate(float(better.mean()), float(low), float(high))
    return {metric.name: one(metric) for metric in METRICS} | {"better": share}
