"""The span oracle: what the best recombination of a context could reach."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark.forecast.weight_errors import span_projection, weight_prediction_error


def least_squares(context, targets):
    """The nearest affine combination of the context's rows, by `np.linalg.lstsq` in float64."""
    context, targets = context.astype(np.float64), targets.astype(np.float64)
    columns = (context[:-1] - context[-1]).T
    mixture, *_ = np.linalg.lstsq(columns, (targets - context[-1]).T)
    return context[-1] + (columns @ mixture).T


def walk(seed, length, parameters):
    return synthetic.random_walk(seed, length, parameters).astype(np.float32)


@given(st.integers(0, 2**32), st.integers(2, 20), st.integers(1, 60), st.integers(1, 4))
def test_when_targets_are_projected_then_least_squares_finds_the_same_point(seed, length, parameters, steps):
    weights = walk(seed, length + steps, parameters)
    context, targets = weights[:length], weights[length:]
    np.testing.assert_allclose(span_projection(context, targets), least_squares(context, targets), atol=1e-9)


@given(st.integers(0, 2**32), st.integers(1, 18))
def test_when_the_context_repeats_itself_then_its_lower_rank_changes_nothing(seed, kept):
    weights = walk(seed, 23, 40)
    once, targets = weights[20 - kept : 20], weights[20:]
    repeated = np.concatenate([once[:-1]] * 3 + [once])
    np.testing.assert_allclose(span_projection(repeated, targets), least_squares(once, targets), atol=1e-9)


def test_when_the_context_stands_still_then_its_span_is_the_origin():
    context = np.repeat(walk(0, 1, 40), 20, axis=0)
    targets = walk(1, 3, 40)
    np.testing.assert_array_equal(span_projection(context, targets), np.repeat(context[-1:], 3, axis=0))


@given(st.integers(0, 2**32))
def test_when_a_target_lies_in_the_span_then_its_error_is_zero_up_to_rounding(seed):
    stream = np.random.default_rng(seed)
    context = walk(seed, 20, 122).astype(np.float64)
    mixture = stream.normal(size=(3, 20))
    mixture /= mixture.sum(axis=1, keepdims=True)
    targets = mixture @ context
    size = np.square(targets - context[-1]).mean(axis=1)
    assert (weight_prediction_error(targets, span_projection(context, targets)) <= 1e-24 * (1 + size)).all()


def test_when_there_are_fewer_parameters_than_checkpoints_then_everything_is_reached():
    weights = walk(3, 22, 5)
    np.testing.assert_allclose(span_projection(weights[:20], weights[20:]), weights[20:], atol=1e-12)


@given(st.integers(0, 2**32))
def test_when_any_mixture_of_the_context_is_tried_then_none_is_nearer(seed):
    stream = np.random.default_rng(seed)
    weights = walk(seed, 23, 122).astype(np.float64)
    context, targets = weights[:20], weights[20:]
    best = weight_prediction_error(targets, span_projection(context, targets))
    mixture = np.eye(20)[-1] + 0.3 * stream.normal(size=(3, 20))
    tried = weight_prediction_error(targets, mixture / mixture.sum(axis=1, keepdims=True) @ context)
    assert (best <= tried).all()


@pytest.mark.parametrize("model", ["persistence", "linear", "autoregression"])
def test_when_a_predictor_recombines_its_context_then_the_oracle_is_at_least_as_good(model, smooth):
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "quick", (), 20))
    split = smooth.manifest.split
    predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20))
    trial = smooth.trial(7)
    origins = range(19, 78)
    forecasts = predictor.predict(synthetic.contexts_of(smooth, 7, origins), 3)
    for origin, forecast in zip(origins, forecasts, strict=True):
        context, targets = trial.weights(origin - 19, origin + 1), trial.weights(origin + 1, origin + 4)
        best = weight_prediction_error(targets, span_projection(context, targets))
        # a forecast is rounded to float32, which takes it out of the span by up to a bit of each weight
        rounding = np.sqrt(np.square(np.spacing(np.abs(forecast)), dtype=np.float64).mean(axis=1))
        assert (np.sqrt(best) <= np.sqrt(weight_prediction_error(targets, forecast)) + rounding).all()
