"""Fitting the predictor of a jump as one command: its stages, what they leave, how they go on, what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers.small_collections import untouched
from helpers.training_records import small_protocol, training_run
from rich.console import Console
from tipl_bench.benchmark.intervals import Estimate
from tipl_bench.benchmark.jump_fitting import run as fitting
from tipl_bench.benchmark.jump_fitting.run import read_jump_fit
from tipl_bench.benchmark.jump_fitting.table import render
from tipl_bench.benchmark.training import protocol as protocols
from tipl_bench.benchmark.training import run as running
from tipl_bench.benchmark.training.record import read_training_record
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.benchmark.training.run import TrainingRun
from tipl_bench.cli import main
from tipl_bench.registry.collection import collect as collecting
from tipl_bench.utils.errors import DatasetArgumentError, OptionError, ProtocolError, UnknownNameError

ENVIRONMENT = "InvertedPendulum-v4"
SMALL = small_protocol(trials=2, iterations=6).model_copy(update={"reference_return": 1000.0})
SPEEDS = {"": 1.0, "jump.period=4": 1.2, "jump.period=5": 1.5, "jump.period=1": 0.5}
"""How fast returns rise in made-up trainings of the tuning trials."""
METHOD = {"outer": ["outer-step"], "trials": 3, "iterations": 6, "predictor": "autoregression", "threads": 1}
OPTIONS = ["outer-step.scale=2", "jump.period=4,5", "jump.factor=1", "autoregression.per_position=false"]


@pytest.fixture(scope="module", autouse=True)
def small():
    """A protocol of seconds, with two tuning trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols.PROTOCOLS, ENVIRONMENT, SMALL)
        patch.setattr(protocols, "TUNING_TRIALS", 2)
        yield


def stop(*_, **__):
    raise KeyboardInterrupt


def made_up(optimizer, environment, *, outer, options, on, out, **_):
    """A training of the tuning trials with made-up returns; its key is that of a real one, with the fitted state."""
    if not out.exists():
        speed = SPEEDS[next((one for one in options if one.startswith("jump.period")), "")]
        training_run(out, speed, optimizer, outer, options, split=on)
    return TrainingRun(out, read_training_record(out))


def made_up_without_jumps(*given, outer, **rest):
    return stop() if "jump" in outer else made_up(*given, outer=outer, **rest)


@pytest.fixture(scope="module")
def fit(tmp_path_factory, small):
    """A finished fit that was interrupted three times: before the fit, while it was tuned, and at its end."""
    place = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(place / "store"))
        patch.chdir(place)
        patch.setattr(fitting, "train", made_up)
        for stage, interruption in (("run", stop), ("train", made_up_without_jumps), ("_write", stop)):
            with patch.context() as broken:
                broken.setattr(fitting, stage, interruption)
                with pytest.raises(KeyboardInterrupt):
                    tipl_bench.fit_jump(ENVIRONMENT, options=OPTIONS, out="out", **METHOD)
        before = untouched(place)
        found = tipl_bench.fit_jump(ENVIRONMENT, options=OPTIONS, out="out", **METHOD)
        after = untouched(place)
    assert not found.repeated
    assert {name for name in after if before.get(name) != after[name]} == {"out/record.json"}
    return place, found


@pytest.fixture
def finished(fit, monkeypatch):
    """The same, with its store and its working folder."""
    monkeypatch.setenv("TIPL_BENCH_HOME", str(fit[0] / "store"))
    monkeypatch.chdir(fit[0])
    return fit[1]


def test_the_predictor_is_fitted_on_trials_of_the_method_and_the_best_jump_is_kept(finished):
    record = finished.record
    assert record == read_jump_fit(finished.folder / "record.json")
    dataset = tipl_bench.load_dataset(record.dataset.name)
    assert (dataset.digest, dataset.manifest.trial_seeds) == (record.dataset.digest, (100_001, 100_002, 100_003))
    assert dataset.manifest.configuration.method.label == record.trained_with == "adam + outer-step outer-step.scale=2"
    assert record.collected_steps == 3 * 6 * 2048
    assert record.tuning_steps == 3 * 2 * 6 * 2048
    assert [one.settings[0] for one in record.tuned] == ["jump.period=4", "jump.period=5"]
    assert record.best.settings == ("jump.period=5", "jump.factor=1.0")
    runs = [read_training_record(finished.folder / one.folder) for one in (record.plain, *record.tuned)]
    assert [[*run.seeds] for run in runs] == [[3001, 3002]] * 3
    assert [len(run.key.outer) for run in runs] == [1, 2, 2]
    auc = [np.mean(run.columns["auc"]) for run in runs]
    assert record.best.auc.value == pytest.approx(max(auc))
    for one, value in zip(record.tuned, auc[1:], strict=True):
        assert one.gain.value == pytest.approx(value - auc[0])
    rule = runs[1].key.outer[1]
    assert (rule.fitted_on.digest, rule.state) == (record.dataset.digest, record.artifacts["predictor"])
    assert rule.options["predictor"] == "autoregression"


def test_the_command_prints_how_to_train_the_test_trials_and_what_a_row_needs(finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = [word for one in OPTIONS for word in ("--set", one)]
    words += ["--trials", "3", "--iterations", "6", "--predictor", "autoregression", "--out", "out", "--outer"]
    shown = CliRunner().invoke(main, ["optimizers", "fit", "jump", "--env", ENVIRONMENT, *words, "outer-step"])
    assert shown.exit_code == 0, shown.output
    commands = [line.strip() for line in shown.output.splitlines() if "tipl-bench train" in line]
    assert max(len(line) for line in shown.output.splitlines() if line.strip() not in commands) <= 80
    for text in ("already finished", "without jumps", "36,864 environment steps", "No row yet", "--dataset"):
        assert text in " ".join(shown.output.split())
    forecast, control = (shlex.split(line)[1:] for line in commands)
    assert control == [*forecast, "--set", "jump.direction=last-change"]
    asked = {}
    monkeypatch.setattr(running, "train", lambda *names, **rest: asked.update(rest, names=names) or stop())
    CliRunner().invoke(main, forecast)
    assert (asked["names"], asked["outer"], asked["on"]) == (("adam", ENVIRONMENT), ("outer-step", "jump"), "test")
    assert asked["options"] == (
        "outer-step.scale=2", "jump.predictor=out/predictor", *finished.record.best.settings
    )  # fmt: skip
    TrainingRequest.of("adam", ENVIRONMENT, asked["outer"], asked["options"]).key()


def test_a_table_says_where_no_jump_is_better_than_none(finished, capsys):
    tuned = [one.model_copy(update={"gain": Estimate(value=-0.1, low=-0.2, high=0.0)}) for one in finished.record.tuned]
    for record, said in ((finished.record, False), (finished.record.model_copy(update={"tuned": tuple(tuned)}), True)):
        Console(width=80).print(render(record))
        assert ("None of these jumps is better than none" in capsys.readouterr().out) == said


def test_a_folder_holds_one_fit_and_what_is_lost_is_made_again(finished, monkeypatch):
    with pytest.raises(ProtocolError, match="a fit with other options, seed, jumps"):
        tipl_bench.fit_jump(ENVIRONMENT, options=OPTIONS[:1], out="out", seed=1, **METHOD)
    kept = (finished.folder / "record.json").read_bytes()
    (finished.folder / "record.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(fitting, "train", made_up)
    monkeypatch.setattr(fitting, "provenance", lambda *_: finished.record.provenance)
    assert not tipl_bench.fit_jump(ENVIRONMENT, options=OPTIONS, out="out", **METHOD).repeated
    assert (finished.folder / "record.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"environment": "Hoper-v4"}, UnknownNameError, "environment of the training track 'Hoper-v4'"),
        ({"predictor": "no-such"}, UnknownNameError, "predictor 'no-such'"),
        ({"outer": ["outer-stp"]}, UnknownNameError, "outer-stp"),
        ({"first_seed": 1999}, OptionError, "seed 2001, which is of a test trial .*2001 to 2002.*`first_seed=`"),
        ({"first_seed": 3002}, OptionError, "seed 3002, which is of a tuning trial"),
        ({"trials": 2}, OptionError, "whole number from 3"),
        ({"iterations": 11}, OptionError, "iterations_trained is 11, and the steps make 10"),
        ({"iterations": 5}, OptionError, "5 iterations give 26 checkpoints.*at least 6 .`iterations=`"),
        ({"seed": -1}, OptionError, "Invalid seed"),
        ({"budget": "huge"}, UnknownNameError, "huge"),
        ({"threads": 0}, OptionError, "number of threads 0"),
        ({"dataset": "no name"}, DatasetArgumentError, "not a dataset name"),
        ({"dataset": "inverted-pendulum/ppo-head-v1", "trials": 5}, OptionError, "leave out `trials=`"),
        ({"dataset": "hopper/ppo-mini-v2"}, OptionError, "is of Hopper-v4, not of InvertedPendulum-v4"),
        ({"options": ["jump.period=1,2,3", "jump.factor=1,2,3"]}, OptionError, "9 configurations .3 of jump.period"),
        ({"options": ["jump.period=0"]}, OptionError, "period"),
        ({"options": ["jump.predictor=linear"]}, OptionError, "which predictor is fitted is `predictor=`"),
        ({"options": ["autoregression.lags=0"]}, OptionError, "lags"),
        ({"options": ["tipl.width=1"]}, UnknownNameError, "a rule that is not used"),
        ({"optimizer": "open", "options": ["weights=weights.bin"]}, OptionError, "cannot name a file"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_anything_is_trained(arguments, error, message, store, monkeypatch):
    Path("weights.bin").write_bytes(b"")
    monkeypatch.setattr(collecting, "collect_side_by_side", stop)
    with pytest.raises(error, match=message):
        tipl_bench.fit_jump(**({"environment": ENVIRONMENT, "predictor": "autoregression"} | arguments))
    assert not (store / "collecting").exists()


@pytest.mark.parametrize("fitted", [True, False])
def test_a_catalogued_dataset_with_the_tracks_seeds_is_none_to_fit_on(fitted, smooth, monkeypatch):
    """The seeds of the trials that are fitted on, not those of its test trials, decide."""
    split = smooth.manifest.split
    trial = split.fitted[0] if fitted else split.test[0]
    monkeypatch.setattr(protocols, "TEST_SEED", smooth.manifest.trial_seeds[trial])
    monkeypatch.setitem(protocols.PROTOCOLS, ENVIRONMENT, SMALL.model_copy(update={"trials": 1}))
    monkeypatch.setattr(fitting, "load_or_collect", lambda *_, **__: smooth)
    monkeypatch.setattr(fitting, "run", stop)
    with pytest.raises(OptionError if fitted else KeyboardInterrupt, match="of a test trial" if fitted else None):
        tipl_bench.fit_jump(ENVIRONMENT, predictor="autoregression", dataset="inverted-pendulum/ppo-head-v1")


def test_other_rules_have_no_predictor_to_fit():
    refused = CliRunner().invoke(main, ["optimizers", "fit", "ema", "--env", ENVIRONMENT])
    assert refused.exit_code == 2
    assert "Unknown outer rule with a predictor to fit 'ema'" in " ".join(refused.output.split())


@pytest.mark.slow
def test_all_stages_are_real(tmp_path, monkeypatch):
    """Trials past the first are for training; the tuning trials are those of `train`."""
    monkeypatch.setattr(fitting, "FIRST_TRIALS", 3)
    options = [OPTIONS[0], *OPTIONS[2:], "jump.period=5"]
    fit = tipl_bench.fit_jump(ENVIRONMENT, options=options, **METHOD | {"trials": 5})
    assert fit.folder.parent.as_posix() == f"runs/jumps/{ENVIRONMENT}"
    manifest = tipl_bench.load_dataset(fit.record.dataset.name).manifest
    assert (manifest.split.train, manifest.split.validation, manifest.split.test) == ((0, 3, 4), (1,), (2,))
    assert tipl_bench.load_dataset(manifest.extends.name).manifest.trial_seeds == manifest.trial_seeds[:3]
    for one, outer, settings in ((fit.record.plain, (), options[:1]), (fit.record.best, ("jump",), fit.options)):
        rules, out = ("outer-step", *outer), tmp_path / one.folder
        tipl_bench.train("adam", ENVIRONMENT, outer=rules, options=settings, on="tuning", out=out)
        kept = fit.folder / one.folder / "curves.safetensors"
        assert (out / "curves.safetensors").read_bytes() == kept.read_bytes()
