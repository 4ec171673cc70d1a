"""Temporal-SVD coordinates, against an explicit SVD of the window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.baselines.fitting.gram import context_grams
from tipl_bench.baselines.tipl.coordinates import window_coordinates
from tipl_bench.benchmark.forecast.weight_errors import span_projection

CONTEXT, FUTURE = 20, 4


def windows(seed: int, batch: int = 3, parameters: int = 60, length: int = CONTEXT + FUTURE):
    """Random walks [B, N, P]."""
    return np.stack([synthetic.random_walk(seed + i, length, parameters) for i in range(batch)]).astype(np.float32)


def coordinates(weights, rank: int = CONTEXT - 1):
    """Their coordinates."""
    return window_coordinates(torch.from_numpy(context_grams(weights)), CONTEXT, rank)


def lifted(found, weights):
    """Coordinates turned back into weights [B, N, P], as the docstring of `lift` says."""
    context = weights[:, :CONTEXT].astype(np.float64)
    relative = context - context[:, -1:]
    mixture = (found.points.double() * found.scale[:, None, None]) @ found.lift
    return context[:, -1:] + mixture.numpy() @ relative


@given(st.integers(0, 2**31))
def test_when_contexts_are_lifted_back_then_they_are_the_weights_they_came_from(seed):
    weights = windows(seed)
    np.testing.assert_allclose(lifted(coordinates(weights), weights)[:, :CONTEXT], weights[:, :CONTEXT], atol=1e-5)


@given(st.integers(0, 2**31))
def test_when_futures_are_lifted_back_then_they_are_projected_onto_the_contexts_span(seed):
    weights = windows(seed)
    found = lifted(coordinates(weights), weights)
    for lift, window in zip(found, weights, strict=True):
        expected = span_projection(window[:CONTEXT], window[CONTEXT:])
        np.testing.assert_allclose(lift[CONTEXT:], expected, atol=1e-5)


@given(st.integers(0, 2**31), st.integers(1, CONTEXT - 1))
def test_when_an_svd_is_taken_explicitly_then_coordinates_agree_up_to_signs(seed, rank):
    weights = windows(seed, batch=1)
    found = coordinates(weights, rank)
    relative = weights[0].astype(np.float64) - weights[0, CONTEXT - 1]
    _, _, basis = np.linalg.svd(relative[:CONTEXT], full_matrices=False)
    explicit = relative @ basis[:rank].T / float(found.scale[0])
    signs = np.sign(np.sum(explicit * found.points[0].numpy(), axis=0))
    np.testing.assert_allclose(found.points[0].numpy(), explicit * signs, atol=2e-5)


def test_when_a_window_is_scaled_then_its_unit_is_the_mean_step(smooth):
    weights = smooth.trial(3).weights(10, 10 + CONTEXT)[None]
    steps = np.diff(weights[0].astype(np.float64), axis=0)
    found = coordinates(weights)
    assert float(found.scale[0]) == pytest.approx(np.sqrt(np.mean(np.sum(steps**2, axis=1))), rel=1e-12)
    moved = np.diff(found.points[0].numpy(), axis=0)
    assert np.mean(np.sum(moved**2, axis=1)) == pytest.approx(1.0, rel=1e-5)


def test_when_the_future_is_added_then_the_pasts_coordinates_stay():
    weights = windows(0)
    alone, together = coordinates(weights[:, :CONTEXT]), coordinates(weights)
    torch.testing.assert_close(alone.points, together.points[:, :CONTEXT], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.scale, together.scale, rtol=1e-12, atol=0)


def test_when_coordinates_are_given_then_the_origin_is_their_zero():
    np.testing.assert_array_equal(coordinates(windows(1)).points[:, CONTEXT - 1], np.zeros((3, CONTEXT - 1)))


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_when_a_context_has_a_lower_rank_then_further_coordinates_are_zero(rank):
    stream = np.random.default_rng(rank)
    weights = (stream.normal(size=(2, CONTEXT, rank)) @ stream.normal(size=(2, rank, 60))).astype(np.float32)
    found = coordinates(weights)
    assert (found.points[..., rank:].abs() < 1e-4).all()
    assert found.points.isfinite().all()
    assert found.lift.isfinite().all()
    np.testing.assert_allclose(lifted(found, weights), weights, atol=1e-4)


def test_when_checkpoints_repeat_then_coordinates_are_finite_and_lift_back():
    weights = windows(2)[:, :CONTEXT]
    weights[:, 5:15] = weights[:, 5:6]
    found = coordinates(weights)
    assert found.points.isfinite().all()
    np.testing.assert_allclose(lifted(found, weights), weights, atol=1e-5)


def test_when_nothing_moves_then_everything_is_zero():
    weights = windows(3)[:, :1].repeat(CONTEXT, axis=1)
    found = coordinates(weights)
    assert not found.points.any()
    assert not found.scale.any()
    np.testing.assert_array_equal(lifted(found, weights), weights)


def test_when_rounding_moves_the_products_then_no_coordinate_changes_its_sign():
    # an SVD's signs are arbitrary: unless they are settled, a forecast is a matter of which BLAS summed the products
    weights = windows(4, batch=200, length=CONTEXT)
    found = coordinates(weights).points[..., :3]
    order = np.random.default_rng(0).permutation(60)
    turned = coordinates(np.ascontiguousarray(weights[..., order])).points[..., :3]
    torch.testing.assert_close(turned, found, rtol=0, atol=1e-3)
