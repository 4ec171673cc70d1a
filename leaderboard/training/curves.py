"""Mean learning curves of the table's rows: the normalised return against environment steps."""

from __future__ import annotations

import numpy as np

from ...benchmark.training.curves import Curves
from ...benchmark.training.metrics import normalised
from ...benchmark.training.protocol import TrainingProtocol
from ...utils.bootstrap import bounds, draw, expanded_tail
from ...utils.fields import Count, Document

DIGITS = 4


class MeanCurve(Document):
    """A run's normalised return, mean over its trials, with the 95% interval at each step by itself."""

    steps: tuple[Count, ...]
    """Environment steps after which J was evaluated."""
    mean: tuple[float, ...]
    """The mean there."""
    low: tuple[float, ...]
    """The lower ends of the intervals."""
    high: tuple[float, ...]
    """The upper ends."""


def mean_curve(curves: Curves, protocol: TrainingProtocol) -> MeanCurve:
    """The mean curve of a run, with the protocol's bootstrap at each step.

    The trapezoids under it are the run's AUC, up to rounding.
    """
    values = normalised(curves, protocol)
    trials = len(values)
    drawn = draw(trials, protocol.resamples, protocol.bootstrap_seed)  # [R, N]
    weights = (drawn[..., None] == np.arange(trials)).mean(1)  # [R, N]: the share of each trial in a resample
    low, high = bounds((weights @ values).T, expanded_tail(protocol.confidence, trials))
    steps = tuple(int(one) for one in curves.evaluated * protocol.iteration_steps)
    return MeanCurve(steps=steps, mean=_rounded(values.mean(0)), low=_rounded(low), high=_rounded(high))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) + 0.0 for value in values.round(DIGITS))
