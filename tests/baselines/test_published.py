"""TIPL as published: temporal SVD of whole trajectories, its honest twin, and the way from there to `tipl`."""

from __future__ import annotations

import numpy as np
import pytest
import tipl_bench
from helpers import synthetic
from tipl_bench.baselines import IN_TREE, predictor_names
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask, Predictor
from tipl_bench.baselines.tipl import TIPL, PublishedOptions, TIPLPooled, TIPLPublished
from tipl_bench.baselines.tipl.basis import pooled_basis, trajectory_basis
from tipl_bench.baselines.tipl.design import SUITE
from tipl_bench.utils.errors import OptionError, PredictorError

HORIZON, CONTEXT = 3, 20
SMALL = {"layers": 1, "width": 16, "batch": 8, "steps": 6, "warmup": 2, "validate_every": 3, "rank": 8}
SWITCHES = [f"{name}={value}" for name, value in SUITE]


def task(dataset) -> FitTask:
    split = dataset.manifest.split
    return FitTask(dataset.trials(split.train), dataset.trials(split.validation), HORIZON, CONTEXT)


@pytest.mark.parametrize("rank", [5, 32])
def test_when_a_trajectory_has_its_svd_then_tokens_are_rows_of_u(walking, rank):
    trial = walking.trial(0)
    weights = trial.weights().astype(np.float64)
    left, values, right = np.linalg.svd(weights, full_matrices=False)
    signs = np.sign(left[0, :rank])
    basis = trajectory_basis(trial, rank)
    np.testing.assert_allclose(basis.values, values[:rank], rtol=1e-6)
    np.testing.assert_allclose(basis.tokens(weights), left[:, :rank] * signs, atol=1e-6)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    np.testing.assert_allclose(basis.weights(basis.tokens(weights)), best, atol=1e-6)


def test_when_trials_are_pooled_then_the_basis_is_that_of_all_their_checkpoints(walking):
    trials = walking.trials([0, 1, 2])
    rows = np.concatenate([trial.weights().astype(np.float64) for trial in trials])
    values, right = np.linalg.svd(rows, full_matrices=False)[1:]
    basis = pooled_basis(trials, 32)
    np.testing.assert_allclose(basis.values, values, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(basis.vectors * right, axis=1)), 1, atol=1e-6)


@pytest.fixture(scope="module")
def published(smooth) -> TIPLPublished:
    """The published model, trained for moments."""
    model = TIPLPublished(PublishedOptions(**SMALL))
    model.fit(task(smooth))
    return model


def test_when_the_future_changes_then_the_published_model_forecasts_otherwise_from_the_same_past(published, tmp_path):
    """Which is why it is no predictor."""
    weights = [synthetic.learning_curve(0, 81, 32) for _ in range(3)]
    weights[1][60:] += 1.0
    dataset = synthetic.write_dataset(tmp_path / "set", weights)
    first, second = (
        published.forecast_trial(dataset.trial(i), synthetic.contexts_of(dataset, i, [30]), HORIZON) for i in (0, 1)
    )
    assert first.shape == (1, HORIZON, 32)
    assert np.abs(first - second).max() > 1e-3


def test_the_published_model_is_no_predictor_by_type():
    assert not issubclass(TIPLPublished, Predictor)
    assert not hasattr(TIPLPublished, "predict")
    assert TIPLPublished.name not in (*IN_TREE, *predictor_names())
    assert TIPLPublished.label == "the basis sees the future"


@pytest.mark.parametrize(
    "model", ["tipl-published", "tipl_bench.baselines.tipl:TIPLPublished", TIPLPublished(PublishedOptions())]
)
def test_when_the_published_model_is_run_as_a_predictor_then_it_is_refused(model, smooth):
    with pytest.raises((PredictorError, OptionError), match=r"no predictor: its basis sees|not a Predictor|nor a Pred"):
        tipl_bench.run(model, smooth)


def test_when_the_published_model_is_given_a_departure_then_it_is_refused():
    with pytest.raises(ValueError, match=r"tipl-published has no option differences, position"):
        TIPLPublished(PublishedOptions(differences=True, position=True))


def test_when_every_departure_is_switched_on_then_the_twin_is_tipl(smooth):
    twin = TIPLPooled(build_options(TIPLPooled, "smoke", SWITCHES, CONTEXT))
    suite = TIPL(build_options(TIPL, "smoke", [], CONTEXT))
    contexts = synthetic.contexts_of(smooth, 7, (19, 40, 77))
    forecasts = []
    for predictor in (twin, suite):
        predictor.fit(task(smooth))
        forecasts.append(predictor.predict(contexts, HORIZON))
    np.testing.assert_array_equal(*forecasts)


@pytest.mark.parametrize("switched", ["", *(name for name, _ in SUITE)])
def test_when_one_departure_is_switched_on_then_it_fits_saves_and_forecasts(switched, smooth, tmp_path):
    needed = {"basis": ("centred",), "rotations": ("centred",)}.get(switched, ())
    chosen = {name: getattr(SUITE, name) for name in (switched, *needed) if name}
    predictor = TIPLPooled(PublishedOptions(**SMALL, **chosen))
    predictor.fit(task(smooth))
    predictor.save(tmp_path / "state")
    loaded = TIPLPooled(predictor.options)
    loaded.load(tmp_path / "state")
    contexts = synthetic.contexts_of(smooth, 7, (19, 40, 77))
    forecast = loaded.predict(contexts, HORIZON)
    assert forecast.shape == (3, HORIZON, 32)
    np.testing.assert_array_equal(forecast, predictor.predict(contexts, HORIZON))
    alone = loaded.predict(contexts.take(np.array([1])), HORIZON)
    np.testing.assert_allclose(alone[0], forecast[1], rtol=0, atol=1e-5)


def test_when_tokens_are_not_centred_then_what_the_basis_lacks_is_lost_and_else_carried(walking):
    contexts = synthetic.contexts_of(walking, 7, [40])
    origin = contexts.weights[0, -1]
    for centred in (False, True):
        predictor = TIPLPooled(PublishedOptions(**SMALL, centred=centred, displacement=centred))
        predictor.fit(task(walking))
        forecast = predictor.predict(contexts, HORIZON)[0]
        outside = np.eye(len(origin)) - predictor.basis.vectors.T @ predictor.basis.vectors
        np.testing.assert_allclose(forecast @ outside, np.tile(origin @ outside * centred, (HORIZON, 1)), atol=1e-4)
        assert np.abs(origin @ outside).max() > 0.1


@pytest.mark.parametrize("setting", ["basis=context", "rotations=true"])
def test_when_a_departure_needs_centred_tokens_then_it_says_so(setting):
    with pytest.raises(OptionError, match=r"option (basis=context|rotations=True) needs centred=true"):
        build_options(TIPLPooled, "quick", [setting], CONTEXT)
