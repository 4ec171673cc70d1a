"""The trained predictors on a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark.request import RunRequest, resolve_device
from tipl_bench.benchmark.run import execute

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

SETTINGS = {
    "mlp": ("steps=100", "width=32", "learning_rate=0.003", "validate_every=50"),
    "tipl": ("steps=100", "width=32", "layers=1", "learning_rate=0.003", "warmup=10", "validate_every=50"),
}
trained = pytest.mark.parametrize("model", SETTINGS)


def built(model):
    kind = predictor_type(model)
    return kind(build_options(kind, "quick", SETTINGS[model], 20))


def fitted(model, dataset):
    """Fitted on the device."""
    predictor, split = built(model), dataset.manifest.split
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), 3, 20, device="cuda"))
    return predictor


@trained
def test_when_a_predictor_is_fitted_on_the_device_then_the_processor_agrees_from_its_state(model, smooth, tmp_path):
    predictor = fitted(model, smooth)
    contexts = synthetic.contexts_of(smooth, 7, (19, 30, 41, 55, 77))
    on_device = predictor.predict(contexts, 3)
    predictor.save(tmp_path / "state.safetensors")
    loaded = built(model)
    loaded.load(tmp_path / "state.safetensors")
    step = np.abs(np.diff(contexts.weights, axis=1)).max()
    np.testing.assert_allclose(on_device, loaded.predict(contexts, 3), rtol=0, atol=1e-3 * step)
    assert (on_device != contexts.weights[:, -1:]).any(axis=(1, 2)).all()


@trained
def test_when_a_predictor_is_fitted_twice_on_the_device_then_its_forecasts_are_the_same_bits(model, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 30, 41))
    np.testing.assert_array_equal(
        fitted(model, smooth).predict(contexts, 3), fitted(model, smooth).predict(contexts, 3)
    )


@trained
def test_when_a_state_is_loaded_into_a_predictor_of_the_device_then_it_forecasts(model, smooth, tmp_path):
    predictor = fitted(model, smooth)
    contexts = synthetic.contexts_of(smooth, 7, (19, 30, 41))
    before = predictor.predict(contexts, 3)
    predictor.save(tmp_path / "state.safetensors")
    predictor.load(tmp_path / "state.safetensors")
    step = np.abs(np.diff(contexts.weights, axis=1)).max()
    np.testing.assert_allclose(predictor.predict(contexts, 3), before, rtol=0, atol=1e-3 * step)


@trained
def test_when_a_run_on_the_device_is_resumed_after_its_fit_then_the_record_is_the_same(model, smooth, tmp_path):
    request = RunRequest(model, smooth, settings=SETTINGS[model], device="cuda", protocol=synthetic.SMALL)
    whole = execute(request, tmp_path / "run").record
    for name in ("forecasts.safetensors", "windows.parquet", "record.json"):
        (tmp_path / "run" / name).unlink()
    resumed = execute(request, tmp_path / "run").record
    assert resumed.without_cost() == whole.without_cost()
    assert whole.provenance.gpu == torch.cuda.get_device_name()


def test_when_there_is_a_device_then_auto_takes_it():
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
