"""Errors of forecast weights against true ones, and the ceiling of what lies in a context's span."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...rl import PolicyLayout

Float64 = npt.NDArray[np.float64]
Weights = npt.NDArray[Any]


def weight_prediction_error(true: Weights, forecast: Weights) -> Float64:
    """WPE: mean over the parameters of the squared difference (TIPL, section 4).

    Parameters
    ----------
    true, forecast
        Weights [..., P], of any float type; the arithmetic is float64.

    Returns
    -------
    ndarray
        [...] float64.
    """
    difference = np.subtract(true, forecast, dtype=np.float64)
    error: Float64 = np.mean(difference * difference, axis=-1)
    return error


def layer_errors(true: Weights, forecast: Weights, layout: PolicyLayout) -> dict[str, Float64]:
    """WPE of each parameter tensor, by its name in the layout; shapes as in `weight_prediction_error`."""
    return {name: weight_prediction_error(true[..., part], forecast[..., part]) for name, part in layout.slices.items()}


def span_projection(context: Weights, targets: Weights) -> Float64:
    """The span oracle: the point nearest to each target among all that a context's checkpoints span affinely.

    No forecast that only recombines its context (linear, autoregression, any SVD of it) can have a smaller error.

    Parameters
    ----------
    context
        [L, P], the origin last.
    targets
        [H, P], the true future.

    Returns
    -------
    ndarray
        [H, P] float64.
    """
    origin = context[-1].astype(np.float64)
    past = np.subtract(context[:-1], origin, dtype=np.float64)
    _, sizes, basis = np.linalg.svd(past, full_matrices=False)  # basis [L - 1, P]
    basis = basis[sizes > sizes[:1].max(initial=0.0) * max(past.shape) * np.finfo(np.float64).eps]
    projection: Float64 = origin + (np.subtract(targets, origin, dtype=np.float64) @ basis.T) @ basis
    return projection
