"""Logging of runs: events have the numbers of the record, results do not depend on them, what is missing is named."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers import synthetic
from helpers.training_records import small_protocol
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tipl_bench.benchmark.training import protocol as protocols
from tipl_bench.cli import main
from tipl_bench.utils.errors import OptionError, UnknownNameError

ENVIRONMENT = "InvertedPendulum-v4"


@pytest.fixture(scope="module", autouse=True)
def small():
    """A protocol of seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols.PROTOCOLS, ENVIRONMENT, small_protocol(trials=2, iterations=2))
        yield


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A training run without a log."""
    return tipl_bench.train(out=tmp_path_factory.mktemp("runs") / "adam", threads=1)


class Recorder(tipl_bench.Logger):
    """What is logged, in its order."""

    def __init__(self) -> None:
        self.begun, self.ended, self.rows = [], 0, []

    def begin(self, run, config):
        self.begun.append((run, config))

    def log(self, values, step, axis):
        self.rows += [(axis, name, step, value) for name, value in values.items()]

    def end(self):
        self.ended += 1


def forecast(dataset, out, **how):
    options = {"device": "cpu", "protocol": synthetic.SMALL, "returns": False, "limit": 6}
    return tipl_bench.run("helpers.fits:Curved", dataset, out=out, **options, **how)


def events(folder: Path) -> dict[str, dict[int, float]]:
    """The scalars of TensorBoard's own reader."""
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in found.Tags()["tensors"] if not tag.startswith("config")]
    return {tag: {one.step: float(one.tensor_proto.float_val[0]) for one in found.Tensors(tag)} for tag in tags}


def test_a_forecast_runs_events_have_the_numbers_of_its_record_and_change_nothing(smooth, tmp_path):
    plain = forecast(smooth, tmp_path / "plain")
    logged = forecast(smooth, tmp_path / "logged", logger="tensorboard")
    np.testing.assert_array_equal(plain.forecasts, logged.forecasts)
    assert (plain.record.results, plain.record.artifacts) == (logged.record.results, logged.record.artifacts)
    found = events(logged.folder / "tensorboard")
    curve = pd.read_csv(logged.folder / "fit.csv")
    for name in ("training_loss", "validation_loss"):
        known = curve.dropna(subset=[name])
        assert found[f"fit/{name}"] == pytest.approx(dict(zip(known["step"], known[name], strict=True)), rel=1e-6)
    for one in logged.record.results:
        for name, estimate in one.estimates.items():
            if estimate.value is not None:
                assert found[f"{one.phase}/{name}"][one.horizon] == pytest.approx(estimate.value, rel=1e-6)
    skills = [one["skill"].value for one in logged.record.results if one.phase == "learning"]
    assert found["final/learning/skill"] == pytest.approx({0: np.mean(skills)}, rel=1e-6)


def test_a_logger_of_ones_own_gets_losses_once_and_a_finished_run_again(smooth, tmp_path):
    logger = Recorder()
    run = forecast(smooth, tmp_path / "run", logger=logger)
    (begun,) = logger.begun
    assert begun == (run.folder, run.record.key.model_dump(mode="json"))
    fits = [row for row in logger.rows if row[0] == "fit_step"]
    assert len(set(fits)) == len(fits) > 0
    assert [row[0] for row in logger.rows] == sorted(row[0] for row in logger.rows if row[0] == "fit_step") + [
        row[0] for row in logger.rows if row[0] != "fit_step"
    ]
    first = list(logger.rows)
    assert forecast(smooth, tmp_path / "run", logger=logger).repeated
    assert sorted(logger.rows[len(first) :]) == sorted(first)
    assert logger.ended == 2


def test_training_logs_every_trial_while_it_trains_and_the_record_at_the_end(trained, tmp_path):
    logger = Recorder()
    run = tipl_bench.train(out=tmp_path / "run", threads=1, logger=logger)
    assert run.record.artifacts == trained.record.artifacts
    curves, steps = run.curves(), run.record.key.protocol.iteration_steps
    found = {(name, step): value for _, name, step, value in logger.rows}
    assert len(found) == len(logger.rows)
    for column, iteration in enumerate(curves.evaluated.tolist()):
        assert found["return/mean", iteration * steps] == pytest.approx(curves.returns[:, column].mean())
        for trial in (0, 1):
            assert found[f"return/trial-{trial:02}", iteration * steps] == curves.returns[trial, column]
    for name, estimate in run.record.estimates.items():
        assert found.get((f"final/{name}", 0)) == estimate.value
    live = [name for _, name, _, _ in logger.rows]
    assert live.index("return/trial-00") < live.index("return/mean")
    assert logger.ended == 1


def test_a_logger_that_fails_stops_no_run(trained, tmp_path, caplog):
    class Full(Recorder):
        def log(self, values, step, axis):
            raise OSError("no space left")

    logged = tipl_bench.train(out=tmp_path / "adam", threads=1, logger=Full())
    assert logged.record.status.state == "finished"
    assert logged.record.artifacts == trained.record.artifacts
    assert "Logging stopped (OSError: no space left)" in caplog.text


def test_weights_and_biases_is_offline_by_default(trained, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = tipl_bench.train(out=trained.folder, logger=tipl_bench.WandbLogger(tmp_path / "logs"))
    (path,) = (tmp_path / "logs" / "wandb").glob("offline-run-*/*.wandb")
    end = time.monotonic() + 60
    while b"final/auc" not in (written := path.read_bytes()):  # wandb's own process writes, until this one ends
        assert time.monotonic() < end, "nothing was written"
        time.sleep(0.05)
    for name in ("return/trial-01", "return/mean", "environment_steps", "final/auc"):
        assert name.encode() in written
    for value in (run.record.estimates["auc"].value, *run.curves().returns[1].tolist()):
        assert json.dumps(value).encode() in written


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_when_a_package_is_missing_then_one_sentence_names_the_command_before_any_work(name, monkeypatch, tmp_path):
    modules = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}
    monkeypatch.setitem(sys.modules, modules[name], None)
    for call in (tipl_bench.run, tipl_bench.train):
        with pytest.raises(OptionError, match=rf"not installed: pip install 'tipl-bench\[{name}\]'\.$"):
            call("nosuch", "nosuch", out=tmp_path / "run", logger=name)
    result = CliRunner().invoke(main, ["train", "--env", ENVIRONMENT, "--log", name, "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, (OptionError, SystemExit))
    assert not (tmp_path / "run").exists()


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(UnknownNameError, match=r"Unknown logger 'tensorbord'. Did you mean 'tensorboard'\?"):
        tipl_bench.train(logger="tensorbord")
    with pytest.raises(OptionError, match="is 'onlin'; it can be offline, online or disabled"):
        tipl_bench.WandbLogger(mode="onlin")
    result = CliRunner().invoke(main, ["train", "--env", ENVIRONMENT, "--log-dir", "logs"])
    assert "give --log tensorboard or --log wandb too" in result.output
    assert result.exit_code == 2


def test_the_command_logs_beneath_the_folder_that_it_is_given(trained):
    words = ["train", "--env", ENVIRONMENT, "--out", str(trained.folder), "--log", "tensorboard", "--log-dir", "logs"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (folder,) = {path.parent for path in Path("logs").rglob("events.out.*")}
    assert folder.parts[-2:] == trained.folder.parts[-2:]
    assert "return/mean" in events(folder)
