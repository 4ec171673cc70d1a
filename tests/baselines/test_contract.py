"""The contract of a predictor, kept by every one in the tree."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import synthetic
from tipl_bench.baselines import IN_TREE, predictor_type
from tipl_bench.baselines.fitting.torch_predictor import TorchPredictor
from tipl_bench.baselines.options import build_options, describe_options
from tipl_bench.baselines.plugins.discovery import BUDGETS
from tipl_bench.baselines.predictor import Contexts, FitTask, Predictor
from tipl_bench.baselines.tipl.predictor import LENGTHS
from tipl_bench.utils.errors import DatasetError, OptionError, PredictorError

LEARNED = [model for model in IN_TREE if predictor_type(model).fit is not Predictor.fit]
TRAINED = [model for model in LEARNED if issubclass(predictor_type(model), TorchPredictor)]
HORIZON, CONTEXT = 3, 20
ORIGINS = (19, 30, 41, 55, 77)
CONSUMES = dict.fromkeys(("tipl-pooled", "mean-trajectory", "adam-moments", "tipl-neuron-statistics"), "statistics")
CONSUMES["continuation"] = "environment"
every_predictor = pytest.mark.parametrize(
    "model", [pytest.param(model, marks=pytest.mark.slow) if model == "continuation" else model for model in IN_TREE]
)
"""One of them trains PPO to forecast."""
ABSOLUTE = (
    "tipl-pooled", "tipl-neuron", "tipl-neuron-statistics", "continuation", "mean-trajectory", "adam-moments",
    "wnn-plus", "nino",
)  # fmt: skip
"""Those whose forecasts are not in units of the context's own differences alone."""
relative_predictors = pytest.mark.parametrize("model", [model for model in IN_TREE if model not in ABSOLUTE])


def built(model: str, *settings: str, context: int = CONTEXT):
    """An unfitted predictor under its smoke budget."""
    kind = predictor_type(model)
    return kind(build_options(kind, "smoke", settings, context))


def fit(predictor, dataset, seed: int = 0, context: int = CONTEXT):
    """The predictor, fitted on a dataset."""
    split = dataset.manifest.split
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), HORIZON, context, seed=seed))
    return predictor


class Fitted(dict):
    """Predictors by their names, fitted on a dataset."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __missing__(self, model):
        self[model] = fit(built(model), self.dataset)
        return self[model]


@pytest.fixture(scope="module")
def fitted(smooth):
    """Every predictor, fitted once, with seed 0, when a test wants it."""
    return Fitted(smooth)


@pytest.fixture
def contexts(smooth) -> Contexts:
    """Five windows of a test trial."""
    return synthetic.contexts_of(smooth, 7, ORIGINS)


def rows_of(contexts: Contexts, rows: list[int]) -> Contexts:
    """Some windows of a batch, in a given order."""
    return contexts.take(np.array(rows))


@pytest.mark.parametrize("model", ["linear", "autoregression", "mlp", "tipl"])
def test_when_contexts_are_shorter_than_a_predictor_needs_then_both_lengths_are_named(model, smooth, tmp_path):
    predictor = fit(built(model, *["points=20"] * (model == "linear")), smooth)
    predictor.save(tmp_path / "state")
    predictor.load(tmp_path / "state")
    loaded = type(predictor)(predictor.options)
    loaded.load(tmp_path / "state")
    short = synthetic.contexts_of(smooth, 6, [40], synthetic.SMALL.model_copy(update={"context": 10}))
    with pytest.raises(PredictorError, match=rf"^{model} forecasts from at least 20 checkpoints and was given 10: "):
        loaded.predict(short, HORIZON)


@pytest.mark.parametrize(
    ("model", "longest"), [("autoregression", 3), ("mlp", 3), ("wnn", 3), ("nino", 3), ("tipl", 3)]
)
def test_when_a_horizon_is_longer_than_a_predictor_was_fitted_for_then_both_are_named(model, longest, fitted, contexts):
    assert fitted[model].predict(contexts, longest).shape == (5, longest, 32)
    with pytest.raises(PredictorError, match=rf"^{model}, as it was fitted, .* up to {longest} .* for {longest + 1}: "):
        fitted[model].predict(contexts, longest + 1)


@every_predictor
def test_when_a_predictor_is_described_then_it_says_what_it_is(model):
    kind = predictor_type(model)
    assert kind.name == model
    assert kind.version >= 1
    assert kind.summary.endswith(".")
    assert kind.consumes == CONSUMES.get(model, "weights")
    assert set(kind.budgets) <= set(BUDGETS)
    for budget in BUDGETS:
        build_options(kind, budget, (), CONTEXT)


@every_predictor
def test_when_a_batch_is_forecast_then_it_has_the_contracts_shape_and_type(model, fitted, contexts):
    forecast = fitted[model].predict(contexts, HORIZON)
    assert forecast.shape == (len(ORIGINS), HORIZON, 32)
    assert forecast.dtype == np.float32
    assert np.isfinite(forecast).all()


@every_predictor
def test_when_a_batch_is_forecast_then_the_contexts_are_left_as_they_were(model, fitted, contexts, smooth):
    fitted[model].predict(contexts, HORIZON)
    untouched = synthetic.contexts_of(smooth, 7, ORIGINS)
    np.testing.assert_array_equal(contexts.weights, untouched.weights)
    for name, column in contexts.columns.items():
        np.testing.assert_array_equal(column, untouched.columns[name])


@every_predictor
def test_when_a_predictor_is_fitted_again_with_its_seed_then_its_forecasts_are_the_same_bits(
    model, fitted, contexts, smooth
):
    again = fit(built(model), smooth).predict(contexts, HORIZON)
    np.testing.assert_array_equal(again, fitted[model].predict(contexts, HORIZON))


@pytest.mark.parametrize("model", TRAINED)
def test_when_the_seed_is_another_then_a_trained_predictor_is_another(model, fitted, contexts, smooth):
    other = fit(built(model), smooth, seed=1).predict(contexts, HORIZON)
    assert (other != fitted[model].predict(contexts, HORIZON)).any(axis=(1, 2)).all()


@pytest.mark.parametrize("model", LEARNED)
def test_when_a_learned_predictor_forecasts_then_it_does_more_than_repeat_the_origin(model, fitted, contexts):
    ahead = fitted[model].predict(contexts, HORIZON) - contexts.weights[:, -1:]
    assert (ahead != 0).any(axis=(1, 2)).all()


@pytest.mark.parametrize("model", LEARNED)
def test_when_something_was_learned_then_its_size_is_counted(model, fitted):
    members = fitted[model].members if model == "ensemble" else [fitted[model]]
    sizes = [np.size(array) for one in members for name, array in one.state().items() if name != LENGTHS]
    assert fitted[model].parameter_count == sum(sizes) > 0


@pytest.mark.parametrize("model", [model for model in IN_TREE if model not in LEARNED])
def test_when_nothing_was_learned_then_nothing_is_counted(model, fitted):
    assert fitted[model].parameter_count == 0


@every_predictor
def test_when_windows_come_in_another_order_then_each_has_the_same_forecast(model, fitted, contexts):
    order = [3, 0, 4, 2, 1]
    together = fitted[model].predict(contexts, HORIZON)
    turned = fitted[model].predict(rows_of(contexts, order), HORIZON)
    np.testing.assert_allclose(turned, together[order], rtol=0, atol=2e-7 * np.abs(together).max())


@every_predictor
def test_when_a_window_is_forecast_alone_then_its_forecast_is_the_same(model, fitted, contexts):
    together = fitted[model].predict(contexts, HORIZON)
    for row in range(len(ORIGINS)):
        alone = fitted[model].predict(rows_of(contexts, [row]), HORIZON)
        np.testing.assert_allclose(alone[0], together[row], rtol=0, atol=2e-7 * np.abs(together).max())


@every_predictor
def test_when_fewer_steps_are_asked_for_then_they_are_the_first_of_more(model, fitted, contexts):
    more, fewer = (fitted[model].predict(contexts, steps) for steps in (HORIZON, 1))
    np.testing.assert_allclose(fewer, more[:, :1], rtol=0, atol=2e-7 * np.abs(more).max())


@relative_predictors
def test_when_the_policy_stands_still_then_so_does_the_forecast(model, fitted, contexts):
    still = np.repeat(contexts.weights[:, :1], 20, axis=1)
    forecast = fitted[model].predict(replace(contexts, weights=still), HORIZON)
    np.testing.assert_array_equal(forecast, np.repeat(still[:, -1:], HORIZON, axis=1))


@relative_predictors
def test_when_weights_are_moved_and_scaled_together_then_so_is_the_forecast(model, fitted, contexts):
    # every one of them works on differences in their own units; on this grid the move is exact, and so are differences
    contexts.weights[:] = np.round(contexts.weights * 2**14) / 2**14
    moved = rows_of(contexts, list(range(5)))
    moved.weights[:] = 4 * contexts.weights + 8
    expected = 4.0 * fitted[model].predict(contexts, HORIZON) + 8.0
    # float32 rounds a weight near 8 by up to 5e-7
    np.testing.assert_allclose(fitted[model].predict(moved, HORIZON), expected, rtol=1e-6, atol=1e-6)


@every_predictor
def test_when_a_predictor_is_saved_and_loaded_then_its_forecasts_are_the_same_bits(model, fitted, contexts, tmp_path):
    fitted[model].save(tmp_path / "state.safetensors")
    loaded = built(model)
    loaded.load(tmp_path / "state.safetensors")
    np.testing.assert_array_equal(loaded.predict(contexts, HORIZON), fitted[model].predict(contexts, HORIZON))
    assert loaded.parameter_count == fitted[model].parameter_count


def with_another_option(model):
    """The predictor with its first option changed, to the first value that is valid."""
    name = next(iter(describe_options(predictor_type(model))))
    value = getattr(built(model).options, name)
    others = ["1", "absolute"] if value is None or isinstance(value, str) else [f"{value + 1}", f"{value - 1}", "0.5"]
    for other in others:
        with contextlib.suppress(OptionError):
            return built(model, f"{name}={other}")
    raise AssertionError(f"{model}: no other value of {name} is known")


@pytest.mark.parametrize("model", [model for model in IN_TREE if describe_options(predictor_type(model))])
def test_when_a_state_was_saved_with_other_options_then_it_is_refused(model, fitted, tmp_path):
    fitted[model].save(tmp_path / "state.safetensors")
    with pytest.raises(PredictorError, match=r"state\.safetensors: saved with options \{.*\}, not \{.*\}\."):
        with_another_option(model).load(tmp_path / "state.safetensors")


@pytest.mark.parametrize("context", [2, 12, 31])
@every_predictor
def test_when_the_context_has_another_length_then_a_predictor_fits_forecasts_and_is_saved(
    model, context, smooth, tmp_path
):
    predictor = fit(built(model, context=context), smooth, context=context)
    protocol = synthetic.SMALL.model_copy(update={"context": context})
    contexts = synthetic.contexts_of(smooth, 7, (30, 41, 77), protocol)
    assert contexts.weights.shape[1] == context
    forecast = predictor.predict(contexts, HORIZON)
    assert forecast.shape == (3, HORIZON, 32)
    assert np.isfinite(forecast).all()
    predictor.save(tmp_path / "state.safetensors")
    loaded = built(model, context=context)
    loaded.load(tmp_path / "state.safetensors")
    np.testing.assert_array_equal(loaded.predict(contexts, HORIZON), forecast)


@every_predictor
def test_when_a_state_is_another_predictors_then_both_are_named(model, fitted, tmp_path):
    other = next(name for name in IN_TREE if name != model)
    fitted[other].save(tmp_path / "state.safetensors")
    with pytest.raises(PredictorError, match=f"saved with predictor {other}, not {model}"):
        built(model).load(tmp_path / "state.safetensors")


@pytest.mark.parametrize("model", LEARNED)
def test_when_a_learned_predictor_was_not_fitted_then_it_says_so(model, contexts):
    with pytest.raises(RuntimeError, match=f"{model} was asked to predict before it was fitted"):
        built(model).predict(contexts, HORIZON)


@pytest.mark.parametrize("model", LEARNED)
def test_when_a_predictor_was_not_fitted_then_it_has_no_state(model):
    assert built(model).state() == {}


@pytest.mark.parametrize("model", LEARNED)
def test_when_a_predictor_is_fitted_then_progress_reaches_its_end(model, smooth):
    split = smooth.manifest.split
    calls: list[tuple[int, int, str]] = []
    task = FitTask(
        smooth.trials(split.train),
        smooth.trials(split.validation),
        HORIZON,
        CONTEXT,
        progress=lambda done, total, word: calls.append((done, total, word)),
    )
    built(model).fit(task)
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert calls[-1][2]


@every_predictor
def test_when_a_predictor_is_fitted_then_the_global_random_streams_stand_where_they_stood(model, smooth):
    torch.manual_seed(7)
    np.random.seed(7)  # the very stream that must not move
    fit(built(model), smooth)
    drawn = torch.rand(3), np.random.rand(3)
    torch.manual_seed(7)
    np.random.seed(7)
    assert torch.equal(drawn[0], torch.rand(3))
    np.testing.assert_array_equal(drawn[1], np.random.rand(3))


@every_predictor
def test_when_a_predictor_is_fitted_then_the_trials_to_fit_on_are_read_and_no_test_trial(model, tmp_path):
    dataset = synthetic.smooth_dataset(tmp_path / "set")
    split = dataset.manifest.split
    for trial in split.test:
        dataset.trial(trial).path.unlink()
    fit(built(model), dataset)
    for trial in split.fitted:
        dataset.trial(trial).path.unlink()
    if model in LEARNED:
        with pytest.raises(DatasetError, match="missing"):
            fit(built(model), dataset)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A dataset in which no weight ever moves."""
    weights = [np.repeat(synthetic.random_walk(i, 1, 32), 81, axis=0) for i in range(8)]
    return synthetic.write_dataset(tmp_path_factory.mktemp("frozen") / "set", weights)


@pytest.mark.parametrize("model", TRAINED)
def test_when_no_training_weight_ever_moves_then_a_trained_predictor_says_that_there_is_nothing_to_learn(model, frozen):
    with pytest.raises(PredictorError, match="moves"):
        fit(built(model), frozen)


def test_when_no_training_weight_ever_moves_then_ridge_forecasts_no_movement(frozen, contexts):
    forecast = fit(built("autoregression"), frozen).predict(contexts, HORIZON)
    np.testing.assert_array_equal(forecast, contexts.weights[:, [-1] * HORIZON])
