"""Versions that extend others: the old trials bit for bit, more after them, and the old version left as it was."""

from __future__ import annotations

import hashlib
import itertools
import shutil

import numpy as np
import pytest
from tipl_bench.benchmark.collection import collect_named
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.registry.collection.collect import truncate
from tipl_bench.registry.collection.presets import Extension, environment_steps, read_config
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.files import describe_file
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.manifest import Origin
from tipl_bench.registry.store import dataset_folder, staging_folder
from tipl_bench.registry.trial import trial_name
from tipl_bench.utils.errors import DatasetError, UnknownNameError

OLD, NEW = "my-pendulum/tiny-v1", "my-pendulum/tiny-v2"
SCRATCH = """
environment = "InvertedPendulum-v4"
hidden_sizes = [3]
environment_steps = 384
trials = {trials}
first_seed = 7
hyperparameters = {{ steps_per_iteration = 64, minibatches = 2 }}
"""
EXTENDED = """
extends = "{name}"
trials = {trials}
"""


def silent(*_):
    """Progress that nobody watches."""


def config_file(folder, text, **values):
    path = folder / "config.toml"
    path.write_text(text.format(**values), encoding="utf-8")
    return path


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("trials/*"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Version 1 of 3 trials, and apart from it the same collection with 6; only to be copied or read."""
    folder, made = tmp_path_factory.mktemp("extending"), {}
    for trials in (3, 6):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("TIPL_BENCH_HOME", str(folder / f"store-{trials}"))
            made[trials] = collect_named(OLD, config_file(folder, SCRATCH, trials=trials), 1, silent)
    return made


@pytest.fixture
def old(made):
    """Version 1 of 3 trials in the test's store."""
    return Dataset.open(shutil.copytree(made[3].folder, dataset_folder(OLD)))


def extend(tmp_path, progress=silent, name=OLD, trials=6):
    return collect_named(NEW, config_file(tmp_path, EXTENDED, name=name, trials=trials), 1, progress)


def test_the_new_version_shares_the_old_trials_and_trains_only_the_others(old, made, tmp_path):
    before = digests(old.folder)
    reports = []
    new = extend(tmp_path, lambda stage, done, total, _: reports.append((stage, done, total)))
    assert [report for report in reports if report[0] == "collect"] == [
        ("collect", 3 * 6 + 3 * i, 36) for i in range(1, 7)
    ]
    assert (new.name, len(new), new.folder) == (NEW, 6, dataset_folder(NEW))
    for trial in range(3):
        mine, theirs = new.folder / "trials" / trial_name(trial), old.folder / "trials" / trial_name(trial)
        assert mine.samefile(theirs), "the bytes should be on the disk once"
        assert new.manifest.trials[trial] == old.manifest.trials[trial]
    assert digests(old.folder) == before
    assert digests(new.folder).items() >= before.items()
    new.verify()
    old.verify()


def test_the_new_manifest_names_what_it_extends_and_goes_on_with_seeds_and_split(old, tmp_path):
    new = extend(tmp_path)
    manifest = new.manifest
    assert manifest.extends == Origin(name=OLD, digest=old.digest)
    assert manifest.trial_seeds == (7, 8, 9, 10, 11, 12)
    assert manifest.collection == old.manifest.collection.model_copy(update={"trials": 6})
    assert manifest.split == old.manifest.split.extend(6)
    for part in ("train", "validation", "test"):
        assert set(getattr(old.manifest.split, part)) <= set(getattr(manifest.split, part))
    assert new.derived(CURRENT.version) is not None, "references are of all its test trials"
    assert load_dataset(NEW, download=False).digest == new.digest != old.digest


def test_the_trials_are_those_of_collecting_all_from_scratch_up_to_rounding(old, made, tmp_path):
    new = extend(tmp_path)
    for mine, theirs in zip(new.trials(), made[6].trials(), strict=True):
        for name, tensor in theirs.tensors.items():
            # Rounding grows with training; the differences between trials are of order 1.
            np.testing.assert_allclose(mine.tensors[name], tensor, rtol=1e-3, atol=1e-4, err_msg=f"{mine.index} {name}")
    weights = np.stack([trial.weights()[-1] for trial in new.trials()])
    apart = [np.abs(a - b).max() for a, b in itertools.combinations(weights, 2)]
    assert min(apart) > 0.05, "every trial has a seed of its own"


def test_asking_again_for_what_is_there_trains_nothing(old, tmp_path):
    digest = extend(tmp_path).digest
    stages = []
    assert extend(tmp_path, lambda stage, *_: stages.append(stage)).digest == digest
    assert "collect" not in stages


def test_after_ctrl_c_an_extension_goes_on_to_the_same_bytes(old, tmp_path, monkeypatch):
    whole = digests(extend(tmp_path).folder)
    shutil.rmtree(dataset_folder(NEW))

    def interrupt(stage, done, total, word):
        if done == 27:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(tmp_path, interrupt)
    assert not dataset_folder(NEW).exists()
    new = extend(tmp_path)
    assert digests(new.folder) == whole
    assert not staging_folder(NEW).exists()
    old.verify()


@pytest.fixture
def interrupted(old, tmp_path):
    """An extension that was stopped when the old trials stood in its folder and a new one was begun."""

    def interrupt(stage, done, total, word):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(tmp_path, interrupt)
    return old


def test_an_unfinished_extension_is_not_continued_as_a_collection_from_scratch(interrupted, tmp_path):
    """It would be written in place, into the files that both versions share."""
    with pytest.raises(DatasetError, match=r"unfinished collection .* another configuration"):
        collect_named(NEW, config_file(tmp_path, SCRATCH, trials=6), 1, silent)
    interrupted.verify()


def test_an_unfinished_extension_is_not_continued_on_another_old_version(interrupted, tmp_path):
    other = interrupted.manifest.model_copy(update={"cpu": "another"})
    other.write(interrupted.folder)
    with pytest.raises(DatasetError, match=r"unfinished collection .* another configuration"):
        extend(tmp_path)


def test_a_collection_from_scratch_is_not_continued_as_an_extension(old, tmp_path):
    def interrupt(stage, done, total, word):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_named(NEW, config_file(tmp_path, SCRATCH, trials=6), 1, interrupt)
    with pytest.raises(DatasetError, match=r"unfinished collection .* another configuration"):
        extend(tmp_path)


def test_an_old_version_whose_bytes_were_changed_is_not_taken_over(old, tmp_path):
    path = old.folder / "trials" / trial_name(1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    stages = []
    with pytest.raises(DatasetError, match=r"trial-0001\.safetensors: tensor '.*' does not have the manifest's sha256"):
        extend(tmp_path, lambda stage, *_: stages.append(stage))
    assert stages == []


def test_an_old_version_may_be_given_by_its_folder_and_have_named_its_files_otherwise(old, tmp_path):
    folder = old.folder.rename(tmp_path / "elsewhere")
    for path in (folder / "trials").iterdir():
        path.rename(folder / f"{path.stem}-renamed.safetensors")
    entries = tuple(describe_file(folder, f"trial-{trial:04d}-renamed.safetensors") for trial in range(3))
    old.manifest.model_copy(update={"trials": entries}).write(folder)
    new = extend(tmp_path, name=folder)
    new.verify()
    assert [entry.sha256 for entry in new.manifest.trials[:3]] == [entry.sha256 for entry in entries]


@pytest.mark.parametrize("trials", [1, 3])
def test_an_extension_that_adds_no_trial_is_refused(trials, old, tmp_path):
    with pytest.raises(DatasetError, match=f"{OLD} has 3 trials already; an extension to {trials} adds none"):
        extend(tmp_path, trials=trials)
    assert not staging_folder(NEW).exists()


def test_an_old_version_that_nobody_knows_is_answered_with_those_that_are(old, tmp_path):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{OLD}'"):
        extend(tmp_path, name="my-pendulum/tinny-v1")


def test_trials_added_to_a_truncated_dataset_are_as_long_and_may_all_be_for_training(old, made, tmp_path):
    head = truncate(old, "my-pendulum/head-v1", 31, dataset_folder("my-pendulum/head-v1"))
    text = EXTENDED + "train_only = true\nversion = 2\n"
    new = collect_named(NEW, config_file(tmp_path, text, name=head.name, trials=6), 1, silent)
    new.verify()
    assert new.manifest.trials[:3] == head.manifest.trials
    assert new.manifest.trial_seeds == (7, 8, 9, 10, 11, 12)
    assert new.manifest.split.model_dump() == {"train": (0, 3, 4, 5), "validation": (1,), "test": (2,)}
    assert new.manifest.extends == Origin(name=head.name, digest=head.digest)
    assert (new.manifest.collection.version, head.manifest.collection.version) == (2, 1)
    for mine, theirs in zip(new.trials([3, 4, 5]), made[6].trials([3, 4, 5]), strict=True):
        assert len(mine) == 31
        np.testing.assert_allclose(mine.weights(), theirs.weights(0, 31), rtol=1e-3, atol=1e-4)


def test_the_time_of_an_extension_is_that_of_the_trials_it_adds():
    def stop(text):
        raise KeyboardInterrupt(text)

    with pytest.raises(KeyboardInterrupt, match=r"is collected now: about 2[0-9] minutes on one core"):
        collect_named("inverted-pendulum/ppo-head-500-v1", None, 1, silent, announce=stop)


def test_the_file_of_an_extension_is_read(tmp_path):
    assert read_config(config_file(tmp_path, EXTENDED, name=OLD, trials=9)) == Extension(extends=OLD, trials=9)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('extends = "a/b-v1"', "trials: is missing"),
        ('extends = "a/b-v1"\ntrials = 0', "trials: "),
        ('extends = "a/b-v1"\ntrials = "many"', "trials: "),
        ("extends = 3\ntrials = 4", "extends: "),
        ('extends = "a/b-v1"\ntrials = 4\nenvironment = "E-v1"', "environment: no such field"),
        ('extends = "a/b-v1"\ntrials = 4\ntruncates = "a/b-v1"\ncheckpoints = 3', "no such field|only shipped"),
    ],
)
def test_a_file_of_an_extension_that_is_wrong_is_refused_with_its_name_and_field(text, complaint, tmp_path):
    path = config_file(tmp_path, text)
    with pytest.raises(DatasetError, match=complaint) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_the_steps_of_a_collection_are_those_of_all_its_trials():
    assert environment_steps("half-cheetah/ppo-v1") == 50 * 2_000_000
    assert environment_steps("inverted-pendulum/ppo-head-v1") == 50 * 80 * 2048
    assert environment_steps("inverted-pendulum/ppo-head-500-v2") == 500 * 80 * 2048
    assert environment_steps("inverted-pendulum/ppo-outer-400-v1") == 400 * 24 * 2048
