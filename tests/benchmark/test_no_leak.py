"""No leakage: contexts end at the origin, and forecasts do not depend on what follows it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from helpers import synthetic
from helpers.third_party import MutatesInput, NoOptions, Watching
from tipl_bench.baselines import IN_TREE, predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import Contexts, FitTask, Weights
from tipl_bench.benchmark.forecast import forecasting as forecast_module
from tipl_bench.benchmark.forecast.forecasting import build_contexts, outputs, write_forecasts
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.utils.tensorfile import map_tensors

QUICK = {
    "tipl": ("steps=30", "width=16", "layers=1", "batch=16", "learning_rate=0.01", "warmup=1", "validate_every=10"),
    "tipl-pooled": ("steps=30", "width=16", "layers=1", "batch=16", "learning_rate=0.01", "warmup=1"),
    "linear": ("normaliser=true",),
    "autoregression": ("normaliser=true",),
    "mlp": ("steps=30", "width=16", "windows=8", "weights=8", "learning_rate=0.01", "warmup=1", "validate_every=10"),
    **dict.fromkeys(
        ("tipl-neuron", "tipl-neuron-statistics"),
        ("steps=3", "width=8", "rounds=1", "windows=4", "learning_rate=0.01", "warmup=1"),
    ),
    "ensemble": ("model=mlp", "members=2", "budget=smoke"),
    "continuation": ("copies=1", "warmup=1", "windows=1"),
    **dict.fromkeys(("introspection", "farcasting", "wnn"), ("steps=3", "windows=4", "weights=8")),
    **dict.fromkeys(("wnn-plus", "nino"), ("steps=3", "windows=4", "warmup=0")),
}


def watched(dataset, folder, length=20):
    """The windows of a dataset, and all contexts given for them in the order of the calls."""
    predictor = Watching(NoOptions(), length)
    windows = evaluation_windows(dataset, synthetic.SMALL)
    write_forecasts(predictor, dataset, windows, synthetic.SMALL, folder / "forecasts.safetensors")
    return windows, predictor.shown


def arrays(contexts):
    """Every array within contexts, by name."""
    named = {field.name: getattr(contexts, field.name) for field in fields(contexts)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)} | dict(contexts.columns)


@pytest.mark.parametrize("batch_bytes", [1, 128 << 20])
def test_when_contexts_are_built_then_no_array_is_a_view_of_a_file(batch_bytes, walking, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast_module, "BATCH_BYTES", batch_bytes)
    _, shown = watched(walking, tmp_path)
    assert shown
    for contexts in shown:
        for name, array in arrays(contexts).items():
            seen = array
            while seen is not None:
                assert not isinstance(seen, np.memmap), name
                seen = getattr(seen, "base", None)


def test_when_contexts_are_built_then_they_hold_only_arrays_and_the_layout(walking, tmp_path):
    _, shown = watched(walking, tmp_path)
    for contexts in shown:
        others = {field.name for field in fields(contexts)} - set(arrays(contexts))
        assert others == {"columns", "layout"}
        assert contexts.layout == walking.layout


@pytest.mark.parametrize("length", [20, 40])
def test_when_contexts_are_built_then_they_end_at_the_origin(length, walking, tmp_path):
    windows, shown = watched(walking, tmp_path, length)
    pasts = {}
    for contexts in shown:
        for row in range(len(contexts)):
            past = {name: array[row] for name, array in arrays(contexts).items()}
            pasts[past["weights"][-1].tobytes()] = past
    assert len(pasts) == len(windows)
    for window in windows:
        trial = walking.trial(window.trial)
        past = pasts[trial.weights(window.origin, window.origin + 1).tobytes()]
        start = window.origin + 1 - min(length, window.origin + 1)
        assert past.pop("origin") == window.origin
        assert set(past) == set(walking.trial(0).tensors)
        for name, rows in past.items():
            np.testing.assert_array_equal(rows, trial.read(name, start, window.origin + 1))


def test_when_a_predictor_asks_for_a_longer_context_then_it_gets_as_much_as_there_is(walking, tmp_path):
    windows, shown = watched(walking, tmp_path, 40)
    lengths = sorted(contexts.weights.shape[1] for contexts in shown for _ in range(len(contexts)))
    assert lengths == sorted(min(40, window.origin + 1) for window in windows)
    assert lengths[0] >= 20
    assert lengths[0] < lengths[-1] == 40


def test_when_a_predictor_overwrites_its_contexts_then_the_dataset_is_unchanged(walking, tmp_path):
    windows = evaluation_windows(walking, synthetic.SMALL)
    write_forecasts(MutatesInput(NoOptions()), walking, windows, synthetic.SMALL, tmp_path / "forecasts.safetensors")
    walking.verify()
    forecasts = map_tensors(tmp_path / "forecasts.safetensors")["forecasts"]
    still = [walking.trial(w.trial).weights(w.origin, w.origin + 1).repeat(3, axis=0) for w in windows]
    np.testing.assert_array_equal(forecasts, still)


def forecast_all(model, dataset, path):
    """Fit on a dataset and forecast its test windows: all that is forecast of each, [W, N]."""
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "quick", QUICK.get(model, ()), 20))
    split = dataset.manifest.split
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), synthetic.SMALL.horizon, 20))
    write_forecasts(predictor, dataset, evaluation_windows(dataset, synthetic.SMALL), synthetic.SMALL, path)
    tensors = map_tensors(path)
    found = [np.array(tensors[name]) for name in outputs(predictor)]
    return np.concatenate([values.reshape(len(values), -1) for values in found], axis=1)


class Matching(Watching):
    """Searches all contexts so far for the checkpoint at its origin, and forecasts what follows it there."""

    name = "matching"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = super().predict(contexts, horizon)
        for now, answer in zip(contexts.weights[:, -1], forecast, strict=True):
            for past in (past for shown in self.shown for past in shown.weights):
                for place in np.flatnonzero((past == now).all(axis=1)):
                    following = past[place + 1 : place + 1 + horizon]
                    answer[: len(following)] = following
        return forecast


@pytest.mark.parametrize("length", [20, 40])
def test_when_a_predictor_searches_earlier_contexts_then_its_targets_are_not_among_them(length, walking, tmp_path):
    windows = evaluation_windows(walking, synthetic.SMALL)
    predictor = Matching(NoOptions(), length)
    write_forecasts(predictor, walking, windows, synthetic.SMALL, tmp_path / "forecasts.safetensors")
    forecasts = np.array(map_tensors(tmp_path / "forecasts.safetensors")["forecasts"])
    still = [walking.trial(w.trial).weights(w.origin, w.origin + 1).repeat(3, axis=0) for w in windows]
    np.testing.assert_array_equal(forecasts, still)
    trials = {index: walking.trial(index) for index in walking.manifest.split.test}
    together = predictor.predict(build_contexts(trials, windows, 20), synthetic.SMALL.horizon)
    assert (together != still).any(axis=(1, 2)).mean() > 0.5  # it finds them in a batch of all windows


@pytest.mark.parametrize("change", ["permuted", "replaced"])
@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] * (m == "continuation")) for m in IN_TREE])
def test_when_the_future_of_test_trials_changes_then_earlier_forecasts_do_not(model, change, tmp_path):
    now = 60
    stream = np.random.default_rng(9)
    weights = [synthetic.random_walk(i, 81, 32) for i in range(8)]
    moments = [(stream.normal(size=(81, 4)), stream.uniform(1, 2, size=(81, 4))) for _ in range(8)]
    as_it_was = synthetic.write_dataset(tmp_path / "one", weights, moments=moments)
    order = np.concatenate([np.arange(now + 1), now + 1 + stream.permutation(80 - now)])
    for test in (6, 7):
        weights[test] = weights[test][order]
        moments[test] = tuple(moment[order] for moment in moments[test])
        if change == "replaced":
            weights[test][now + 1 :] = stream.normal(size=(80 - now, 32))
    otherwise = synthetic.write_dataset(tmp_path / "other", weights, moments=moments)
    windows = evaluation_windows(as_it_was, synthetic.SMALL)
    assert windows == evaluation_windows(otherwise, synthetic.SMALL)
    before = np.array([window.origin <= now for window in windows])
    one = forecast_all(model, as_it_was, tmp_path / "one.safetensors")
    other = forecast_all(model, otherwise, tmp_path / "other.safetensors")
    np.testing.assert_array_equal(one[before], other[before])
    assert before.any()
    assert (one[~before] != other[~before]).any(axis=1).all()
