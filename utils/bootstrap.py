"""Intervals for few independent units: the expanded percentile bootstrap, and Wilson's for a share.

The plain percentile interval of n units is too narrow when n is small: resamples vary by the plug-in variance, short
by the factor (n - 1) / n, and normal quantiles stand where Student's belong. The expanded percentile interval corrects
both by reading the same draws further out, at Phi(-sqrt(n / (n - 1)) t(n - 1)) in place of alpha / 2 (Hesterberg, "What
Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, 371-386). `docs/intervals.md` has the
measured coverage of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


def draw(units: int, resamples: int, seed: int | Sequence[int]) -> Index:
    """Unit numbers drawn with replacement, [resamples, units]; the same for the same seed."""
    return np.random.default_rng(seed).integers(0, units, (resamples, units))


def expanded_tail(level: float, units: Any, variances: Any = 1.0) -> Any:
    """The tail probability at which an interval of nominal `level` is read from bootstrap draws.

    Parameters
    ----------
    level
        Nominal coverage, say 0.95.
    units
        Number of resampled units of each stratum, [..., S]; a plain number for one stratum.
    variances
        Each stratum's share in the variance of the draws, [..., S]; of one stratum it does not matter.

    Returns
    -------
    float or array
        [...]. With several strata the shortfall of the variance is what they have together, and the degrees of freedom
        are Satterthwaite's (Biometrics Bulletin 2, 1946).
    """
    degrees = np.atleast_1d(np.asarray(units, dtype=np.float64)) - 1
    plain = np.broadcast_arrays(np.asarray(variances, dtype=np.float64), degrees)[0]
    # Draws that do not vary have one quantile, wherever it is read.
    plain = np.where(plain.sum(-1, keepdims=True) > 0, plain, 1.0)
    corrected = plain * (degrees + 1) / degrees
    total = corrected.sum(-1)
    freedom = total**2 / (corrected**2 / degrees).sum(-1)
    tail = ndtr(np.sqrt(total / plain.sum(-1)) * stdtrit(freedom, (1 - level) / 2))  # `scipy.stats` loads slowly
    return tail if np.ndim(tail) else float(tail)


def bounds(drawn: Float64, tail: Any) -> tuple[Float64, Float64]:
    """Quantiles `tail` and 1 - `tail` of draws [..., R], interpolated linearly; [...] each.

    Draws without a finite value are set aside: a resample whose denominator is 0 says nothing about the statistic.
    """
    finite = np.isfinite(drawn)
    values = drawn.copy() if finite.all() else np.where(finite, drawn, np.nan)  # NaN is put last
    last = np.maximum(finite.sum(-1) - 1, 0)
    tail = np.broadcast_to(np.asarray(tail, dtype=np.float64), last.shape)
    places = [tail * last, (1 - tail) * last]
    below = [np.floor(place).astype(np.intp) for place in places]
    above = [np.minimum(number + 1, last) for number in below]
    needed = np.unique([*below, *above])
    if len(needed) <= 4:  # one tail and one number of draws for all: no need to sort everything
        values.partition(needed, axis=-1)
    else:
        values.sort(axis=-1)

    def quantile(side: int) -> Float64:
        first, second = (np.take_along_axis(values, at[side][..., None], -1)[..., 0] for at in (below, above))
        value: Float64 = first + (second - first) * (places[side] - below[side])
        return value

    return quantile(0), quantile(1)


def wilson(successes: Any, count: Any, level: float) -> tuple[Any, Any]:
    """Wilson's score interval of a share of independent trials; NaN where nothing was counted.

    A bootstrap of n successes in n trials would claim certainty (Brown, Cai and DasGupta, Statistical Science 16,
    2001).
    """
    z = float(ndtri((1 + level) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / count
        centre = share + z**2 / (2 * count)
        half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
        low, high = (centre - half) / (1 + z**2 / count), (centre + half) / (1 + z**2 / count)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)
