"""Collecting by name: a dataset complete with its reference returns."""

from __future__ import annotations

import re
import shutil

import pytest
from click.testing import CliRunner
from helpers.small_collections import contents
from tipl_bench.benchmark import collection
from tipl_bench.benchmark.collection import collect_named
from tipl_bench.benchmark.forecast.reference_returns import reference_returns
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.benchmark.run import run
from tipl_bench.cli import main
from tipl_bench.registry.catalog import own_catalog
from tipl_bench.registry.collection.duration import SIMULATION, describe_seconds, expected_seconds
from tipl_bench.registry.collection.presets import preset, read_config
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.store import dataset_folder
from tipl_bench.rl import TASKS
from tipl_bench.utils.errors import DatasetError, ProtocolError, UnknownNameError

CONFIG = """
environment = "InvertedPendulum-v4"
hidden_sizes = [3]
environment_steps = {steps}
trials = 3
first_seed = {seed}
hyperparameters = {{ steps_per_iteration = 64, minibatches = 2 }}
"""
NAME = "my-pendulum/tiny-v1"


@pytest.fixture
def config(tmp_path):
    """A collection of 3 trials of 41 checkpoints, a second of training."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(steps=8 * 64, seed=1))
    return path


def silent(stage: str, done: int, total: int, word: str) -> None:
    """Progress that nobody watches."""


def test_when_a_collection_of_ones_own_is_collected_then_it_is_complete_and_can_be_run_on(config, store, tmp_path):
    seen: dict[str, tuple[int, int]] = {}
    dataset = collect_named(NAME, config, 1, lambda stage, done, total, _: seen.update({stage: (done, total)}))
    assert list(seen) == ["collect", "phases", "reference", "learning"]
    assert all(done == total for done, total in seen.values())
    assert dataset.folder == store / "datasets" / NAME
    assert (len(dataset), dataset.manifest.checkpoints) == (3, 41)
    assert dataset.derived(CURRENT.version) is not None
    assert dataset.manifest.sidecars == ()
    dataset.verify()
    assert load_dataset(NAME, download=False).digest == dataset.digest
    calls: list[int] = []
    reference_returns(dataset, CURRENT, lambda stage, done, total, word: calls.append(done))
    assert calls == []
    command = ["run", "--model", "linear", "--dataset", NAME, "--out", str(tmp_path / "run"), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output


def test_when_only_the_reference_returns_are_missing_then_they_are_added(config, store):
    dataset = collect_named(NAME, config, 1, silent)
    before = contents(dataset.folder)
    shutil.rmtree(dataset.folder / "derived")
    (store / "returns.sqlite").unlink()
    stages: list[str] = []
    again = collect_named(NAME, config, 1, lambda stage, *_: stages.append(stage))
    assert set(stages) == {"phases", "reference", "learning"}
    assert contents(again.folder) == before


def test_when_a_finished_collection_is_asked_for_with_another_configuration_then_it_is_refused(config, store):
    collect_named(NAME, config, 1, silent)
    config.write_text(CONFIG.format(steps=8 * 64, seed=100))
    with pytest.raises(DatasetError, match=NAME):
        collect_named(NAME, config, 1, silent)


def test_when_trials_would_be_too_short_for_the_protocol_then_it_is_said_before_training(config, store):
    config.write_text(CONFIG.format(steps=5 * 64, seed=1))
    stages: list[str] = []
    with pytest.raises((DatasetError, ProtocolError), match=r"26 checkpoints.* 30"):
        collect_named(NAME, config, 1, lambda stage, *_: stages.append(stage))
    assert stages == []


@pytest.fixture
def shipped(config, monkeypatch, store):
    """The small collection as if it came with the package, in a catalog with a digest of another processor."""
    monkeypatch.setattr(collection, "presets", lambda: {NAME: None})
    monkeypatch.setattr(collection, "preset", lambda name: read_config(config))
    store.mkdir(exist_ok=True)
    entry = f'["{NAME}"]\nenvironment = "InvertedPendulum-v4"\nsummary = "Small"\ndigest = "{"0" * 64}"\n'
    own_catalog().write_text(entry)


def test_when_a_shipped_dataset_is_not_here_then_the_error_names_the_ways_to_collect_it_and_their_time(shipped):
    result = CliRunner().invoke(main, ["run", "--model", "persistence", "--dataset", NAME])
    assert result.exit_code == 1
    assert f"{NAME} is not on this machine. --collect collects it first" in result.stderr
    assert re.search(
        f"`tipl-bench datasets collect {NAME}` does: about 1 minute on (one core|[0-9]+ cores)", result.stderr
    )
    with pytest.raises(DatasetError, match="`collect=True` collects it first"):
        run("persistence", NAME)


def test_a_run_collects_a_missing_dataset_first_and_says_so_where_its_bytes_are_not_the_catalogs(shipped, tmp_path):
    command = ["run", "--model", "persistence", "--dataset", NAME, "--collect", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert f"{NAME} is not on this machine and is collected now: about 1 minute" in result.stderr
    assert f"warning: {NAME} was collected here with other bytes than the catalog's" in result.stderr
    stages: list[str] = []
    again = run(
        "persistence", NAME, collect=True, out=tmp_path / "run", progress=lambda stage, *_: stages.append(stage)
    )
    assert again.repeated
    assert "collect" not in stages


def test_before_bytes_are_collected_that_may_not_be_the_catalogs_it_names_a_version_whose_are(
    shipped, config, tmp_path, monkeypatch
):
    newer, path = NAME.replace("v1", "v2"), tmp_path / "newer.toml"
    path.write_text(config.read_text() + "version = 3\n")
    chosen = {NAME: read_config(config), newer: read_config(path)}
    monkeypatch.setattr(collection, "presets", lambda: chosen)
    monkeypatch.setattr(collection, "preset", chosen.get)
    own_catalog().write_text(own_catalog().read_text() + own_catalog().read_text().replace(NAME, newer))
    older, other = (CliRunner().invoke(main, ["datasets", "collect", name]).stderr for name in (NAME, newer))
    assert "it is then opened by its folder alone, and makes no rows of its board" in older
    assert f"{newer} is the same on any processor." in older
    assert "folder alone" not in other


def test_a_collection_says_where_its_bytes_are_not_the_catalogs_and_its_folder_is_the_way_to_use_it(shipped, tmp_path):
    collected = CliRunner().invoke(main, ["datasets", "collect", NAME])
    assert collected.exit_code == 0, collected.output
    assert "other bytes than the catalog's" in collected.stderr
    assert f"Open it by its folder, {dataset_folder(NAME)}." in collected.stderr

    command = ["run", "--model", "persistence", "--out", str(tmp_path / "run"), "--dataset"]
    by_name = CliRunner().invoke(main, [*command, NAME])
    assert by_name.exit_code == 1
    assert "collected on another processor or with other package versions" in by_name.stderr
    assert f"use it by its path, {dataset_folder(NAME)}" in by_name.stderr
    by_folder = CliRunner().invoke(main, [*command, str(dataset_folder(NAME))])
    assert by_folder.exit_code == 0, by_folder.output


@pytest.mark.parametrize(
    ("name", "cores", "seconds"),
    [  # measured on the machine of `SIMULATION`
        ("half-cheetah/ppo-small-v1", 1, 20 * 293 * 0.354),
        ("inverted-pendulum/ppo-v2", 1, 50 * 390 * 0.0388),
        ("hopper/ppo-mini-v2", 2, 10 * 146 * 0.162),
        ("walker2d/ppo-mini-v2", 1, 20 * 146 * 0.219),
        ("half-cheetah/ppo-mini-v1", 2, 6 * 600_000 / 7_250),
        ("inverted-pendulum/ppo-v1", 2, 50 * 800_000 / 83_400),
    ],
)
def test_expected_times_are_near_measured_ones(name, cores, seconds):
    assert expected_seconds(preset(name), cores) == pytest.approx(seconds, rel=0.35)


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("half-cheetah/ppo-small-v2", 1.73), ("inverted-pendulum/ppo-v3", 1.03), ("hopper/ppo-mini-v3", 1.17)],
)
def test_version_3_is_expected_to_take_as_much_longer_as_was_measured(name, ratio):
    config = preset(name)
    before = config.model_copy(update={"version": 2})
    assert expected_seconds(config, 2) / expected_seconds(before, 2) == pytest.approx(ratio, abs=0.1)


def test_more_cores_than_blocks_are_not_expected_to_help():
    config = preset("half-cheetah/ppo-small-v1")
    assert expected_seconds(config, 4) == expected_seconds(config, 1) / 4 == expected_seconds(config, 64)


def test_every_environment_of_a_shipped_collection_has_an_expected_cost():
    assert SIMULATION.keys() == {environment.rpartition("-v")[0] for environment in TASKS}
    assert expected_seconds(preset("hopper/ppo-mini-v2").model_copy(update={"environment": "Pendulum-v1"})) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "about 1 minute"), (1190, "about 20 minutes"), (3600, "about 1 hour"), (8300, "about 2 hours 20 minutes")],
)
def test_durations_are_in_words(seconds, words):
    assert describe_seconds(seconds) == words


@pytest.mark.parametrize("name", ["tiny", "my-pendulum/tiny", "My-Pendulum/tiny-v1", "../x/y-v1", "a/b-v0", "a/b-v1\n"])
def test_when_a_name_is_malformed_then_one_that_is_not_is_shown(name, config):
    with pytest.raises(DatasetError, match=r"is not a dataset name; one looks like inverted-pendulum/ppo-v1"):
        collect_named(name, config, 1, silent)


def test_when_a_collection_is_unknown_then_the_nearest_is_suggested():
    with pytest.raises(
        UnknownNameError, match=r"Unknown collection 'half-cheetah/ppo-v2'\. Did you mean 'half-cheetah/"
    ):
        collect_named("half-cheetah/ppo-v2", None, 1, silent)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("environment = ", "config.toml: "),
        ("trials = 3", "environment: is missing"),
        ('truncates = "a/b-v1"', "checkpoi"),
    ],
)
def test_when_a_configuration_is_wrong_then_the_file_and_field_are_named(text, complaint, config):
    config.write_text(text)
    with pytest.raises(DatasetError, match=complaint) as caught:
        collect_named(NAME, config, 1, silent)
    assert str(config) in str(caught.value)


def test_when_there_is_no_configuration_file_then_its_path_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.toml"):
        collect_named(NAME, tmp_path / "nowhere.toml", 1, silent)
