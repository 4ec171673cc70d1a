"""Fits that are interrupted go on from the state that they kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import synthetic
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.fitting import torch_predictor
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask, TrainingState
from tipl_bench.benchmark.fitting.training_state import STATE_NAME, TrainingStateFile
from tipl_bench.benchmark.provenance import provenance
from tipl_bench.benchmark.record import MethodIdentity, RunKey
from tipl_bench.benchmark.request import RunRequest, identity
from tipl_bench.benchmark.run import execute
from tipl_bench.utils.errors import PredictorError


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def one_thread():
    """Sums of several threads are not the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fitted(model, dataset, **settings):
    """A predictor fitted within this process, its state, and the curve of its fit."""
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "smoke", ["steps=8", "validate_every=3"], 20))
    split = dataset.manifest.split
    task = FitTask(dataset.trials(split.train), dataset.trials(split.validation), 10, 20, seed=3, **settings)
    predictor.fit(task)
    return predictor.state(), np.array(task.curve.points, dtype=np.float64)


@pytest.mark.parametrize("model", ["mlp", "tipl", "tipl-neuron", "wnn-plus"])
def test_when_a_fit_is_killed_half_way_then_it_goes_on_to_the_same_bits(model, one_thread, smooth, monkeypatch):
    monkeypatch.setattr(torch_predictor, "KEEP_EVERY", 0.0)
    kept: list[TrainingState] = []

    def keep(state: TrainingState) -> None:
        copied = {name: np.array(array) for name, array in state.arrays.items()}
        kept.append(TrainingState(copied, json.loads(json.dumps(state.values))))
        if len(kept) == 5:
            raise KilledError

    whole, curve = fitted(model, smooth)
    with pytest.raises(KilledError):
        fitted(model, smooth, keep=keep)
    resumed, resumed_curve = fitted(model, smooth, resume=kept[-1])
    assert {name: array.tobytes() for name, array in resumed.items()} == {
        name: array.tobytes() for name, array in whole.items()
    }
    assert resumed_curve.tobytes() == curve.tobytes()


@pytest.mark.parametrize("within", [True, False])
def test_when_an_ensemble_is_killed_then_members_that_are_done_stay(within, one_thread, smooth, monkeypatch):
    """Killed within the second member, and between the two."""
    monkeypatch.setattr(torch_predictor, "KEEP_EVERY", 0.0)
    kind, split = predictor_type("ensemble"), smooth.manifest.split
    trials = smooth.trials(split.train), smooth.trials(split.validation)
    kept: list[TrainingState] = []

    def keep(state: TrainingState) -> None:
        copied = {name: np.array(array) for name, array in state.arrays.items()}
        kept.append(TrainingState(copied, json.loads(json.dumps(state.values))))
        if state.values["done"] == 1 and (state.values["values"] is not None) is within:
            raise KilledError

    def fit(**settings):
        predictor = kind(build_options(kind, "smoke", (), 20))
        seen: list[int] = []
        predictor.fit(FitTask(*trials, 10, 20, seed=3, progress=lambda done, *_: seen.append(done), **settings))
        return {name: array.tobytes() for name, array in predictor.state().items()}, seen

    whole, steps = fit()
    with pytest.raises(KilledError):
        fit(keep=keep)
    resumed, rest = fit(resume=kept[-1])
    assert resumed == whole
    assert len(rest) <= len(steps) // 2


def test_when_a_fit_is_short_then_nothing_is_kept(smooth):
    fitted("mlp", smooth, keep=lambda state: pytest.fail("a state was kept"))


def test_when_the_predictors_process_ends_half_way_then_the_same_command_goes_on_there(smooth, tmp_path):
    folder = tmp_path / "run"
    request = RunRequest("helpers.fits:TwoHalves", smooth, protocol=synthetic.SMALL, limit=2, returns=False)
    with pytest.raises(PredictorError, match="ended by itself"):
        execute(request, folder)
    assert (folder / STATE_NAME).exists()
    assert not execute(request, folder).repeated
    assert not (folder / STATE_NAME).exists()
    assert {path.name for path in folder.iterdir()} >= {"predictor.safetensors", "record.json"}


def test_when_the_state_is_of_another_key_or_version_or_damaged_then_one_sentence_says_that_the_fit_begins_anew(
    smooth, tmp_path
):
    method = MethodIdentity(name="mlp", version=1, consumes="weights", budget="quick", options={})
    run = RunKey(protocol=synthetic.SMALL, dataset=identity(smooth), method=method, seed=0, device="cpu")
    key = run.model_dump(mode="json")
    here = provenance("cpu", "none")
    file = TrainingStateFile(tmp_path, key, here)
    assert file.read() == (None, 0.0)
    file.write(TrainingState({"x": np.arange(4.0)}, {"step": 7}), 33.5)
    state, seconds = file.read()
    assert state is not None
    assert (state.arrays["x"].tolist(), state.values, seconds) == ([0, 1, 2, 3], {"step": 7}, 33.5)
    for other in (
        TrainingStateFile(tmp_path, key | {"seed": 9}, here),
        TrainingStateFile(tmp_path, key, here.model_copy(update={"tipl_bench": "0.0.1"})),
    ):
        with pytest.warns(UserWarning, match=r"fit-state\.safetensors is of another version .*: the fit begins anew\."):
            assert other.read() == (None, 0.0)
    content = file.path.read_bytes()
    for damaged in (b"", content[:-3], content[:-1] + b"\x01"):
        file.path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"is damaged \(.*\): the fit begins anew\.") as caught:
            assert file.read() == (None, 0.0)
        assert len(caught) == 1
