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
from safetensors import safe_open
from safetensors.numpy import save_file
from tipl_bench.baselines.optimizers.collecting import train_with_method
from tipl_bench.baselines.saving import LABEL
from tipl_bench.benchmark.fitted import CATALOG, states
from tipl_bench.benchmark.fitted.forecasting import forecast_with
from tipl_bench.benchmark.fitted.states import fitted_state, shipped_states
from tipl_bench.benchmark.forecast.forecasting import build_contexts
from tipl_bench.benchmark.forecast.run_folder import PREDICTOR_NAME
from tipl_bench.benchmark.forecast.windows import EvaluationWindow, evaluation_windows
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import Run, execute
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.cli import main
from tipl_bench.leaderboard.verify.reproduce import reproduce
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.registry.catalog import catalog
from tipl_bench.registry.collection.collect import train as collect_trials
from tipl_bench.registry.collection.presets import preset
from tipl_bench.registry.collection.processes import Trainer
from tipl_bench.registry.manifest import Split
from tipl_bench.registry.store import dataset_folder
from tipl_bench.registry.trial import Trial, trial_name
from tipl_bench.rl import make
from tipl_bench.utils.errors import OptionError, PredictorError, ProtocolError, UnknownNameError
from tipl_bench.utils.files import sha256

MORE = "toy-pendulum/more-v1"
NAME = "toy-pendulum/autoregression-v1"


@pytest.fixture(autouse=True)
def _known_protocol(monkeypatch):
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)


@pytest.fixture(scope="module")
def made(smooth, tmp_path_factory) -> Run:
    """A run that was fitted on more trials, which are gone since."""
    folder = tmp_path_factory.mktemp("made")
    split = Split(train=(0, 1, 2, 3, 4, 8, 9, 10), validation=(5,), test=(6, 7, 11))
    more = synthetic.smooth_dataset(folder / "more", 12, name=MORE, split=split)
    request = RunRequest("autoregression", smooth, protocol=synthetic.SMALL, device="cpu", seed=3, fit_on=more)
    run = execute(request, folder / "run")
    shutil.rmtree(more.folder)
    return run


@pytest.fixture
def fitted(made, store, tmp_path) -> Run:
    """A copy of that run, for each test to change."""
    return Run(Path(shutil.copytree(made.folder, tmp_path / "run")), made.record)


def ship(run: Run, folder: Path, monkeypatch, **changed: str) -> None:
    """Let a run's state be one that ships with the package."""
    (folder / NAME).mkdir(parents=True)
    for name in ("record.json", PREDICTOR_NAME):
        shutil.copyfile(run.folder / name, folder / NAME / name)
    pins = {"record": sha256(run.folder / "record.json"), "predictor": sha256(run.folder / PREDICTOR_NAME)}
    lines = [f"[{json.dumps(NAME)}]", *(f"{key} = {json.dumps(value)}" for key, value in (pins | changed).items())]
    (folder / "catalog.toml").write_text("\n".join(lines))
    monkeypatch.setattr(states, "CATALOG", folder / "catalog.toml")


def edit(folder: Path, change) -> None:
    """Change a run's record."""
    record = json.loads((folder / "record.json").read_text())
    change(record)
    (folder / "record.json").write_text(json.dumps(record))


def test_a_state_forecasts_what_its_run_did_without_the_set_that_it_was_fitted_on(fitted, smooth, tmp_path):
    again = forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again")
    assert again.record.artifacts == fitted.record.artifacts
    assert again.record.results == fitted.record.results
    assert again.record.key == fitted.record.key.model_copy(update={"state": sha256(again.folder / PREDICTOR_NAME)})
    assert forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again").repeated


def test_what_a_state_forecast_can_be_verified_but_is_no_run_to_submit_or_to_make_again(fitted, smooth, tmp_path):
    again = forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again")
    assert verify(again, smooth).agrees
    assert again.record.cost.fit_seconds == 0
    assert "not a whole test run (with a given state)" in str(again.record.why_not_submittable)
    with pytest.raises(ProtocolError, match="only the run that fitted that can be made again"):
        reproduce(again, smooth)
    with pytest.raises(ProtocolError, match="nothing was fitted there; use the state that it was made with"):
        fitted_state(again.folder)


def test_states_of_one_run_key_are_never_taken_for_each_other(fitted, smooth, tmp_path):
    """Nor is a run for what was forecast with its state."""
    other = Path(shutil.copytree(fitted.folder, tmp_path / "other" / "run"))
    with safe_open(other / PREDICTOR_NAME, framework="numpy") as file:
        halves = {"coefficients": file.get_tensor("coefficients") / 2}
        save_file(halves, other / PREDICTOR_NAME, file.metadata())
    whole, halved = fitted_state(fitted.folder), fitted_state(other)
    one, two = forecast_with(whole, smooth, tmp_path / "one"), forecast_with(halved, smooth, tmp_path / "two")
    assert one.record.artifacts != two.record.artifacts
    for folder in (one.folder, fitted.folder):
        with pytest.raises(ProtocolError, match="holds another run"):
            forecast_with(halved, smooth, folder)
    with pytest.raises(ProtocolError, match=r"state: None here, [0-9a-f]{64} there"):
        execute(RunRequest("autoregression", smooth, protocol=synthetic.SMALL, device="cpu", seed=3), two.folder)


def test_a_predictor_is_loaded_in_this_process(fitted, smooth):
    predictor = tipl_bench.load_predictor(fitted.folder)
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


@pytest.mark.parametrize("place", ["toy/none-v1", ""])
def test_what_is_neither_a_name_nor_a_folder_is_refused(place):
    with pytest.raises(UnknownNameError, match=r"Unknown fitted state .* neither a name nor a run folder\. Known: "):
        fitted_state(place)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda record: record["key"]["method"].update(version=99), "autoregression v99 .*installed here is v1"),
        (lambda record: record["key"]["method"].update(consumes="pretrained"), "Install the version that the record"),
        (lambda record: record["key"]["protocol"].update(version=99), "protocol"),
        (
            lambda record: record.update(track="training"),
            "a record of the training track, where one of the forecast track is needed",
        ),
    ],
)
def test_a_record_that_no_other_command_takes_is_refused(change, complaint, fitted, smooth, tmp_path):
    edit(fitted.folder, change)
    with pytest.raises(ProtocolError, match=complaint):
        forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again")


def test_another_dataset_than_that_of_the_record_is_refused(fitted, walking, tmp_path):
    with pytest.raises(ProtocolError, match=r"which of another dataset's trials it was fitted on is not known"):
        forecast_with(fitted_state(fitted.folder), walking, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_damaged_state_is_named_and_nothing_of_its_run_is_lost(fitted, smooth, tmp_path):
    record = (fitted.folder / "record.json").read_bytes()
    (fitted.folder / PREDICTOR_NAME).write_bytes(b"nothing")
    with pytest.raises(PredictorError, match="not a saved predictor"):
        tipl_bench.load_predictor(fitted.folder)
    with pytest.raises(PredictorError, match=rf"so is {fitted.folder / PREDICTOR_NAME}: make that again"):
        forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again")
    with pytest.raises(ProtocolError, match="holds another run"):
        forecast_with(fitted_state(fitted.folder), smooth, fitted.folder)
    assert (fitted.folder / "record.json").read_bytes() == record
    save_file({"others": np.zeros(3)}, fitted.folder / PREDICTOR_NAME, {"tipl_bench": "{}"})
    with pytest.raises(PredictorError):
        tipl_bench.load_predictor(fitted.folder)


def test_a_folder_without_a_state_or_a_record_is_refused(fitted):
    (fitted.folder / PREDICTOR_NAME).unlink()
    with pytest.raises(ProtocolError, match=r"predictor\.safetensors is missing"):
        fitted_state(fitted.folder)
    (fitted.folder / "record.json").unlink()
    with pytest.raises(ProtocolError, match=r"the run was not finished\. Repeat the command"):
        fitted_state(fitted.folder)
    (fitted.folder / "key.json").unlink()
    with pytest.raises(ProtocolError, match=r"record\.json is missing"):
        fitted_state(fitted.folder)


def test_a_device_that_is_not_here_is_named(fitted, smooth, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    edit(fitted.folder, lambda record: record["key"].update(device="cuda"))
    assert forecast_with(fitted_state(fitted.folder), smooth, tmp_path / "again").record.key.device == "cpu"
    with pytest.raises(OptionError, match="torch sees no CUDA device here"):
        tipl_bench.load_predictor(fitted.folder, "cuda")


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
    for wrong in (["toy/none-v1"], ["--out", str(tmp_path / "none")]):
        assert CliRunner().invoke(main, ["forecast", *wrong]).exit_code == 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if not name.startswith("inverted-pendulum") else name
        for name in shipped_states()
    ],
)
def test_every_state_that_ships_has_the_skill_that_its_record_states(name, tmp_path):
    """On the windows of its record if their dataset is bundled, on two of its test trials, trained anew, otherwise."""
    state = fitted_state(name)
    assert state.path.stat().st_size <= 5e6
    key = state.record.key
    stated = state.record.result("learning", 1)
    assert stated is not None
    is_bundled = catalog()[key.dataset.name].bundled
    if is_bundled:
        dataset = tipl_bench.load_dataset(key.dataset.name)
        windows = evaluation_windows(dataset, key.protocol, key.split, key.limit)
        windows = [window for window in windows if window.phase == "learning"]
        trials, slack = {trial: dataset.trial(trial) for trial in dataset.manifest.split.test}, 0.002
    else:
        trials, slack = two_test_trials(key.dataset.name, tmp_path), 0.05
        learning = range(key.protocol.context - 1, 5 * 8)
        windows = [EvaluationWindow(trial, origin, "learning", 0) for trial in trials for origin in learning]
    contexts = build_contexts(trials, windows, key.protocol.context)
    forecasts = tipl_bench.load_predictor(name).predict(contexts, 1)[:, 0]
    missed = moved = 0.0
    for window, forecast in zip(windows, forecasts, strict=True):
        origin, after = trials[window.trial].weights(window.origin, window.origin + 2).astype(float)
        missed += np.square(after - forecast).sum()
        moved += np.square(after - origin).sum()
    skill = 1 - missed / moved
    assert skill >= stated["skill"].value - slack
    assert is_bundled <= (skill <= stated["skill"].value + slack), "the first windows alone may be easier than all"


def two_test_trials(name, folder):
    """The first two test trials of a collection, as its method trains them."""
    config = preset(name)
    first = Split.proportional(config.trials).test[0]
    config = config.model_copy(update={"trials": 2, "first_seed": config.seeds[first], "iterations_trained": 8})
    collect_trials(config, folder, 0, threads=2, progress=lambda *_: None, trainer=Trainer(train_with_method))
    environment = make(config.environment, [0])
    layout = tipl_bench.PolicyLayout(environment.observation_size, config.hidden_sizes, environment.action_size)
    return {trial: Trial(folder / trial_name(trial), trial, layout, config.checkpoints) for trial in range(2)}


def test_a_state_of_another_predictor_than_its_records_does_not_jump(tmp_path):
    other = Path(shutil.copytree(CATALOG.parent / "inverted-pendulum" / "tipl-neuron-v1", tmp_path / "other"))
    label = {"predictor": "mlp", "version": 1, "options": {}}
    save_file({"x": np.zeros(1)}, other / "predictor.safetensors", {LABEL: json.dumps(label)})
    with pytest.raises(ProtocolError, match="its predictor is mlp, and the record beside it says tipl-neuron"):
        TrainingRequest.of("adam", "InvertedPendulum-v4", ["jump"], [f"jump.predictor={other}"])
