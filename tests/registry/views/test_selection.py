"""Trials picked out of datasets: iterated, filtered, put together, refused by runs, and saved as a dataset."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers import synthetic
from helpers.small_collections import contents, edit_manifest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tipl_bench.cli import main
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import DatasetArgumentError, DatasetError

NAME = "toy-pendulum/picked-v1"


def numbers(trials):
    return [trial.index for trial in trials]


@pytest.fixture(scope="module")
def rising(tmp_path_factory):
    """Six trials whose training returns end at 10, 20, ... 60."""
    trajectories = [synthetic.learning_curve(i, 31, 32) for i in range(6)]
    dataset = synthetic.write_dataset(tmp_path_factory.mktemp("rising") / "set", trajectories)
    for place, trial in enumerate(dataset):
        np.memmap(trial.path, "f4", "r+", trial._spans["episodic_return"].start, (31,))[:] = 10 * (place + 1)
    return dataset


def test_a_dataset_is_a_sequence_of_its_trials(collected):
    assert numbers(collected) == list(range(len(collected))) == [0, 1, 2, 3, 4]
    for trial in collected:
        expected = load_file(trial.path)["weights"]
        assert np.array_equal(trial.weights(), expected)


def test_sizes_are_those_of_the_files(collected):
    files = list((collected.folder / "trials").iterdir())
    assert collected.size == (5, 5 * 21, 46, sum(path.stat().st_size for path in files))
    picked = collected.select([1, 3])
    assert picked.size[:3] == (2, 42, 46)
    assert picked.size.bytes == sum(trial.path.stat().st_size for trial in picked)


@given(st.lists(st.integers(0, 5), unique=True), st.data())
def test_selecting_twice_is_selecting_from_what_was_selected(rising, first, data):
    second = data.draw(st.lists(st.sampled_from(range(len(first))), unique=True)) if first else []
    picked = rising.select(first)
    assert numbers(picked) == first
    assert numbers(picked.select(second)) == [first[place] for place in second]
    assert len(picked) == len(first)
    assert [trial for source in picked.sources for trial in source.trials] == first


@given(st.floats(0, 70))
def test_filtering_by_return_takes_the_trials_that_ended_there_or_above(rising, least):
    found = rising.filter(lambda trial: trial.final_return >= least)
    assert numbers(found) == [place for place in range(6) if 10 * (place + 1) >= least]
    assert found.environment == rising.environment
    assert found.layout == rising.layout


def test_solved_is_what_gymnasium_says(smooth):
    assert smooth.solved_return == 950
    assert len(smooth.filter(lambda trial: trial.final_return >= smooth.solved_return)) == len(smooth)
    assert len(smooth.select([]).filter(lambda trial: True)) == 0


@pytest.mark.parametrize(
    ("trials", "said"),
    [([0, 9], "has trials 0 to 4; there is no trial 9"), ([-1], "there is no trial -1"), ([2, 2], "selected twice")],
)
def test_trials_that_cannot_be_selected_are_named(collected, trials, said):
    with pytest.raises(DatasetArgumentError, match=said):
        collected.select(trials)


def test_windows_of_a_selection_name_the_place_in_it(collected):
    picked = collected.select([4, 0])
    windows = picked.windows(context=5, horizon=2, stride=15)
    assert [(window["trial"], window["origin"]) for window in windows] == [(0, 4), (1, 4)]
    expected = load_file(collected.trial(4).path)["weights"][:5]
    assert np.array_equal(windows[0]["context"].numpy(), expected)
    assert picked.statistics().trials == 2
    assert picked.trial(0).index == 4
    with pytest.raises(IndexError, match="no trial at place 2"):
        picked.trial(2)


def test_concatenation_keeps_the_order_and_says_what_is_of_which(rising, walking):
    both = tipl_bench.concatenate(rising.select([5, 1]), walking.select([2]), rising.select([0]))
    assert numbers(both) == [5, 1, 2, 0]
    assert [(source.digest, source.trials) for source in both.sources] == [
        (rising.digest, (5, 1)),
        (walking.digest, (2,)),
        (rising.digest, (0,)),
    ]


def test_what_is_not_alike_is_not_put_together(smooth, tmp_path):
    other = synthetic.smooth_dataset(tmp_path / "wider", 3, hidden=(4, 3))
    with pytest.raises(
        DatasetArgumentError,
        match=r"its layout is 4 x 4 x 3 x 1 units, .*, not 4 x 3 x 3 x 1 units, gaussian, observations cut at 10",
    ):
        tipl_bench.concatenate(smooth, other)
    cheetah = synthetic.smooth_dataset(tmp_path / "cheetah", 3, environment=synthetic.CHEETAH)
    with pytest.raises(DatasetArgumentError, match="its environment is HalfCheetah-v4, not InvertedPendulum-v4"):
        tipl_bench.concatenate(smooth, cheetah)
    copy = Dataset.open(shutil.copytree(smooth.folder, tmp_path / "copy"))
    with pytest.raises(DatasetArgumentError, match="Trial 2 of toy-pendulum/synthetic-v1 comes twice"):
        tipl_bench.concatenate(smooth, copy.select([2]))
    # Cut, its weights have another hash; its seed and its configuration tell that it is the same trial.
    first = [smooth.trial(trial).weights(0, 31) for trial in range(3)]
    with pytest.raises(DatasetArgumentError, match="Trial 2 of toy-pendulum/synthetic-v1 comes twice"):
        tipl_bench.concatenate(smooth, synthetic.write_dataset(tmp_path / "cut", first).select([2]))
    with pytest.raises(DatasetArgumentError, match="nothing to concatenate"):
        tipl_bench.concatenate()


def test_nothing_is_run_on_a_selection(smooth):
    with pytest.raises(DatasetArgumentError, match=r"a view for code of your own: no digest identifies it.*save"):
        tipl_bench.run("persistence", smooth.select([0, 1]))
    with pytest.raises(DatasetArgumentError, match="is no reference to a dataset"):
        load_dataset(3)


def test_a_saved_selection_is_a_dataset_that_names_what_it_was_made_from(smooth, tmp_path):
    folder = smooth.select([7, 1, 5, 0]).save(tmp_path / "picked", name=NAME)
    saved = load_dataset(folder)
    saved.verify()
    assert (saved.name, len(saved)) == (NAME, 4)
    assert [(s.name, s.digest, s.trials) for s in saved.manifest.made_from] == [
        (smooth.name, smooth.digest, (7, 1, 5, 0))
    ]
    assert saved.manifest.trial_seeds == tuple(smooth.manifest.trial_seeds[trial] for trial in (7, 1, 5, 0))
    assert saved.manifest.split.model_dump() == {"train": (1, 3), "validation": (2,), "test": (0,)}
    for place, trial in enumerate((7, 1, 5, 0)):
        assert saved.trial(place).path.read_bytes() == smooth.trial(trial).path.read_bytes()
    elsewhere = saved.manifest.model_copy(update={"made_from": ()})
    assert len({saved.digest, elsewhere.digest, smooth.digest}) == 3, "the digest covers what it was made from"
    shown = CliRunner().invoke(main, ["datasets", "show", str(folder)], env={"COLUMNS": "1000"}).output
    assert f"made from  trials 7, 1, 5, 0 of {smooth.name} ({smooth.digest[:12]})" in shown


def test_a_saved_selection_is_not_extended_with_seeds_that_it_has(collected, tmp_path, monkeypatch):
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "store"))
    folder = collected.select([0, 2, 4]).save(tmp_path / "picked", name="my-pendulum/picked-v1", split="proportional")
    (tmp_path / "more.toml").write_text(f'extends = "{folder}"\ntrials = 6\n')
    result = CliRunner().invoke(main, ["datasets", "collect", "a/b-v1", "--config", str(tmp_path / "more.toml")])
    assert result.exit_code == 1
    assert "it cannot be extended" in " ".join(result.output.split())


def test_a_manifest_must_name_as_many_sources_as_trials(smooth, tmp_path):
    folder = smooth.select([7, 1, 5, 0]).save(tmp_path / "picked", name=NAME)
    edit_manifest(folder, lambda m: m["made_from"][0].update(trials=[7, 1]))
    with pytest.raises(DatasetError, match="made_from does not name 4 trials"):
        load_dataset(folder)


def test_trials_of_two_collections_are_saved_as_one(smooth, tmp_path):
    both = tipl_bench.concatenate(smooth, synthetic.walking_dataset(tmp_path / "walking", first_seed=9))
    saved = load_dataset(both.save(tmp_path / "both", name=NAME, split="proportional"))
    saved.verify()
    assert len(saved) == 16
    assert saved.manifest.split.train == tuple(range(9))
    assert saved.manifest.versions == smooth.manifest.versions


def test_what_makes_no_dataset_is_not_saved(smooth, tmp_path):
    with pytest.raises(DatasetArgumentError, match="there is no validation and no test trial among them"):
        smooth.select([0, 1]).save(tmp_path / "new", name=NAME)
    with pytest.raises(DatasetError, match="2 trials cannot be split three ways"):
        smooth.select([0, 1]).save(tmp_path / "new", name=NAME, split="proportional")
    with pytest.raises(DatasetArgumentError, match="give the new dataset another name"):
        smooth.select([0, 5, 7]).save(tmp_path / "new", name=smooth.name)
    with pytest.raises(DatasetArgumentError, match="is not a dataset's name"):
        smooth.select([0, 5, 7]).save(tmp_path / "new", name="Mine")
    with pytest.raises(DatasetError, match="exists already"):
        smooth.select([0, 5, 7]).save(tmp_path, name=NAME)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        smooth.select([0, 5, 7]).save(tmp_path / "file" / "new", name=NAME)
    walks = [synthetic.random_walk(i + 90, 31, 32) for i in range(3)]
    shorter = synthetic.write_dataset(tmp_path / "short", walks, first_seed=90)
    with pytest.raises(DatasetError, match="checkpoints is 31 of the one and 81 of the other"):
        tipl_bench.concatenate(smooth, shorter).save(tmp_path / "new", name=NAME)
    assert not (tmp_path / "new").exists()


def test_a_damaged_trial_is_not_vouched_for_anew(smooth, tmp_path):
    damaged = Dataset.open(shutil.copytree(smooth.folder, tmp_path / "damaged"))
    path = damaged.trial(5).path
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DatasetError, match=r"trial-0005.*tensor 'episodic_return' does not have"):
        damaged.select([0, 5, 7]).save(tmp_path / "new", name=NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "work"]


def test_the_store_is_listed_with_sizes_digests_and_what_was_verified(stored, store):
    def listed(*more, columns="80"):
        result = CliRunner().invoke(main, ["datasets", *more], env={"COLUMNS": columns})
        assert result.exit_code == 0, result.output
        return result.stdout

    (row,) = json.loads(listed("list", "--store", "--json"))["datasets"]
    assert (row["reference"], row["digest"], row["verified"]) == (stored.name, stored.digest, False)
    assert (row["trials"], row["checkpoints"], row["parameters"]) == (5, 21, 46)
    assert row["bytes"] == sum(path.stat().st_size for path in stored.folder.rglob("*") if path.is_file())
    listed("verify", stored.name)
    shown = listed("list", "--store")
    assert f"digest {stored.digest[:12]}, verified, no cached returns" in shown.replace("\n", " ")
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    path = stored.trial(2).path
    path.write_bytes(path.read_bytes())  # written since
    assert "not verified here" in listed("list", "--store")
    path.unlink()
    (row,) = json.loads(listed("list", "--store", "--json"))["datasets"]
    assert "trial-0002.safetensors: listed in the manifest but missing" in row["damage"]
    assert "damaged: " in listed("list", "--store")


def test_an_empty_store_says_so_and_stays_empty(store):
    result = CliRunner().invoke(main, ["datasets", "list", "--store"])
    assert result.output.startswith("No dataset is in the store.\n0 returns of policies are cached.")
    assert contents(store) == {}
