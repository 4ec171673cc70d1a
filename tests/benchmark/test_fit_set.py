"""Runs that are fitted on another dataset: what they may be, what is read and recorded, and what is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers import synthetic
from rich.console import Console
from tipl_bench.baselines import IN_TREE, predictor_type
from tipl_bench.baselines.autoregression import Autoregression
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark import table
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import MethodIdentity, RunKey, read_record
from tipl_bench.benchmark.request import RunRequest, default_folder, identity
from tipl_bench.benchmark.run import execute
from tipl_bench.benchmark.worker.sandbox import NO_ISOLATION
from tipl_bench.cli import main
from tipl_bench.leaderboard.verify.reproduce import reproduce
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.manifest import Split
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.errors import DatasetError, OptionError, ProtocolError
from tipl_bench.utils.files import link_or_copy

MORE = "toy-pendulum/more-v1"
SPLIT = Split(train=(0, 1, 2, 3, 4, 8, 9, 10), validation=(5,), test=(6, 7))
"""That of twelve trials, the first eight of which are those of `smooth`; trial 11 is added to a part by each test."""


def more_trials(folder, *, name=MORE, trials=12, **parts):
    """Twelve smooth trials, the first eight of which are those of `smooth`, for the same parts as there."""
    split = Split.model_validate({**SPLIT.model_dump(), "test": (6, 7, 11), **parts})
    return synthetic.smooth_dataset(folder, trials, name=name, split=split)


def edited(dataset, **changes):
    """A dataset as if its manifest said something else."""
    return Dataset(dataset.folder, dataset.manifest.model_copy(update=changes))


def configured(dataset, **changes):
    """A dataset as if its collection had been another, of other seeds."""
    config = dataset.manifest.collection.model_copy(update=changes)
    return edited(dataset, collection=config, trial_seeds=tuple(range(1000, 1000 + len(dataset))))


def small(dataset, fit_on, model="autoregression", **settings) -> RunRequest:
    """A request under the small protocol, on the CPU."""
    return RunRequest(model, dataset, protocol=synthetic.SMALL, device="cpu", fit_on=fit_on, **settings)


@pytest.fixture(autouse=True)
def _known_protocol(monkeypatch):
    """The small protocol is one that this package knows, so that its runs are verified and reproduced."""
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)


def test_when_a_run_is_fitted_on_more_trials_then_those_are_used_and_recorded(smooth, store, tmp_path):
    more = more_trials(dataset_folder(MORE))
    request = small(smooth, more)
    assert default_folder(request).name == "autoregression-quick-on-toy-pendulum--more-v1-seed0-p901"
    finished = execute(request, tmp_path / "run")
    record = read_record(tmp_path / "run" / "record.json")
    assert record.key.dataset == identity(smooth)
    assert record.key.method.fitted_on == identity(more)
    assert record.key.method.consumes == "more-trials"
    assert set(finished.windows["trial"]) == set(smooth.manifest.split.test)

    fitted = Autoregression(build_options(Autoregression, "quick", (), synthetic.SMALL.context))
    train, validation = more.trials(more.manifest.split.train), more.trials(more.manifest.split.validation)
    fitted.fit(FitTask(train, validation, synthetic.SMALL.horizon, synthetic.SMALL.context))
    fitted.save(tmp_path / "fitted.safetensors")
    assert (tmp_path / "run" / "predictor.safetensors").read_bytes() == (tmp_path / "fitted.safetensors").read_bytes()

    console = Console(width=80)
    with console.capture() as text:
        console.print(table.render(record))
    assert f"fitted on {MORE} ({more.digest[:12]})" in text.get()
    assert verify(finished, smooth).agrees
    assert reproduce(finished, smooth).grade == "bitwise"
    more.folder.rename(tmp_path / "gone")
    with pytest.raises(ProtocolError, match=rf"fitted on {MORE}, without which it cannot be run again: .*{MORE}"):
        reproduce(finished, smooth, tmp_path / "again")


def test_the_predictor_reads_the_trials_to_fit_on_and_no_test_trial_of_either(smooth, tmp_path):
    """Those of the fit set are links to the others, under another name."""
    more = more_trials(tmp_path / "more")
    for trial in range(len(smooth)):
        more.trial(trial).path.unlink()
        link_or_copy(smooth.trial(trial).path, more.trial(trial).path)
    assert os.path.samefile(smooth.trial(7).path, more.trial(7).path)  # noqa: PTH121
    with small(smooth, more).start() as predictor:
        if predictor.isolation == NO_ISOLATION:
            pytest.skip("this kernel has no Landlock")
        seen = [trial for trial in range(12) if predictor.can_open(more.trial(trial).path)]
        assert seen == [0, 1, 2, 3, 4, 5, 8, 9, 10]
        assert not any(predictor.can_open(smooth.trial(trial).path) for trial in (6, 7))


def test_when_a_trial_to_fit_on_was_changed_then_nothing_is_fitted(smooth, tmp_path):
    more = more_trials(tmp_path / "more")
    content = bytearray(more.trial(9).path.read_bytes())
    content[-1] ^= 1
    more.trial(9).path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"trial-0009\.safetensors: tensor .* does not have the manifest's sha256"):
        execute(small(smooth, more), tmp_path / "run")
    assert read_record(tmp_path / "run" / "record.json").status.stage == "fit"
    assert not (tmp_path / "run" / "predictor.safetensors").exists()


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    return more_trials(tmp_path_factory.mktemp("more") / "more")


@pytest.mark.parametrize("part", ["train", "validation"])
def test_when_a_test_trial_is_fitted_on_then_it_is_refused_by_its_seed_or_its_weights(part, smooth, more):
    other = {"train": (0, 1, 2, 3, 4, 8, 9, 10, 7), "validation": (5, 7)}[part]
    leaking = edited(more, split=more.manifest.split.model_copy(update={part: other, "test": (6, 11)}))
    refusal = f"{MORE}: its {'training' if part == 'train' else part} trial 7 is test trial 7 of {smooth.name}"
    for on in ("test", "validation"):
        with pytest.raises(OptionError, match=refusal):
            small(smooth, leaking, split=on)
    renamed = configured(leaking, hyperparameters=leaking.manifest.collection.hyperparameters)
    with pytest.raises(OptionError, match=refusal):  # of other seeds, the weights tell
        small(smooth, renamed)
    files = tuple(synthetic_entry(entry) for entry in leaking.manifest.trials)
    with pytest.raises(OptionError, match=refusal):  # of other weights, as by another arithmetic, the seed tells
        small(smooth, edited(leaking, trials=files))
    shorter = leaking.manifest.collection.model_copy(update={"iterations_trained": 1})
    with pytest.raises(OptionError, match=refusal):  # and of trials that end before their schedule
        small(smooth, edited(leaking, trials=files, collection=shorter))


def synthetic_entry(entry):
    """A trial's entry as if its weights were others."""
    weights = entry.tensors["weights"].model_copy(update={"sha256": "0" * 64})
    return entry.model_copy(update={"tensors": {**entry.tensors, "weights": weights}})


def test_when_validation_trials_are_forecast_then_they_may_validate_but_not_train(smooth, more):
    small(smooth, more, split="validation")
    trained = more.manifest.split.model_copy(update={"train": (0, 1, 2, 3, 5), "validation": (4, 8, 9, 10)})
    small(smooth, edited(more, split=trained))
    with pytest.raises(OptionError, match=f"its training trial 5 is validation trial 5 of {smooth.name}"):
        small(smooth, edited(more, split=trained), split="validation")


def test_when_the_fit_set_is_the_dataset_or_of_another_kind_then_it_is_refused(smooth, more):
    with pytest.raises(OptionError, match=r"is the dataset that is forecast, .*; leave out `fit_on=`"):
        small(smooth, smooth)
    rules = more.manifest.collection.hyperparameters
    for changed, complaint in (
        (configured(more, hidden_sizes=(3, 4)), "the policy layout of its trials is 4 x 3 x 4 x 1, tanh, not"),
        (configured(more, checkpoint_every_epochs=5), "the spacing of checkpoints of its trials is every 5 epochs, "),
        (configured(more, hyperparameters=rules.model_copy(update={"steps_per_iteration": 64})), "the spacing of ch"),
        (edited(more, checkpoints=22), "its trials have 22 checkpoints, and protocol 901 needs 23"),
    ):
        with pytest.raises(
            OptionError, match=f"{smooth.name} cannot be forecast by what is fitted on {MORE}: {complaint}"
        ):
            small(smooth, changed)


def test_a_method_fitted_on_more_trials_states_so_in_its_class_and_its_identity(smooth):
    facts = {"name": "mlp", "version": 1, "budget": "quick", "options": {}}
    plain = MethodIdentity(consumes="weights", **facts)
    assert "fitted_on" not in plain.model_dump()
    assert "fitted_on" not in plain.stable()
    run = {"protocol": synthetic.SMALL, "dataset": identity(smooth), "seed": 0, "device": "cpu"}
    low = MethodIdentity(consumes="weights", fitted_on=identity(smooth), **facts)
    with pytest.raises(ValueError, match="consumes is weights, of a method fitted on more trials at least more-trials"):
        RunKey(method=low, **run)
    for consumes in ("more-trials", "environment"):
        known = low.model_copy(update={"consumes": consumes})
        assert RunKey(method=known, **run).method.stable()["fitted_on"] == identity(smooth).stable()


def test_when_the_fit_set_is_refused_then_the_command_line_names_its_option():
    name = "inverted-pendulum/ppo-head-v1"
    result = CliRunner().invoke(main, ["run", "--model", "linear", "--dataset", name, "--fit-on", name])
    assert result.exit_code == 2
    assert "leave out --fit-on" in result.stderr


def test_when_a_shipped_fit_set_is_not_here_then_the_error_says_how_to_have_it():
    name = "inverted-pendulum/ppo-head-500-v1"
    command = ["run", "--model", "linear", "--env", "InvertedPendulum-v4", "--fit-on", name]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert f"{name} is not on this machine. --collect collects it first" in result.stderr
    assert f"`tipl-bench datasets collect {name}`" in result.stderr


def test_when_a_run_is_fitted_on_more_trials_then_python_takes_the_name_or_the_dataset(smooth, more):
    with pytest.raises(OptionError, match="leave out `fit_on=`"):
        tipl_bench.run("linear", smooth, fit_on=str(smooth.folder))
    with pytest.raises(DatasetError, match="no such folder"):
        tipl_bench.run("linear", smooth, fit_on="./nowhere")


TRANSFERS = [name for name in IN_TREE if predictor_type(name).transfers]


WALKERS = "toy-walker/small-v1"


def walking_policies(folder):
    """Trials of another environment, of policies of another layout."""
    return synthetic.smooth_dataset(folder, name=WALKERS, environment="Walker2d-v4", hidden=(5, 4))


@pytest.fixture(scope="module")
def walkers(tmp_path_factory):
    return walking_policies(tmp_path_factory.mktemp("walkers") / "data")


@pytest.mark.parametrize("model", TRANSFERS)
def test_when_a_predictor_transfers_then_it_forecasts_policies_of_another_layout_and_by_what_it_learned(
    model, smooth, walkers
):
    kind, found = predictor_type(model), []
    contexts = synthetic.contexts_of(smooth, 7, (19, 30, 41, 55))
    for data in (walkers, smooth):
        predictor = kind(build_options(kind, "smoke", (), synthetic.SMALL.context))
        split = data.manifest.split
        predictor.fit(FitTask(data.trials(split.train), data.trials(split.validation), 3, synthetic.SMALL.context))
        found.append(predictor.predict(contexts, 3))
        assert found[-1].shape == (4, 3, smooth.layout.parameter_count)
        assert np.isfinite(found[-1]).all()
    assert (found[0] != found[1]).any()


def test_when_a_run_is_fitted_on_another_environment_then_it_is_pretrained(smooth, store, tmp_path):
    walkers = walking_policies(dataset_folder(WALKERS))
    record = execute(small(smooth, walkers), tmp_path / "run").record
    assert record.key.method.consumes == "pretrained"
    assert record.key.method.fitted_on == identity(walkers)
    assert record.key.dataset == identity(smooth)
    assert reproduce(tmp_path / "run", smooth).grade == "bitwise"
    moments = execute(small(smooth, walkers, "adam-moments"), tmp_path / "moments").record
    assert moments.key.method.consumes == "pretrained"
    own = execute(small(smooth, None), tmp_path / "own").record
    for mine, theirs in zip(record.results, own.results, strict=True):
        assert mine["skill"].value == pytest.approx(theirs["skill"].value, abs=0.2)
        assert mine["skill"].value != theirs["skill"].value
    claimed = record.model_dump(mode="json")
    claimed["key"]["method"]["consumes"] = "more-trials"
    with pytest.raises(ValueError, match="trials of another environment at least pretrained"):
        type(record).model_validate(claimed)


def test_when_trials_of_another_environment_have_the_seeds_and_the_layout_of_the_test_trials_then_they_are_refused(
    smooth, tmp_path
):
    alias = synthetic.smooth_dataset(tmp_path / "alias", name="toy-alias/small-v1", environment="InvertedPendulum-v5")
    assert alias.layout == smooth.layout
    with pytest.raises(OptionError, match=f"is test trial . of {smooth.name}"):
        small(smooth, edited(alias, split=alias.manifest.split.model_copy(update={"train": (0, 1, 6)})))


def test_when_checkpoints_of_another_environment_are_spaced_otherwise_then_they_are_refused(smooth, walkers):
    with pytest.raises(OptionError, match="the spacing of checkpoints of its trials is every 5 epochs"):
        small(smooth, configured(walkers, checkpoint_every_epochs=5))


def test_when_a_predictor_does_not_transfer_then_another_environment_is_refused(smooth, walkers, tmp_path):
    with pytest.raises(OptionError, match=r"is Walker2d-v4, not .*, and what tipl-neuron learns does not transfer"):
        execute(small(smooth, walkers, "tipl-neuron", budget="smoke"), tmp_path / "run")
