"""Methods of others against their formulas, written out once more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.field import dmd, holt
from tipl_bench.baselines.field.adam_moments import rates_ahead
from tipl_bench.baselines.field.single_weights import WNN, Introspection
from tipl_bench.baselines.fitting.gram import difference_moments
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask

HORIZON, CONTEXT = 3, 20
unit = st.floats(0, 1)


def fitted(model, dataset, *options):
    """A predictor of a name, fitted on a dataset."""
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "smoke", options, CONTEXT))
    split = dataset.manifest.split
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), HORIZON, CONTEXT))
    return predictor


@pytest.fixture
def contexts(smooth):
    """Three windows of a test trial."""
    return synthetic.contexts_of(smooth, 7, (19, 41, 77))


@settings(deadline=None, max_examples=30)
@given(level=st.floats(1e-3, 1), trend=unit, damping=unit, values=st.lists(st.floats(-9, 9), min_size=2, max_size=20))
def test_holts_coefficients_are_those_of_his_recursion(level, trend, damping, values):
    smoothed, slope = values[0], 0.0
    for value in values[1:]:
        ahead = smoothed + damping * slope
        before, smoothed = smoothed, ahead + level * (value - ahead)
        slope = damping * slope + trend * (smoothed - before - damping * slope)
    expected = [smoothed + slope * sum(damping**k for k in range(1, h + 1)) for h in (1, 2, 3)]
    steps = holt.coefficients(np.array([level, trend, damping]), len(values) - 1, 3)
    np.testing.assert_allclose(values[-1] + steps @ np.diff(values), expected, rtol=1e-9, atol=1e-9)


def test_an_undamped_trend_that_forgets_everything_is_the_last_difference_again(smooth, contexts):
    line = fitted("holt", smooth, "level=1", "trend=1", "damping=1").predict(contexts, HORIZON)
    np.testing.assert_allclose(line, fitted("linear", smooth).predict(contexts, HORIZON), rtol=0, atol=1e-6)


def test_no_constants_on_a_grid_are_better_on_the_training_trials_than_holts_fitted_ones(smooth):
    moments = difference_moments(smooth.trials(smooth.manifest.split.train), CONTEXT - 1, HORIZON)

    def error(constants):
        return holt.relative_error(holt.coefficients(np.array(constants), CONTEXT - 1, HORIZON), moments)

    grid = np.stack(np.meshgrid(*[np.linspace(0.05, 1, 7)] * 3), axis=-1).reshape(-1, 3)
    assert error(fitted("holt", smooth).constants) <= min(map(error, grid)) + 1e-6
    assert fitted("holt", smooth, "level=0.5").constants[0] == 0.5


def test_dmd_continues_differences_that_follow_one_linear_map():
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(32, 3)))[0]
    turn = np.array([[0.9, -0.3, 0], [0.3, 0.9, 0], [0, 0, 0.7]])
    states = [rng.normal(size=3)]
    for _ in range(CONTEXT + HORIZON):
        states.append(turn @ states[-1])
    differences = np.array(states) @ frame.T
    past, future = differences[:CONTEXT], differences[CONTEXT : CONTEXT + HORIZON]
    ahead = dmd.coefficients(past @ past.T, 3, HORIZON) @ past
    np.testing.assert_allclose(ahead, np.cumsum(future, axis=0), atol=1e-6)


@pytest.mark.parametrize("differences", [np.zeros((4, 5)), np.ones((1, 5)), np.ones((4, 5))])
def test_dmd_of_too_few_or_equal_differences_is_finite(differences):
    ahead = dmd.coefficients(differences @ differences.T, 2, HORIZON) @ differences
    expected = np.arange(1, HORIZON + 1)[:, None] * differences[-1] if len(differences) > 1 else np.zeros((HORIZON, 5))
    np.testing.assert_allclose(ahead, expected, atol=1e-9)


def test_dmd_keeps_the_rank_that_is_best_on_the_validation_trials(smooth):
    chosen = fitted("dmd", smooth)
    trials = smooth.trials(smooth.manifest.split.validation)
    contexts = [synthetic.contexts_of(smooth, trial.index, range(19, 78)) for trial in trials]

    def skill(rank):
        forecasts = [fitted("dmd", smooth, f"rank={rank}").predict(one, HORIZON) for one in contexts]
        true = [np.stack([trial.weights(t + 1, t + 4) for t in range(19, 78)]) for trial in trials]
        missed, moved = (
            sum(np.square(t - np.asarray(f, dtype=float)).sum(axis=(0, 2)) for t, f in zip(true, guess, strict=True))
            for guess in (forecasts, [one.weights[:, -1:] for one in contexts])
        )
        return 1 - (missed / moved).mean()

    assert skill(chosen.rank) == pytest.approx(max(map(skill, range(1, dmd.LARGEST + 1))), abs=1e-6)


def test_the_moving_average_is_the_one_kept_along_the_context(smooth, contexts):
    average = contexts.weights[:, 0].astype(float)
    for weights in contexts.weights[:, 1:].swapaxes(0, 1):
        average = 0.98 * average + 0.02 * weights
    forecast = fitted("ema", smooth).predict(contexts, HORIZON)
    np.testing.assert_allclose(forecast, np.repeat(average[:, None], HORIZON, axis=1), atol=1e-6)


def test_the_latest_average_is_the_mean_of_its_checkpoints_and_of_one_it_is_persistence(smooth, contexts):
    mean = contexts.weights[:, -10:].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted("lawa", smooth).predict(contexts, 1), mean, atol=1e-6)
    still = fitted("persistence", smooth).predict(contexts, HORIZON)
    np.testing.assert_array_equal(fitted("lawa", smooth, "points=1").predict(contexts, HORIZON), still)
    np.testing.assert_array_equal(fitted("ema", smooth, "decay=0").predict(contexts, HORIZON), still)


def test_the_mean_trajectory_is_that_of_the_training_trials_and_stands_still_after_its_end(smooth, contexts):
    predictor = fitted("mean-trajectory", smooth)
    mean = np.mean([trial.weights() for trial in smooth.trials(smooth.manifest.split.train)], axis=0)
    moved = predictor.predict(contexts, HORIZON) - contexts.weights[:, -1:]
    for row, origin in enumerate(contexts.origin):
        np.testing.assert_allclose(moved[row], mean[origin + 1 : origin + 4] - mean[origin], atol=1e-5)
    late = predictor.predict(synthetic.contexts_of(smooth, 7, [80]), HORIZON)
    np.testing.assert_array_equal(late[:, 0], late[:, -1])


def test_introspection_reads_the_weight_at_seven_and_four_tenths_of_the_context_and_at_its_start():
    past = torch.arange(-19.0, 1.0)[None]
    features, unit_ = Introspection.encode(past)
    assert features.tolist() == [[-6.0, -11.0, -19.0]]
    assert unit_.tolist() == [[1.0]]


def test_wnn_reads_five_values_in_half_of_their_range_and_pads_a_shorter_past_with_its_oldest_value():
    features, unit_ = WNN.encode(torch.tensor([[7.0, 1.0, 3.0, 2.0, 5.0, 4.0]]))
    assert unit_.tolist() == [[2.0]]
    assert features.tolist() == [[0.0, 1.0, 0.5, 2.0, 1.5, 1.0, -0.5, 1.5, -0.5]]
    short, _ = WNN.encode(torch.tensor([[1.0, 3.0]]))
    assert short.tolist() == [[0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0]]


def test_the_rates_ahead_are_those_of_the_schedule(smooth):
    iterations, rates = np.repeat(np.arange(81), 5)[4:], 3e-4 * (1 - (np.repeat(np.arange(81), 5)[4:] - 1) / 100)
    rates[0] = 3e-4  # the initialisation
    epochs = np.concatenate([[0], np.tile(np.arange(2, 11, 2), 80)])
    origins = np.arange(19, 380)
    rows = origins[:, None] + np.arange(-19, 1)
    columns = {"learning_rate": rates[rows], "iteration": iterations[rows], "epoch": epochs[rows]}
    expected = np.stack([np.cumsum(rates[origin + 1 : origin + 11]) for origin in origins])
    np.testing.assert_allclose(rates_ahead(columns, 10), expected, rtol=1e-9)


def test_adams_moments_are_read_of_each_weight_by_itself_in_units_of_the_rate(smooth, contexts):
    predictor = fitted("adam-moments", smooth)
    u = np.diff(contexts.weights[0].astype(float), axis=0) / 3e-4
    weight, s = u[:, 5], np.sqrt(np.mean(u**2))
    features = [*weight[::-1]]
    for constant in (2, 5, 12):
        share = np.exp([-lag / constant for lag in reversed(range(19))])
        a, b = np.average(weight, weights=share), np.average(weight**2, weights=share)
        features += [a**3 / b, s * a / b**0.5, a * b**0.5 / s]
    position = (contexts.origin[0] - 1) % 5
    moved = (predictor.predict(contexts, HORIZON) - contexts.weights[:, -1:])[0, :, 5]
    expected = 3e-4 * np.arange(1, 4) * (predictor.coefficients[position] @ features)
    np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-7)


def test_without_moments_and_under_a_constant_rate_it_is_the_autoregression(smooth, contexts):
    forecasts = [
        fitted(model, smooth, *options, "ridge=0").predict(contexts, HORIZON)
        for model, options in (("adam-moments", ["moments=false"]), ("autoregression", []))
    ]
    np.testing.assert_allclose(*forecasts, atol=1e-4)
