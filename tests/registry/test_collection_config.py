"""What may be collected: shipped collections, a person's own file, and what is refused."""

from __future__ import annotations

import json

import pytest
from helpers.small_collections import tiny_config
from pydantic import ValidationError
from tipl_bench.registry.collection.collect import blocks
from tipl_bench.registry.collection.duration import UNBATCHED
from tipl_bench.registry.collection.presets import Extension, Truncation, preset, presets, read_config
from tipl_bench.registry.collection_config import CollectionConfig, CollectionMethod
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.manifest import Split
from tipl_bench.registry.reference import is_name
from tipl_bench.rl.environments import TASKS
from tipl_bench.utils.errors import DatasetError, UnknownNameError


@pytest.mark.parametrize(
    ("name", "environment", "hidden", "trials", "iterations", "checkpoints"),
    [
        ("inverted-pendulum/ppo-v1", "InvertedPendulum-v4", (8, 8), 50, 390, 1951),
        ("half-cheetah/ppo-v1", "HalfCheetah-v4", (256, 256), 50, 976, 4881),
    ],
)
def test_the_papers_collections_are_of_the_planned_size(name, environment, hidden, trials, iterations, checkpoints):
    config = preset(name)
    assert (config.environment, config.hidden_sizes, config.trials) == (environment, hidden, trials)
    assert (config.iterations, config.checkpoints) == (iterations, checkpoints)
    assert config.seeds == list(range(1, 51))


@pytest.mark.parametrize(
    ("robot", "environment"),
    [
        ("hopper", "Hopper-v4"),
        ("inverted-double-pendulum", "InvertedDoublePendulum-v4"),
        ("swimmer", "Swimmer-v4"),
        ("walker2d", "Walker2d-v4"),
    ],
)
def test_the_other_batched_tasks_have_a_small_collection_each(robot, environment):
    config = preset(f"{robot}/ppo-mini-v1")
    assert (config.environment, config.hidden_sizes, config.trials) == (environment, (64, 64), 20)
    assert (config.iterations, config.checkpoints) == (146, 731)


@pytest.mark.parametrize(
    ("name", "trials", "split", "sizes"),
    [
        ("inverted-pendulum/ppo-v2", 50, (30, 5, 15), [25, 25]),
        ("half-cheetah/ppo-small-v1", 20, (12, 2, 6), [5, 5, 5, 5]),
        ("hopper/ppo-mini-v2", 20, (12, 2, 6), [10, 10]),
    ],
)
def test_collections_of_version_2_have_their_split_and_equal_blocks(name, trials, split, sizes):
    config = preset(name)
    assert (config.version, config.trials) == (2, trials)
    parts = Split.proportional(trials)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == split
    assert list(map(len, blocks(config, range(trials)))) == sizes


def test_later_versions_of_a_collection_differ_by_their_version_alone():
    for robot, kind in (("inverted-pendulum", "ppo"), ("hopper", "ppo-mini"), ("swimmer", "ppo-mini")):
        first = preset(f"{robot}/{kind}-v1")
        for version in (2, 3):
            assert preset(f"{robot}/{kind}-v{version}") == first.model_copy(update={"version": version})


def test_documents_of_version_1_do_not_name_it_so_that_digests_stay():
    first, second = tiny_config(), tiny_config(version=2)
    assert "version" not in first.model_dump()
    assert "version" not in json.loads(first.model_dump_json())
    assert second.model_dump(mode="json") == first.model_dump(mode="json") | {"version": 2}
    for config in (first, second):
        assert CollectionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("hidden", [(8, 8), (256, 256), (4000,)])
def test_every_trial_is_in_one_block_whatever_the_number(hidden, version):
    for trials in (1, 3, 6, 7, 15, 26, 51, 100):
        config = tiny_config(hidden_sizes=hidden, trials=trials, version=version)
        groups = blocks(config, range(trials))
        assert [trial for group in groups for trial in group] == list(range(trials))
        assert max(map(len, groups)) <= (64 if version == 1 else 25)
    assert blocks(config, []) == []


def test_blocks_of_version_1_stay_as_they_were():
    assert [len(b) for b in blocks(tiny_config(trials=100), range(100))] == [64, 36]
    assert [len(b) for b in blocks(tiny_config(trials=50, hidden_sizes=(2000,)), range(50))] == [3] * 16 + [2]


def test_hyperparameters_default_to_cleanrls_published_ones():
    assert preset("inverted-pendulum/ppo-v1").hyperparameters.model_dump() == {
        "learning_rate": 3e-4,
        "anneal_learning_rate": True,
        "steps_per_iteration": 2048,
        "minibatches": 32,
        "epochs": 10,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip": 0.2,
        "value_coefficient": 0.5,
        "max_gradient_norm": 0.5,
        "adam_epsilon": 1e-5,
    }


def test_every_shipped_collection_has_a_proper_name_and_a_source():
    known = presets()
    for name, entry in known.items():
        assert is_name(name)
        if isinstance(entry, Truncation):
            assert entry.checkpoints <= known[entry.truncates].checkpoints
        elif isinstance(entry, Extension):
            base = known[entry.extends]
            assert entry.trials > (known[base.truncates] if isinstance(base, Truncation) else base).trials
        else:
            assert entry.environment in {*TASKS, *UNBATCHED}


def test_the_bundled_head_is_the_first_401_checkpoints():
    assert preset("inverted-pendulum/ppo-head-v1") == Truncation(truncates="inverted-pendulum/ppo-v1", checkpoints=401)


def test_an_unknown_collection_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'half-cheetah/ppo-v1'"):
        preset("half-cheeta/ppo-v1")


SMALL = {"steps_per_iteration": 256, "minibatches": 4}


def refusal(changes):
    """Where and why a config is refused."""
    with pytest.raises(ValidationError) as caught:
        tiny_config(**changes)
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"checkpoint_every_epochs": 3}, "must divide 10 epochs"),
        ({"hyperparameters": {"steps_per_iteration": 100, "minibatches": 32}}, "must divide 100 steps"),
        ({"environment_steps": 255}, "less than one iteration of 256"),
        ({"iterations_trained": 5}, "iterations_trained is 5, and the steps make 4 iterations"),
        ({"method": {"outer": ["outer-step"]}, "version": 2}, "a method needs version 3"),
    ],
)
def test_a_config_whose_numbers_do_not_fit_is_refused_with_the_reason(changes, reason):
    assert reason in refusal(changes)[1]


def test_a_collection_can_end_before_its_schedule():
    config = tiny_config(environment_steps=1023, iterations_trained=2)
    assert (config.iterations, config.checkpoints) == (2, 11)
    assert config.training == tiny_config(environment_steps=1023).training


def test_what_trained_a_collection_is_part_of_its_digest_and_so_is_how_long():
    """And what has neither has the digest that it had before there were such fields."""
    bundled = load_dataset("inverted-pendulum/ppo-head-v1").manifest
    collection = bundled.collection.model_copy(update={"version": 3})
    manifest = bundled.model_copy(update={"collection": collection})
    methods = [CollectionMethod(outer=("ema",)), CollectionMethod(outer=("ema",), settings=("ema.decay=0.5",))]
    changes = [{}, {"iterations_trained": 3}, *({"method": method} for method in methods)]
    others = [manifest.model_copy(update={"collection": collection.model_copy(update=one)}) for one in changes]
    assert len({one.digest for one in others}) == 4
    assert others[0].digest == manifest.digest


def test_a_collection_says_nothing_of_what_it_leaves_as_it_is():
    fields = tiny_config(version=3).model_dump(mode="json")
    assert not {"method", "iterations_trained"} & {*fields}
    assert CollectionConfig.model_validate(fields) == tiny_config(version=3)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"hidden_sizes": []}, "hidden_sizes"),
        ({"hidden_sizes": [8, 0]}, "hidden_sizes.1"),
        ({"trials": 0}, "trials"),
        ({"first_seed": -1}, "first_seed"),
        ({"algorithm": "sac"}, "algorithm"),
        ({"version": 4}, "version"),
        ({"first_seeds": 3}, "first_seeds"),
        ({"method": {"rule": "ema"}, "version": 3}, "method.rule"),
        ({"hyperparameters": SMALL | {"learning_rate": 0}}, "hyperparameters.learning_rate"),
        ({"hyperparameters": SMALL | {"gamma": 1.1}}, "hyperparameters.gamma"),
        ({"hyperparameters": SMALL | {"entropy": 0.1}}, "hyperparameters.entropy"),
    ],
)
def test_a_field_that_is_wrong_is_refused_by_name(changes, where):
    assert refusal(changes)[0] == where


@pytest.mark.parametrize("field", ["learning_rate", "clip", "value_coefficient", "max_gradient_norm", "adam_epsilon"])
def test_an_infinite_hyperparameter_is_refused_because_no_manifest_could_hold_it(field):
    assert refusal({"hyperparameters": SMALL | {field: float("inf")}})[0] == f"hyperparameters.{field}"


def test_a_trial_takes_whole_iterations_and_drops_the_rest():
    config = tiny_config(environment_steps=1023)
    assert (config.iterations, config.checkpoints) == (3, 16)


def test_a_file_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'environment = "Pendulum-v1"\nhidden_sizes = [8]\nenvironment_steps = 4096\ntrials = 3\n'
        "[hyperparameters]\nlearning_rate = 1e-3\n"
    )
    config = read_config(path)
    assert isinstance(config, CollectionConfig)
    assert (config.environment, config.hidden_sizes, config.hyperparameters.learning_rate) == (
        "Pendulum-v1",
        (8,),
        1e-3,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("environment = ", "mine.toml"),
        ('environment = "Pendulum-v1"\nhidden_sizes = [8]\ntrials = 3\n', "environment_steps: is missing"),
        ('truncates = "inverted-pendulum/ppo-v1"\ncheckpoints = 3\n', "only shipped collections"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name_and_reason(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"absent\.toml"):
        read_config(tmp_path / "absent.toml")


def test_a_config_that_is_not_there_or_not_toml_is_named_without_jargon(tmp_path):
    with pytest.raises(DatasetError, match=r"nofile\.toml: No such file or directory; expected a TOML file"):
        read_config(tmp_path / "nofile.toml")
    (tmp_path / "not.toml").write_text("environment: Ant-v4")
    with pytest.raises(DatasetError, match=r"not\.toml: not valid TOML.*line 1"):
        read_config(tmp_path / "not.toml")
