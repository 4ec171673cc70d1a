"""Forecasting with what a run learned, without fitting: the same numbers, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers import synthetic
from tipl_bench.benchmark.fitted.forecasting import forecast_with
from tipl_bench.benchmark.fitting import fitted_state as states
from tipl_bench.benchmark.fitting.fitted_state import fitted_state, shipped_states
from tipl_bench.benchmark.forecast.forecasting import build_contexts
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import Run, execute
from tipl_bench.cli import main
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.registry.manifest import Split
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.errors import PredictorError, ProtocolError, UnknownNameError
from tipl_bench.utils.files import sha256

MORE = "toy-pendulum/more-v1"
NAME = "toy-pendulum/autoregression-v1"


@pytest.fixture(autouse=True)
def _known_protocol(monkeypatch):
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)


@pytest.fixture
def fitted(smooth, store, tmp_path) -> Run:
    """A run that was fitted on more trials, which are gone since."""
    split = Split(train=(0, 1, 2, 3, 4, 8, 9, 10), validation=(5,), test=(6, 7, 11))
    more = synthetic.smooth_dataset(dataset_folder(MORE), 12, name=MORE, split=split)
    request = RunRequest("autoregression", smooth, protocol=synthetic.SMALL, device="cpu", seed=3, fit_on=more)
    run = execute(request, tmp_path / "run")
    shutil.rmtree(more.folder)
    return run


def ship(run: Run, folder: Path, monkeypatch, **changed: str) -> None:
    """Let a run's state be one that ships with the package."""
    (folder / NAME).mkdir(parents=True)
    for name in ("record.json", "predictor.safetensors"):
        shutil.copyfile(run.folder / name, folder / NAME / name)
    pins = {"record": sha256(run.folder / "record.json"), "predictor": sha256(run.folder / "predictor.safetensors")}
    lines = [f"[{json.dumps(NAME)}]", *(f"{key} = {json.dumps(value)}" for key, value in (pins | changed).items())]
    (folder / "catalog.toml").write_text("\n".join(lines))
    monkeypatch.setattr(states, "SHIPPED", folder)


def test_a_state_forecasts_what_its_run_did_without_the_trials_that_it_was_fitted_on(fitted, smooth, tmp_path):
    again = forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again")
    assert again.record.key == fitted.record.key
    assert again.record.artifacts == fitted.record.artifacts
    assert again.record.results == fitted.record.results
    assert again.record.cost.fit_seconds == fitted.record.cost.fit_seconds
    assert verify(again, smooth).agrees
    assert forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again").repeated


def test_the_predictor_of_a_state_forecasts_in_this_process(fitted, smooth):
    predictor = fitted_state(fitted.folder).predictor()
    windows = evaluation_windows(smooth, synthetic.SMALL, "test", None)
    contexts = build_contexts({trial: smooth.trial(trial) for trial in (6, 7)}, windows, synthetic.SMALL.context)
    forecasts = predictor.predict(contexts, synthetic.SMALL.horizon)
    np.testing.assert_allclose(forecasts, fitted.forecasts, rtol=0, atol=1e-6)


def test_a_shipped_state_is_found_by_its_name_and_must_be_the_pinned_one(fitted, tmp_path, monkeypatch):
    ship(fitted, tmp_path / "shipped", monkeypatch)
    assert fitted_state(NAME).record == fitted.record
    shutil.rmtree(tmp_path / "shipped")
    ship(fitted, tmp_path / "shipped", monkeypatch, predictor="0" * 64)
    with pytest.raises(ProtocolError, match=r"not the one that the catalog pins; install the package again"):
        fitted_state(NAME)


def test_what_is_no_fitted_state_is_refused(fitted, walking, smooth, tmp_path):
    with pytest.raises(UnknownNameError, match=r"Unknown fitted state 'toy/none-v1'\. It is neither a name nor a run"):
        fitted_state("toy/none-v1")
    state = fitted_state(fitted.folder)
    with pytest.raises(ProtocolError, match=r"which of another dataset's trials it was fitted on is not known"):
        forecast_with(state, walking, tmp_path / "other")
    record = json.loads((fitted.folder / "record.json").read_text())
    record["key"]["method"]["version"] = 99
    (fitted.folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(ProtocolError, match=r"another autoregression \(method\.version: 1 here, 99 there\)\. Install"):
        forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "version")
    (fitted.folder / "predictor.safetensors").write_bytes(b"nothing")
    with pytest.raises(PredictorError, match="not a saved predictor"):
        fitted_state(fitted.folder).predictor()
    (fitted.folder / "predictor.safetensors").unlink()
    with pytest.raises(ProtocolError, match=r"holds no fitted state: predictor\.safetensors is missing"):
        fitted_state(fitted.folder)


def test_the_command_lists_states_and_forecasts_with_one(fitted, smooth, tmp_path, monkeypatch):
    ship(fitted, tmp_path / "shipped", monkeypatch)
    listed = CliRunner().invoke(main, ["forecast"], env={"COLUMNS": "80"})
    assert listed.exit_code == 0, listed.output
    assert NAME in listed.output
    assert MORE in listed.output
    shutil.copytree(smooth.folder, dataset_folder(smooth.name))
    done = CliRunner().invoke(main, ["forecast", NAME, "--out", str(tmp_path / "out"), "-q"])
    assert done.exit_code == 0, done.output
    assert "the same bytes as the forecasts of the run that fitted it" in " ".join(done.output.split())
    unknown = CliRunner().invoke(main, ["forecast", "toy/none-v1"])
    assert unknown.exit_code == 2


def test_every_state_that_ships_has_the_skill_that_its_record_states():
    for name in shipped_states():
        state = fitted_state(name)
        assert state.path.stat().st_size <= 5e6
        key = state.record.key
        dataset = tipl_bench.load_dataset(key.dataset.name)
        windows = evaluation_windows(dataset, key.protocol, key.split, key.limit)
        trials = {trial: dataset.trial(trial) for trial in dataset.manifest.split.test}
        forecasts = state.predictor().predict(build_contexts(trials, windows, key.protocol.context), 1)[:, 0]
        missed = moved = 0.0
        for window, forecast in zip(windows, forecasts, strict=True):
            if window.phase == "learning":
                origin, after = trials[window.trial].weights(window.origin, window.origin + 2).astype(float)
                missed += np.square(after - forecast).sum()
                moved += np.square(after - origin).sum()
        stated = state.record.result("learning", 1)
        assert stated is not None
        assert 1 - missed / moved == pytest.approx(stated["skill"].value, abs=0.002)
