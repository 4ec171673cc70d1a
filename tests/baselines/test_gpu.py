"""The trained predictors on a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.fitting import torch_predictor
from tipl_bench.baselines.fitting.torch_predictor import Schedule, seeded, train
from tipl_bench.baselines.optimizers.lookup import build_optimizer
from tipl_bench.baselines.optimizers.optim4rl.meta_training import meta_training
from tipl_bench.baselines.optimizers.optim4rl.settings import MetaOptions
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask, TrainingState
from tipl_bench.benchmark.meta_training import run as meta_run
from tipl_bench.benchmark.meta_training.run import meta_train
from tipl_bench.benchmark.request import RunRequest, resolve_device
from tipl_bench.benchmark.run import execute
from tipl_bench.rl.gridworlds import WORLDS, A2CHyperparameters, A2CTraining

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

SETTINGS = {
    "mlp": ("steps=100", "width=32", "learning_rate=0.003", "validate_every=50"),
    "tipl": ("steps=100", "width=32", "layers=1", "learning_rate=0.003", "warmup=10", "validate_every=50"),
    "tipl-pooled": ("steps=100", "width=32", "layers=1", "rank=12", "learning_rate=0.003", "warmup=10"),
    "tipl-neuron": ("steps=50", "width=16", "rounds=2", "windows=8", "warmup=5", "validate_every=25"),
    **dict.fromkeys(("introspection", "farcasting", "wnn"), ("steps=50", "windows=8", "weights=16", "warmup=5")),
    **dict.fromkeys(("wnn-plus", "nino"), ("steps=50", "windows=4", "warmup=5")),
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


def noisy_training(*, replay, **settings):
    """The weights of a network with dropout that is trained on batches drawn on the device, and its losses."""
    generator = torch.Generator("cuda").manual_seed(1)
    with seeded(3, "cuda"):
        model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Dropout(0.2), torch.nn.Linear(64, 1)).cuda()

        def loss(step):
            inputs = torch.randn((32, 4), device="cuda", generator=generator)
            return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()

        schedule = Schedule(
            steps=60, learning_rate=1e-2, weight_decay=0.1, warmup=10, cosine=True, gradient_clip=1.0, validate_every=20
        )
        task = FitTask([], [], horizon=1, context=1, device="cuda", **settings)
        train(model, loss, lambda: float(loss(0)), schedule, task, [generator], replay=replay)
    ends = torch.cat([weights.detach().flatten().cpu() for weights in model.parameters()])
    return ends, [point[:3] for point in task.curve.points[1:]]


def test_when_steps_are_replayed_as_a_graph_then_training_is_what_it_is_step_by_step():
    (replayed, curve), (stepwise, plain) = noisy_training(replay=True), noisy_training(replay=False)
    torch.testing.assert_close(replayed, stepwise, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(curve), torch.tensor(plain), rtol=1e-3, atol=1e-4)


def test_when_a_replayed_training_is_resumed_then_it_ends_as_it_does_uninterrupted(monkeypatch):
    monkeypatch.setattr(torch_predictor, "KEEP_EVERY", 0.0)
    kept = []
    whole, curve = noisy_training(
        replay=True,
        keep=lambda state: kept.append(
            TrainingState({name: np.array(array) for name, array in state.arrays.items()}, state.values)
        ),
    )
    resumed, again = noisy_training(replay=True, resume=kept[30])
    torch.testing.assert_close(resumed, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(again), torch.tensor(curve), rtol=1e-3, atol=1e-4)


WORLD = pytest.mark.parametrize("world", ["small_dense_long", "big_dense_long"])


@WORLD
@pytest.mark.parametrize("normalised", [False, True])
def test_when_meta_gradients_are_taken_on_the_device_then_they_are_the_processors(world, normalised):
    options = MetaOptions(worlds=world, agents=4, environments=4, normalised=normalised)
    (gradient, reward), (other, other_reward) = (
        training.populations[0].iterate(training.vector, 0, training.draw(0))
        for training in (meta_training(options, 3, device) for device in ("cuda", "cpu"))
    )
    torch.testing.assert_close(reward.cpu(), other_reward)  # all actions were the same
    torch.testing.assert_close(gradient, other, rtol=1e-2, atol=1e-3 * float(other.abs().max()))


@pytest.mark.parametrize("objective", ["loss", "reward"])
def test_when_meta_training_on_the_device_is_interrupted_then_it_ends_with_the_same_bytes(
    objective, tmp_path, monkeypatch
):
    settings = {"budget": "smoke", "options": {"objective": objective, "iterations": 4}, "device": "cuda"}
    whole = meta_train(**settings, out=tmp_path / "whole")
    monkeypatch.setattr(meta_run, "SNAPSHOT_SECONDS", 0.0)

    def stop(stage, done, total, word):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meta_train(**settings, out=tmp_path / "stopped", progress=stop)
    again = meta_train(**settings, out=tmp_path / "stopped")
    assert again.parameters.read_bytes() == whole.parameters.read_bytes()
    assert again.record.provenance.gpu == torch.cuda.get_device_name()


@WORLD
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_when_a2c_is_computed_on_the_device_then_agents_learn_as_on_the_processor(world, optimizer):
    settings = A2CHyperparameters(environments=4)
    on_device, here = (
        A2CTraining(WORLDS[world], range(4), build_optimizer(optimizer, (), ()), settings, device)
        for device in ("cuda", "cpu")
    )
    for _ in range(3):
        np.testing.assert_array_equal(on_device.update(), here.update())
    torch.testing.assert_close(on_device.parameters.cpu(), here.parameters, rtol=1e-3, atol=1e-5)


def test_when_there_is_a_device_then_auto_takes_it():
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
