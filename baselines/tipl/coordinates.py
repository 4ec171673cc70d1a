"""Temporal SVD of a window, from inner products alone.

Stacking a context's checkpoints relative to the origin as rows, Y = U S V^T, the rows of U S are their coordinates in
the basis V (Temporal SVD: Tang et al., NeurIPS 2024). The basis comes from the trial's own past up to the origin, never
from its future or from other trials: a held-out trial's weights are nearly orthogonal to every other trial's, and a
forecast of coordinates moves only what has moved. Y Y^T is all that is needed, so nothing here depends on P.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RANK_TOLERANCE = 1e-10
"""Squared singular values below this share of the largest count as zero."""


@dataclass(frozen=True)
class WindowCoordinates:
    """Coordinates of B windows, in units of each window's own step length.

    Parameters
    ----------
    points
        [B, N, d] float32: the context's checkpoints (row L - 1, the origin, is 0), then those of the future that were
        given, projected onto the context's span.
    scale
        Root mean square length of the context's differences, [B] float64; 0 where nothing moved.
    lift
        [B, d, L] float64: a coordinate vector u is the weights phi_t + (u * scale) @ lift @ Y, with Y the context
        relative to the origin.
    """

    points: Tensor
    scale: Tensor
    lift: Tensor


def window_coordinates(grams: Tensor, context: int, rank: int) -> WindowCoordinates:
    """Coordinates of windows from the inner products of their differences.

    Parameters
    ----------
    grams
        [B, N - 1, N - 1] float64, inner products of the N - 1 successive differences.
    context
        L, the checkpoints that make the basis; the origin is number L - 1.
    rank
        d; coordinates beyond the context's own rank are 0.
    """
    steps = grams.shape[1]
    # phi_i - phi_origin as sums of differences: row i of `sums`.
    sums = torch.zeros(steps + 1, steps, dtype=grams.dtype)
    for i in range(steps + 1):
        if i < context - 1:
            sums[i, i : context - 1] = -1.0
        else:
            sums[i, context - 1 : i] = 1.0
    products = sums @ grams @ sums.T  # [B, N, N]: inner products of the points
    own = products[:, :context, :context]
    values, vectors = torch.linalg.eigh(own)  # ascending
    values, vectors = values.flip(-1)[:, :rank], vectors.flip(-1)[..., :rank]
    kept = values > RANK_TOLERANCE * values[:, :1].clamp_min(torch.finfo(values.dtype).tiny)
    inverse = torch.where(kept, values.clamp_min(torch.finfo(values.dtype).tiny).rsqrt(), 0.0)
    # An SVD's signs are arbitrary: each coordinate's largest value is made positive, so that rounding decides nothing.
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))  # [B, 1, d]
    lift = (vectors * largest.sign() * inverse[:, None]).mT  # [B, d, L]
    scale = grams.diagonal(dim1=1, dim2=2)[:, : context - 1].mean(1).sqrt()
    safe = torch.where(scale > 0, scale, 1.0)
    points = products[:, :, :context] @ lift.mT / safe[:, None, None]
    return WindowCoordinates(points.float(), scale, lift)
