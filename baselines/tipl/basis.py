"""Temporal SVD of whole trajectories (Tang et al., NeurIPS 2024), as the paper uses it.

Checkpoints as rows, [phi_0 .. phi_n]^T = U S V^T: row t of U is checkpoint t's token, and u S V^T are the weights that
a token u stands for. The basis of a trial's own trajectory holds that trial's future; the pooled one is of training
trials alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...registry.trial import Trial

Float64 = npt.NDArray[np.float64]

RANK_TOLERANCE = 1e-12
"""Squared singular values below this share of the largest count as zero."""
CHUNK_COLUMNS = 8192


@dataclass(frozen=True)
class Basis:
    """The first d right singular vectors V^T [d, P] and singular values [d]."""

    vectors: Float64
    values: Float64

    def tokens(self, weights: npt.NDArray[np.floating]) -> Float64:
        """Rows of U [..., d] of weights [..., P]."""
        return (weights @ self.vectors.T) / self.values

    def weights(self, tokens: Float64) -> Float64:
        """Weights [..., P] of rows of U [..., d]."""
        return (tokens * self.values) @ self.vectors


def trajectory_basis(trial: Trial, rank: int) -> Basis:
    """The basis of a trial's whole trajectory, its future included."""
    return _svd(trial.weights(), rank)


def pooled_basis(trials: Sequence[Trial], rank: int) -> Basis:
    """The basis of several trials' trajectories, merged from d singular vectors of each."""
    parts = [trajectory_basis(trial, rank) for trial in trials]
    return _svd(np.concatenate([part.values[:, None] * part.vectors for part in parts]), rank)


def _svd(rows: npt.NDArray[np.floating], rank: int) -> Basis:
    """The SVD of rows [n, P] from inner products of the shorter side, in float64.

    Its signs are arbitrary: the first row's tokens are made positive, so that trials agree on them at their start.
    """
    count, width = rows.shape
    chunks = [rows[:, start : start + CHUNK_COLUMNS].astype(np.float64) for start in range(0, width, CHUNK_COLUMNS)]
    if count < width:
        squared, left = np.linalg.eigh(sum(chunk @ chunk.T for chunk in chunks))
    else:
        whole = np.concatenate(chunks, axis=1)
        squared, right = np.linalg.eigh(whole.T @ whole)
    kept = np.flatnonzero(squared > RANK_TOLERANCE * squared[-1])[::-1][:rank]
    values = np.sqrt(squared[kept])
    if count < width:
        vectors = np.concatenate([left[:, kept].T @ chunk for chunk in chunks], axis=1) / values[:, None]
    else:
        vectors = right[:, kept].T
    signs = np.where(vectors @ rows[0] < 0, -1.0, 1.0)
    return Basis(vectors * signs[:, None], values)
