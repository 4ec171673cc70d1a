"""Ridge autoregression, against least squares on windows laid out in full."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines.autoregression import RIDGES, Autoregression, AutoregressionOptions
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.utils.errors import OptionError, PredictorError

HORIZON = 3


def fitted(dataset, **options) -> Autoregression:
    """Ridge autoregression fitted on a dataset."""
    predictor = Autoregression(AutoregressionOptions(**options))
    split = dataset.manifest.split
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), HORIZON, 20))
    return predictor


def materialised(trials, lags: int, per_position: bool):
    """Every weight of every window as a row, by position: features [n, lags], lag 1 first, and targets [n, H]."""
    rows: dict[int, tuple[list, list]] = {}
    for trial in trials:
        weights = trial.weights().astype(np.float64)
        for t in range(lags, len(weights) - HORIZON):
            features = np.stack([weights[t - k + 1] - weights[t - k] for k in range(1, lags + 1)], axis=1)
            targets = np.stack([weights[t + h] - weights[t] for h in range(1, HORIZON + 1)], axis=1)
            place = rows.setdefault((t - 1) % 5 if per_position else 0, ([], []))
            place[0].append(features)
            place[1].append(targets)
    return {place: (np.concatenate(x), np.concatenate(y)) for place, (x, y) in sorted(rows.items())}


def ridge_by_lstsq(windows, ridge: float):
    """Coefficients [Q, H, lags]: the penalty as extra rows under the features."""
    solved = []
    for features, targets in windows.values():
        lags = features.shape[1]
        penalty = np.sqrt(ridge * np.sum(features**2) / lags)
        rows = np.concatenate([features, penalty * np.eye(lags)])
        solved.append(np.linalg.lstsq(rows, np.concatenate([targets, np.zeros((lags, HORIZON))]))[0].T)
    return np.stack(solved)


@pytest.mark.parametrize("per_position", [True, False])
@pytest.mark.parametrize(("lags", "ridge"), [(19, 1e-2), (19, 1.0), (4, 1e-4), (1, 0.0)])
def test_when_the_penalty_is_given_then_least_squares_on_all_windows_finds_the_same_line(
    per_position, lags, ridge, walking
):
    coefficients = fitted(walking, lags=lags, per_position=per_position, ridge=ridge).coefficients
    windows = materialised(walking.trials(walking.manifest.split.train), lags, per_position)
    assert coefficients.shape == (5 if per_position else 1, HORIZON, lags)
    np.testing.assert_allclose(coefficients, ridge_by_lstsq(windows, ridge), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["walking", "smooth"])
def test_when_no_penalty_is_given_then_the_one_with_the_least_validation_error_is_taken(name, request):
    dataset = request.getfixturevalue(name)
    split = dataset.manifest.split
    windows = materialised(dataset.trials(split.train), 19, True)
    held_out = materialised(dataset.trials(split.validation), 19, True)
    errors = []
    for ridge in RIDGES:
        coefficients = ridge_by_lstsq(windows, ridge)
        errors.append(sum(np.sum((y - x @ coefficients[place].T) ** 2) for place, (x, y) in held_out.items()))
    best = RIDGES[int(np.argmin(errors))]
    chosen = fitted(dataset).coefficients
    np.testing.assert_array_equal(chosen, fitted(dataset, ridge=best).coefficients)
    assert any((chosen != fitted(dataset, ridge=other).coefficients).any() for other in RIDGES)


@pytest.mark.parametrize("per_position", [True, False])
def test_when_windows_are_forecast_then_the_origins_own_coefficients_are_used(per_position, smooth):
    predictor = fitted(smooth, lags=6, per_position=per_position, ridge=1e-3)
    origins = tuple(range(19, 31))
    forecast = predictor.predict(synthetic.contexts_of(smooth, 7, origins), HORIZON)
    weights = smooth.trial(7).weights().astype(np.float64)
    for row, t in enumerate(origins):
        own = predictor.coefficients[(t - 1) % 5 if per_position else 0]
        ahead = sum(own[:, k - 1, None] * (weights[t - k + 1] - weights[t - k]) for k in range(1, 7))
        np.testing.assert_allclose(forecast[row], weights[t] + ahead, rtol=0, atol=1e-6)


def test_when_differences_follow_known_coefficients_then_they_are_recovered(tmp_path):
    first, second = 0.6, -0.2
    weights = [synthetic.autoregressive(i, 181, 122, (first, second)) for i in range(8)]
    dataset = synthetic.write_dataset(tmp_path / "known", weights, hidden=(8, 8))
    learned = fitted(dataset, lags=2, per_position=False, ridge=1e-6).coefficients[0]
    # what d_{t+1} + ... + d_{t+h} is expected to be, from the recursion
    response = np.array([[first, second], [first**2 + second, first * second]])
    expected = response.cumsum(axis=0)
    error = 5 / np.sqrt(5 * 178 * 122)  # five standard errors of a coefficient
    np.testing.assert_allclose(learned[0], expected[0], rtol=0, atol=error)
    np.testing.assert_allclose(learned[1], expected[1], rtol=0, atol=3 * error)


def test_when_every_place_has_its_own_rule_then_each_is_recovered(tmp_path):
    stream = np.random.default_rng(0)
    factor = np.array([0.8, 0.6, 0.4, 0.2, -0.3])  # of the next difference, by the origin's place
    trajectories = []
    for _ in range(8):
        differences = np.zeros((180, 122))
        for t in range(180):  # differences[t] leads from checkpoint t to t + 1
            differences[t] = factor[(t - 1) % 5] * differences[t - 1] * (t > 0) + stream.normal(size=122)
        trajectories.append(np.concatenate([np.zeros((1, 122)), differences.cumsum(axis=0)]))
    dataset = synthetic.write_dataset(tmp_path / "places", trajectories, hidden=(8, 8))
    learned = fitted(dataset, lags=1, ridge=1e-6).coefficients[:, 0, 0]
    np.testing.assert_allclose(learned, factor, rtol=0, atol=5 / np.sqrt(5 * 35 * 122))


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("lags=0", r"option lags \(int \| none\): input should be greater than or equal to 1; got '0'"),
        ("lags=abc", r"option lags \(int \| none\): input should be a valid integer, .*; got 'abc'"),
        ("lags=20", "option lags is 20, but a context of 20 has 19 differences"),
        ("ridge=-1e-3", r"option ridge \(float \| none\): input should be greater than or equal to 0; got '-1e-3'"),
    ],
)
def test_when_an_option_is_out_of_range_then_it_is_named_with_its_value(setting, complaint):
    with pytest.raises(OptionError, match=f"autoregression: {complaint}"):
        build_options(Autoregression, "quick", [setting], 20)


def test_when_no_lags_are_given_then_they_are_all_that_the_context_has():
    assert build_options(Autoregression, "quick", [], 20).lags == 19
    assert build_options(Autoregression, "quick", ["lags=none"], 12).lags == 11


def test_without_a_penalty_windows_that_determine_nothing_are_refused(tmp_path):
    line = np.arange(81, dtype=np.float32)[:, None] * np.full(32, 0.5, np.float32)
    straight = synthetic.write_dataset(tmp_path / "straight", [line * (trial + 1) for trial in range(4)])
    with pytest.raises(PredictorError, match="training windows depend on each other; set option ridge"):
        fitted(straight, lags=19, ridge=0.0)
    assert np.isfinite(fitted(straight, lags=19).coefficients).all()
