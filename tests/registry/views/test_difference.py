"""What changed from one version to another: told by manifests alone, in text and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers import synthetic
from tipl_bench.cli import main
from tipl_bench.registry.manifest import Origin, Split
from tipl_bench.registry.views.difference import ManifestDifference, difference

WALKS = [synthetic.random_walk(seed, 31, 32) for seed in range(6)]


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Version 1 of four trials; version 2 with another trial 1, two more, and trial 2 in another part of the split."""
    folder = tmp_path_factory.mktemp("versions")
    first = synthetic.write_dataset(folder / "v1", WALKS[:4], cpu="old")
    split = Split(train=(0, 1, 4), validation=(2,), test=(3, 5))
    changed = [WALKS[0], WALKS[1] + 1, *WALKS[2:]]
    second = synthetic.write_dataset(folder / "v2", changed, name="toy-pendulum/synthetic-v2", split=split, cpu="new")
    return first, second


def sizes(dataset, *trials):
    return sum((dataset.folder / dataset.manifest.trials[trial].path).stat().st_size for trial in trials)


def test_trials_are_compared_by_their_bytes_and_parts_and_all_else_by_field(versions):
    first, second = versions
    found = difference(first.manifest, second.manifest)
    assert (found.shared, found.changed, found.added, found.removed) == ([0, 2, 3], [1], [4, 5], [])
    assert first.manifest.split == Split(train=(0, 1), validation=(2,), test=(3,))
    assert found.moved == {}
    assert found.fields == {
        "collection.trials": (4, 6),
        "cpu": ("old", "new"),
        "name": ("toy-pendulum/synthetic-v1", "toy-pendulum/synthetic-v2"),
    }
    assert (found.shared_bytes, found.new_bytes) == (sizes(second, 0, 2, 3), sizes(second, 1, 4, 5))


def test_the_way_back_swaps_everything(versions):
    first, second = versions
    there, back = difference(first.manifest, second.manifest), difference(second.manifest, first.manifest)
    assert (back.shared, back.changed, back.added, back.removed) == (there.shared, there.changed, [], there.added)
    assert back.fields == {name: (new, old) for name, (old, new) in there.fields.items()}
    assert (back.shared_bytes, back.new_bytes) == (sizes(first, 0, 2, 3), sizes(first, 1))


def test_nothing_changed_from_a_version_to_itself(versions):
    manifest = versions[0].manifest
    assert difference(manifest, manifest) == ManifestDifference(
        {}, [0, 1, 2, 3], [], [], [], {}, [], sizes(versions[0], *range(4)), 0
    )


def test_nothing_changes_by_migration(versions):
    manifest = versions[0].manifest
    former = manifest.model_copy(update={"format": 1, "sidecars": manifest.trials[:1]})
    assert difference(former, manifest) == difference(manifest, manifest)


def test_a_trial_in_another_part_has_moved(versions):
    manifest = versions[0].manifest
    other = manifest.model_copy(update={"split": Split(train=(0, 2), validation=(3,), test=(1,))})
    assert difference(manifest, other).moved == {
        1: ("train", "test"),
        2: ("validation", "train"),
        3: ("test", "validation"),
    }


def test_fields_that_only_one_of_both_has_are_told_beside_nothing(versions):
    manifest = versions[0].manifest
    other = manifest.model_copy(update={"extends": Origin(name="a/b-v1", digest="0" * 64), "versions": {"torch": "2"}})
    fields = difference(manifest, other).fields
    assert fields["extends.name"] == (None, "a/b-v1")
    assert fields["versions.torch"] == (None, "2")
    assert fields["versions.numpy"] == (manifest.versions["numpy"], None)


def test_a_trial_that_stands_elsewhere_in_the_other_version_counts_as_bytes_that_are_there(versions):
    manifest = versions[0].manifest
    found = difference(manifest, manifest.model_copy(update={"trials": manifest.trials[::-1]}))
    assert (found.shared, found.changed, found.new_bytes) == ([], [0, 1, 2, 3], 0)


def typed(*arguments):
    result = CliRunner().invoke(main, ["datasets", "diff", *map(str, arguments)], env={"COLUMNS": "1000"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_tells_every_change_in_words(versions):
    first, second = versions
    lines = typed(first.folder, second.folder).splitlines()
    printed = [" ".join(line.split()) for line in lines]
    assert printed[0] == (f"{first.name} ({first.digest[:12]}) -> {second.name} ({second.digest[:12]})")
    assert printed[1:] == [
        "collection.trials 4 -> 6",
        "cpu old -> new",
        "name toy-pendulum/synthetic-v1 -> toy-pendulum/synthetic-v2",
        "trials same bytes 0, 2-3",
        "trials changed 1",
        "trials added 4-5",
        f"{sizes(second, 0, 2, 3):,} bytes are shared, {sizes(second, 1, 4, 5):,} are new",
    ]


def test_the_command_tells_moves_and_removals(versions, tmp_path):
    first, second = versions
    printed = " ".join(typed(second.folder, first.folder).split())
    assert "trials removed 4-5" in printed
    moved = synthetic.write_dataset(
        tmp_path / "moved", WALKS[:4], split=Split(train=(0, 2), validation=(1,), test=(3,))
    )
    printed = " ".join(typed(first.folder, moved.folder).split())
    assert "trials moved 1 (train to validation), 2 (validation to train)" in printed


def test_the_command_has_the_same_as_json(versions):
    first, second = versions
    found = difference(first.manifest, second.manifest)
    shown = json.loads(typed(first.folder, second.folder, "--json"))
    assert shown == json.loads(json.dumps(vars(found)))
    assert shown["fields"]["collection.trials"] == [4, 6]


def test_a_dataset_that_is_not_there_is_named(versions):
    result = CliRunner().invoke(main, ["datasets", "diff", str(versions[0].folder), "no-such/set-v1"])
    assert result.exit_code == 2
    assert "Unknown dataset 'no-such/set-v1'" in result.stderr
