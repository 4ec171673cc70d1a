"""The policy's forward pass on the CPU, as compiled loops of a fixed order.

A BLAS may sum in another order when the batch or the thread count changes, and one rounding error is enough to send
a MuJoCo episode elsewhere. These loops add the products of a row in the order of its inputs, whatever is computed
beside it, so an action depends on nothing but the policy and its observation.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..utils.compilation import compiled

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

NORMALIZER_EPSILON = 1e-8


@compiled
def _layer(inputs, flat, offset, outputs, rows):  # type: ignore[no-untyped-def]  # pragma: no cover
    """outputs[e] = W.T @ inputs[e] + b for the given rows; W is [in, out] at `offset` of `flat`, b follows it."""
    fan_in, fan_out = inputs.shape[1], outputs.shape[1]
    weight = flat[offset : offset + fan_in * fan_out].reshape(fan_in, fan_out)
    bias = flat[offset + fan_in * fan_out : offset + fan_in * fan_out + fan_out]
    for e in rows:
        for j in range(fan_out):
            outputs[e, j] = bias[j]
    for k in range(fan_in):
        for e in rows:
            value = inputs[e, k]
            for j in range(fan_out):
                outputs[e, j] += value * weight[k, j]
    return offset + (fan_in + 1) * fan_out


@compiled
def _mean(flat, sizes, inputs, rows, output):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The mean action of one policy for the given rows of `inputs`, written to `output`."""
    offset = 0
    for layer in range(1, len(sizes) - 1):
        hidden = np.empty((inputs.shape[0], sizes[layer]), np.float32)
        offset = _layer(inputs, flat, offset, hidden, rows)
        for e in rows:
            for j in range(sizes[layer]):
                hidden[e, j] = math.tanh(hidden[e, j])
        inputs = hidden
    _layer(inputs, flat, offset, output, rows)


@compiled
def _normalize(observation, mean, variance, clip, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """(observation - mean) / sqrt(variance + epsilon), clipped, in float64, stored as float32."""
    for o in range(observation.shape[0]):
        value = (observation[o] - mean[o]) / math.sqrt(variance[o] + NORMALIZER_EPSILON)
        out[o] = min(max(value, -clip), clip)


@compiled
def mean_actions(weights, sizes, observation, output):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mean actions of N policies, each at its own observation.

    Parameters
    ----------
    weights
        [N, P] float32 in the layout of `PolicyLayout.as_kernel`.
    sizes
        Layer widths, int64.
    observation
        Normalised observations [N, O], float32.
    output
        [N, A] float32, overwritten.
    """
    row = np.zeros(1, np.int64)
    for n in range(weights.shape[0]):
        _mean(weights[n], sizes, observation[n : n + 1], row, output[n : n + 1])


@compiled
def evaluation_actions(  # type: ignore[no-untyped-def]  # pragma: no cover
    weights, sizes, mean, variance, clip, low, high, episodes, ids, observation, output
):
    """Clipped mean actions of the running episodes of many policies.

    Parameters
    ----------
    weights, sizes
        As for `mean_actions`; policy p owns the simulations p * episodes .. (p + 1) * episodes - 1.
    mean, variance
        Each policy's observation normaliser, [N, O] float64.
    clip
        Where normalised observations are cut.
    low, high
        Action bounds, [A] float32.
    episodes
        Episodes per policy.
    ids
        The running simulations, [n] int64, ascending.
    observation
        Raw observations of those simulations, [n, O] float64.
    output
        [n, A] float32, overwritten.
    """
    start = 0
    while start < len(ids):
        policy = ids[start] // episodes
        stop = start
        while stop < len(ids) and ids[stop] // episodes == policy:
            stop += 1
        normalized = np.empty((stop - start, observation.shape[1]), np.float32)
        rows = np.arange(stop - start)
        for e in range(stop - start):
            _normalize(observation[start + e], mean[policy], variance[policy], clip, normalized[e])
        _mean(weights[policy], sizes, normalized, rows, output[start:stop])
        for e in range(start, stop):
            for a in range(output.shape[1]):
                output[e, a] = min(max(output[e, a], low[a]), high[a])
        start = stop
