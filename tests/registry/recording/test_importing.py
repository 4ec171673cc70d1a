"""Importing recorded checkpoints as a dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.recordings import COUNT, MAPPINGS, NAME, STATED, random_trial, write_checkpoints, write_trials
from helpers.small_collections import contents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tipl_bench import FitTask, TiplBenchError, import_dataset, load_dataset, run
from tipl_bench.baselines.continuation import Continuation, ContinuationOptions
from tipl_bench.baselines.field.adam_moments import AdamMoments, AdamMomentsOptions
from tipl_bench.benchmark.ceiling.compute import branching_ceiling
from tipl_bench.benchmark.forecast.fit_set import check_fit_set
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.cli import main
from tipl_bench.registry.collection_config import ImportedCollection
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.hub.card import render_card
from tipl_bench.registry.hub.publish import publish
from tipl_bench.registry.manifest import COVERED_OF_IMPORTS
from tipl_bench.registry.recording.source import TrialSource
from tipl_bench.utils.errors import DatasetError, OptionError

OWN = {"layers": MAPPINGS["own"][:3], "log_std": MAPPINGS["own"][3]}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Five trials of which nothing is stated but what must be; only to be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("store")))
        folder = tmp_path_factory.mktemp("imported")
        bare = {"observation_mean": None, "observation_variance": None}
        trials = write_trials(folder / "trials", *(random_trial(seed, **bare) for seed in range(5)))
        return import_dataset(trials, NAME, normaliser=False, to=folder / "dataset", **STATED)


@pytest.mark.parametrize("library", MAPPINGS)
@pytest.mark.parametrize("write", [write_trials, write_checkpoints])
def test_a_policy_is_the_same_whatever_its_tensors_are_called_and_however_they_are_laid_out(tmp_path, library, write):
    trials = [random_trial(seed, library) for seed in range(3)]
    named = OWN if library == "own" else {}
    dataset = import_dataset(write(tmp_path / "in", *trials), NAME, to=tmp_path / "out", **STATED, **named)
    dataset.verify()
    *layers, log_std = MAPPINGS[library]
    names = [*(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")), log_std]
    for trial, tensors in zip(dataset.trials(), trials, strict=True):
        assert np.array_equal(trial.weights(), np.concatenate([tensors[n].reshape(COUNT, -1) for n in names], axis=1))
        assert np.array_equal(trial.read("observation_mean"), tensors["observation_mean"])
        assert trial.columns["environment_steps"].tolist() == tensors["environment_steps"].tolist()
        assert trial.columns["iteration"].tolist() == list(range(COUNT))
        assert trial.columns["epoch"].tolist() == [0] + [1] * (COUNT - 1)
    assert dataset.layout.observation_clip == 10
    absent = ("episodic_return", "iteration", "learning_rate", "observation_count", "seed")
    assert dataset.manifest.collection.absent == absent


def test_what_is_stated_in_the_files_is_in_the_dataset(tmp_path):
    full = {
        "iteration": np.arange(COUNT) // 2, "epoch": np.where(np.arange(COUNT) < 2, 0, np.arange(COUNT) % 2 + 1),
        "environment_steps": np.arange(COUNT) // 2 * 64, "observation_count": np.arange(COUNT) + 1.0,
        "learning_rate": np.linspace(1e-3, 0, COUNT), "episodic_return": np.arange(COUNT) * 1.5,
    }  # fmt: skip
    full |= {"iteration": np.maximum(full["iteration"], np.arange(COUNT) > 0), "epoch": np.arange(COUNT) % 2 + 1}
    full["epoch"][0], full["environment_steps"][:2], full["iteration"][1] = 0, (0, 32), 1
    trials = [random_trial(seed, **full, seed=np.array([seed + 40])) for seed in range(4)]
    dataset = import_dataset(write_trials(tmp_path / "in", *trials), NAME, to=tmp_path / "out", **STATED)
    assert dataset.manifest.trial_seeds == (40, 41, 42, 43)
    assert dataset.manifest.collection.absent == ()
    for name in ("iteration", "epoch", "learning_rate", "episodic_return", "environment_steps"):
        assert np.allclose(dataset.trial(2).columns[name], full[name], rtol=1e-6)


def test_policies_without_a_normaliser_act_on_what_they_observe(imported):
    trial = imported.trial(0)
    collection = imported.manifest.collection
    assert collection.observation_clip is None
    assert collection.absent == ("episodic_return", "iteration", "learning_rate", "observation_normaliser", "seed")
    policy = trial.policy(COUNT - 1)
    seen = np.random.default_rng(0).normal(scale=30, size=(200, 4))
    hidden = seen
    for name, value in policy.state_dict().items():
        if name.endswith("weight"):
            hidden = hidden @ value.numpy().astype(np.float64).T
        elif name.endswith("bias"):
            hidden = hidden + value.numpy()
            hidden = np.tanh(hidden) if name != "layer2.bias" else hidden
    assert np.allclose(policy.act(seen), np.clip(hidden, -3, 3), atol=1e-4)
    assert np.allclose(policy(policy.log_std.new_tensor(seen)).detach(), np.clip(hidden, -3, 3), atol=1e-4)


def test_an_imported_dataset_is_forecast_like_any_other(imported):
    finished = run("linear", str(imported.folder), out="out")
    assert finished.record.status.state == "finished"
    assert finished.windows["repw"].notna().all()
    assert finished.record.key.dataset.digest == imported.digest


def test_a_shorter_import_of_the_same_trials_is_not_fitted_on_to_forecast_them(tmp_path):
    trials = [random_trial(seed, count=COUNT + 8) for seed in range(5)]
    whole = import_dataset(write_trials(tmp_path / "a", *trials), NAME, to=tmp_path / "whole", **STATED)
    turned = write_trials(tmp_path / "b", *trials[::-1])
    shorter = import_dataset(turned, "inverted-pendulum/other-v1", checkpoints=COUNT, to=tmp_path / "shorter", **STATED)
    for dataset, fit_set in ((whole, shorter), (shorter, whole)):
        with pytest.raises(OptionError, match=r"trial . is test trial . of"):
            check_fit_set(fit_set, dataset, CURRENT, "test")


def test_a_trial_is_imported_once(tmp_path):
    folder = write_trials(tmp_path / "in", *(random_trial(seed) for seed in (0, 1, 2, 1)))
    with pytest.raises(DatasetError, match=r"t3\.safetensors has the same policies as .*t1\.safetensors"):
        import_dataset(folder, NAME, to=tmp_path / "out", **STATED)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("changes", "stated", "said"),
    [
        ({"episodic_return": np.full(COUNT, 1e300)}, {}, "episodic_return .* too large for float32"),
        ({"observation_count": np.full(COUNT, -5.0)}, {}, "observation_count is -5.0, below 0"),
        ({}, {"licence": "MIT\n---\x1b[31m"}, "give an SPDX identifier"),
    ],
)
def test_numbers_and_licences_that_cannot_be_are_refused(tmp_path, changes, stated, said):
    folder = write_trials(tmp_path / "in", *(random_trial(seed, **changes) for seed in range(3)))
    with pytest.raises(TiplBenchError, match=said):
        import_dataset(folder, NAME, to=tmp_path / "out", **STATED, **stated)


@pytest.mark.parametrize("predictor", [AdamMoments(AdamMomentsOptions()), Continuation(ContinuationOptions())])
def test_a_predictor_that_needs_what_was_not_recorded_says_so(imported, predictor):
    task = FitTask(train=imported.trials([0, 1]), validation=imported.trials([2]), horizon=5, context=20)
    with pytest.raises(TiplBenchError, match="learning rate was not recorded"):
        predictor.fit(task)


def test_what_trains_again_says_that_imported_trials_cannot_be(imported, tmp_path, monkeypatch):
    with pytest.raises(TiplBenchError, match=r"was imported: .*\('random walks'\), so they cannot be trained again"):
        branching_ceiling(imported, CURRENT)
    (tmp_path / "more.toml").write_text(f'extends = "{imported.folder}"\ntrials = 9\n')
    result = CliRunner().invoke(main, ["datasets", "collect", "a/b-v1", "--config", str(tmp_path / "more.toml")])
    assert result.exit_code == 1
    assert "was imported" in result.output


def test_the_commands_take_it_as_they_take_others(imported, hub):
    runner, place = CliRunner(), str(imported.folder)
    for words in (["verify", place], ["publish", place, "--repo", "alice/mine", "--dry-run"], ["index", place]):
        result = runner.invoke(main, ["datasets", *words])
        assert result.exit_code == 0, result.output
    shown = runner.invoke(main, ["datasets", "show", place]).output
    assert "trained by  random walks" in shown
    assert "observation normaliser, seed" in shown
    _, location = publish(imported, "alice/mine")
    published = load_dataset(str(location))
    assert published.digest == imported.digest
    card = render_card(imported.manifest, "alice/mine", imported.statistics(), {})
    assert "| trained by | random walks, and imported |" in card
    assert "nan" not in card
    assert "minibatches" not in card


def test_the_digest_covers_what_decides_the_meaning_and_no_more(imported):
    manifest, collection = imported.manifest, imported.manifest.collection
    assert {*ImportedCollection.model_fields} == {*COVERED_OF_IMPORTS["collection"]}
    for change in ({"description": "others"}, {"observation_clip": 10.0}, {"absent": ()}, {"environment_steps": 1}):
        other = manifest.model_copy(update={"collection": collection.model_copy(update=change)})
        assert other.digest != manifest.digest
    assert manifest.model_copy(update={"cpu": "other", "versions": {}}).digest == manifest.digest


def test_the_same_files_give_the_same_bytes(tmp_path):
    trials = write_trials(tmp_path / "in", *(random_trial(seed) for seed in range(3)))
    first, second = (import_dataset(trials, NAME, to=tmp_path / name, **STATED) for name in ("a", "b"))
    assert first.digest == second.digest
    assert contents(first.folder / "trials") == contents(second.folder / "trials")


def wide(seed):
    moments = {name: np.ones((COUNT, 6)) for name in ("observation_mean", "observation_variance")}
    return random_trial(seed, **moments) | {"actor_mean.0.weight": np.ones((COUNT, 5, 6), np.float32)}


def damaged(seed, name, value):
    tensors = random_trial(seed)
    tensors[name] = tensors[name].copy()
    tensors[name][5] = value
    return tensors


GOOD = [random_trial(seed) for seed in range(2)]
REFUSED = {
    "nothing": ([], {}, "no .safetensors file in it or in a folder in it. A folder to import holds"),
    "one trial": (GOOD[:1], {}, "1 trial; a dataset is split by trial .* record at least 3"),
    "another network": ([*GOOD, random_trial(2, "Stable-Baselines3")], {}, "differ from those of"),
    "NaN": ([*GOOD, damaged(2, "actor_mean.2.bias", np.nan)], {}, "checkpoint 5: 'actor_mean.2.bias' holds a value"),
    "infinity": ([*GOOD, damaged(2, "actor_logstd", np.inf)], {}, "checkpoint 5: 'actor_logstd' holds a value"),
    "out of order": ([*GOOD, damaged(2, "environment_steps", 9)], {}, "checkpoint 5: taken at 9 .* put them in order"),
    "twice": ([*GOOD, damaged(2, "environment_steps", 256)], {}, "checkpoint 5: taken at 256 .* state iteration"),
    "unknown names": ([*GOOD, random_trial(2, "own")], {}, "no policy among deviation, head.bias"),
    "named layers that are not there": ([*GOOD, GOOD[0]], OWN, "no tensor 'net.first.weight'; it has actor_logstd"),
    "another environment": ([*map(wide, range(3))], {}, "has 4 observations and 1 actions; the policies have 6 and 1"),
    "an unknown environment": ([*GOOD, GOOD[0]], {"environment": "Pendulum-v99"}, "Unknown environment 'Pendulum-v99'"),
    "too few": ([random_trial(s, count=29) for s in range(3)], {}, "29 checkpoints .* needs at least 30"),
    "one shorter": ([*GOOD, random_trial(2, count=31)], {}, r"31; .* Import the first 31 of each \(`checkpoints=`\)"),
    "fewer than wanted": ([*GOOD, random_trial(2)], {"checkpoints": 40}, "has 32 checkpoints, not 40"),
    "no steps": ([random_trial(0, environment_steps=None)] * 3, {}, r"has environment_steps of shape \[T\]"),
    "no normaliser": ([random_trial(0, observation_mean=None, observation_variance=None)] * 3, {},
                      r"without which the policy's return is not defined; .*`normaliser=False`"),
    "a normaliser after all": ([*GOOD, GOOD[0]], {"normaliser": False}, "has observation_mean, and the policies are"),
    "one seed twice": ([random_trial(s, seed=np.array([3])) for s in range(3)], {}, "two trials state seed 3"),
    "some iterations": ([*GOOD, random_trial(2, iteration=np.arange(COUNT), epoch=np.minimum(np.arange(COUNT), 1))],
                        {}, "some trials state iteration"),
    "not stacked": ([*GOOD, random_trial(2) | {"actor_logstd": np.zeros((1, 1), np.float32)}], {}, "first axis"),
    "float64": ([*GOOD, random_trial(2) | {"actor_mean.0.bias": np.full((COUNT, 5), 0.1)}], {}, "save float32"),
    "a bad name": ([*GOOD, GOOD[0]], {"name": "mine"}, "is not a dataset name"),
    "no description": ([*GOOD, GOOD[0]], {"description": ""}, "description is empty; say how"),
    "a clip of nothing": ([*GOOD, GOOD[0]], {"observation_clip": 0.0}, "observation_clip: Input should be greater"),
    "an iteration too few": ([random_trial(s, iteration=np.arange(COUNT - 1), epoch=np.arange(COUNT - 1))
                              for s in range(3)], {}, r"'epoch' has shape \[31\]; the first axis"),
    "moments too few": ([random_trial(s, "own", observation_mean=np.zeros((COUNT - 1, 4))) for s in range(3)], OWN,
                        r"'observation_mean' has shape \[31, 4\]"),
    "a rate that float32 cannot hold": ([*GOOD, GOOD[0]], {"learning_rate": 1e300}, "a number from 0 that float32"),
    "rates of their own": ([random_trial(s, learning_rate=np.full(COUNT, 0.1)) for s in range(3)],
                           {"learning_rate": 0.2}, "holds learning rates of its own; leave out"),
    "a rate below 0": ([*GOOD, GOOD[0]], {"learning_rate": -1.0}, "learning_rate is -1.0"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_dataset_is_refused_in_a_sentence_and_leaves_nothing(tmp_path, store, what):
    trials, changes, message = REFUSED[what]
    folder = write_trials(tmp_path / "in", *trials)
    with pytest.raises(TiplBenchError, match=message):
        import_dataset(folder, **({"name": NAME} | STATED | changes))
    assert not [path for path in store.rglob("*") if path.is_file() or path.name.endswith(".partial")]


def test_folders_that_are_unclear_or_missing_are_refused(tmp_path, imported):
    both = write_checkpoints(write_trials(tmp_path / "both", *GOOD), *GOOD)
    with pytest.raises(TiplBenchError, match=r"holds both t0.safetensors and checkpoints in seed-0"):
        import_dataset(both, NAME, **STATED)
    with pytest.raises(TiplBenchError, match="cannot be read"):
        import_dataset(tmp_path / "missing", NAME, **STATED)
    with pytest.raises(TiplBenchError, match="exists already; remove it, or choose"):
        import_dataset(write_trials(tmp_path / "in", *GOOD, GOOD[0]), NAME, to=imported.folder, **STATED)


def test_numbers_in_names_count(tmp_path):
    trials = [random_trial(0) for _ in range(11)]
    for number, trial in enumerate(trials):
        trial["actor_logstd"] = np.full_like(trial["actor_logstd"], number)
    dataset = import_dataset(write_checkpoints(tmp_path / "in", *trials), NAME, to=tmp_path / "out", **STATED)
    assert [float(trial.weights(0, 1)[0, -1]) for trial in dataset.trials()] == list(range(11))


def test_the_command_imports_the_first_checkpoints_into_the_store_and_says_what_is_absent(tmp_path):
    write_trials(tmp_path / "in", *(random_trial(seed, "own", count=40 + seed) for seed in range(3)))
    layers = [word for layer in OWN["layers"] for word in ("--layer", layer)]
    words = ["datasets", "import", str(tmp_path / "in"), "--name", NAME, "--env", STATED["environment"]]
    words += ["--about", "x", "--log-std", OWN["log_std"], *layers, "--checkpoints", "30", "--observation-clip", "inf"]
    result = CliRunner().invoke(main, [*words, "--learning-rate", "0.001", "--licence", "MIT", "-q"])
    assert result.exit_code == 0, result.output
    assert "3 trials of 30 checkpoints, 4 x 5 x 3 x 1 tanh policies" in result.output
    assert "Declared absent: episodic return, iteration, observation count, seed." in result.output
    dataset = load_dataset(NAME)
    assert dataset.layout.observation_clip is None
    assert dataset.manifest.licence == "MIT"
    assert np.allclose(dataset.trial(0).columns["learning_rate"], 0.001)
    assert dataset.derived(CURRENT.version) is not None
    assert CliRunner().invoke(main, [*words]).exit_code == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_and_never_crashes(tmp_path, data):
    path = tmp_path / "trial.safetensors"
    save_file(random_trial(0, count=3), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    source = TrialSource(path)
    with contextlib.suppress(DatasetError):  # of nothing else
        assert len([*source.checkpoints(source.names((), None), len(source))]) <= 3


def test_a_manifest_states_what_was_imported_as_documented(imported):
    stated = json.loads((imported.folder / "manifest.json").read_text())["collection"]
    assert stated["algorithm"] == "external"
    assert stated["observation_clip"] is None
    assert Dataset.open(imported.folder).layout == dataclasses.replace(imported.layout, observation_clip=None)
