"""The manifest: its digest, and what is refused in it."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from helpers.small_collections import edit_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tipl_bench.registry.catalog import identity_of
from tipl_bench.registry.collection_config import CollectionConfig
from tipl_bench.registry.files import FileEntry, TensorEntry
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.manifest import (
    COVERED,
    COVERED_ON_ANY_PROCESSOR,
    Manifest,
    Origin,
    Split,
    canonical_json,
    parse_manifest,
    read_manifest,
    strict_json,
)
from tipl_bench.registry.reference import is_name
from tipl_bench.rl.hyperparameters import PPOHyperparameters
from tipl_bench.utils.errors import DatasetError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=15,
)


def shuffled(value, stream):
    """The same JSON value with every object's keys in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, stream)) for key, item in value.items()]
        stream.shuffle(items)
        return dict(items)
    return [shuffled(item, stream) for item in value] if isinstance(value, list) else value


@given(json_values, st.randoms(use_true_random=False))
def test_canonical_json_is_independent_of_key_order_and_loses_nothing(value, stream):
    text = canonical_json(value)
    assert canonical_json(shuffled(value, stream)) == text
    assert strict_json(text) == value
    assert "\n" not in text


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', '{"b": {"a": 1, "a": 2}}', "[NaN]", "[Infinity]", "[-Infinity]", "[1e999]", "[-1e999]",
     '{"a": 1', "", "{'a': 1}", "[" * 100_000, "[" + "9" * 5000 + "]"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_strict_json_refuses(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the caller adds the file and shows any of the reasons
        strict_json(text)


def test_the_digest_is_the_sha256_of_the_files_own_content_in_canonical_form(collected):
    value = json.loads((collected.folder / "manifest.json").read_text(encoding="utf-8"))
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert collected.digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_does_not_depend_on_key_order_or_spaces(dataset):
    digest, path = dataset.digest, dataset.folder / "manifest.json"
    path.write_text(json.dumps(shuffled(json.loads(path.read_text()), random.Random(0)), indent=7))
    assert read_manifest(dataset.folder).digest == digest


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(licence="CC0-1.0"),
        lambda m: m["collection"]["hyperparameters"].update(gamma=0.98),
        lambda m: m["trial_seeds"].reverse(),
        lambda m: m["trials"].reverse(),
        lambda m: m["split"].update(train=[1, 0]),
        lambda m: m["versions"].update(numpy="1.0"),
        lambda m: m["trials"][0].update(sha256="0" * 64),
    ],
)
def test_any_other_statement_has_another_digest(dataset, change):
    digest = dataset.digest
    edit_manifest(dataset.folder, change)
    assert read_manifest(dataset.folder).digest != digest


HEX = "0123456789abcdef" * 4


class Longer(Manifest):
    """The manifest as a later version may have it: with another optional field."""

    note: str | None = None


class LongerHyperparameters(PPOHyperparameters):
    weight_decay: float = 0.0


@pytest.mark.parametrize("format", [1, 2])
def test_a_field_that_the_model_gains_later_changes_no_digest(collected, format):
    manifest = collected.manifest.model_copy(update={"format": format})
    longer = Longer.model_validate(manifest.model_dump() | {"note": "hello"})
    longer_settings = LongerHyperparameters(**manifest.collection.hyperparameters.model_dump(), weight_decay=0.1)
    deeper = manifest.model_copy(
        update={"collection": manifest.collection.model_copy(update={"hyperparameters": longer_settings})}
    )
    for other in (longer, deeper):
        assert (other.digest, other.former_digest) == (manifest.digest, manifest.former_digest)


def test_a_digest_covers_package_versions_and_processor_where_they_decide_bytes(collected):
    for version, same in ((1, False), (2, False), (3, True)):
        collection = collected.manifest.collection.model_copy(update={"version": version})
        manifest = collected.manifest.model_copy(update={"collection": collection})
        for other in ({"cpu": "another"}, {"versions": {"torch": "9.9"}}):
            assert (manifest.model_copy(update=other).digest == manifest.digest) is same


@pytest.mark.parametrize("field", [{"cpu": "\x1b[2J"}, {"versions": {"torch": "9\n"}}, {"cpu": "x" * 501}])
def test_what_no_digest_covers_is_short_and_seen(collected, field):
    with pytest.raises(
        DatasetError, match=r"field (cpu|versions\.torch): (holds the unseen|String should have at most)"
    ):
        parse_manifest(json.dumps(json.loads(collected.manifest.to_json()) | field), "here")


def altered(value, draw):
    """The value with one scalar somewhere in it replaced by another of its type."""
    if isinstance(value, BaseModel):
        own_tests = {"format", "sidecars", "method", "iterations_trained", "made_from"}
        field = draw(st.sampled_from(sorted({*type(value).model_fields} - own_tests)))
        return value.model_copy(update={field: altered(getattr(value, field), draw)})
    if isinstance(value, tuple | dict):
        items = dict(enumerate(value)) if isinstance(value, tuple) else value
        key = draw(st.sampled_from(list(items)))
        items = items | {key: altered(items[key], draw)}
        return tuple(items.values()) if isinstance(value, tuple) else items
    if value is None:
        return Origin(name="a/b-v1", digest=HEX)
    return {bool: lambda: not value, str: lambda: value + "x"}.get(type(value), lambda: value + 1)()


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_on_any_processor_the_digest_changes_with_all_but_where_the_trials_were_made(collected, data):
    collection = collected.manifest.collection.model_copy(update={"version": 3})
    manifest = collected.manifest.model_copy(update={"collection": collection})
    other = altered(manifest, data.draw)
    made_elsewhere = other.model_copy(update={"versions": manifest.versions, "cpu": manifest.cpu}) == manifest
    assert (other.digest == manifest.digest) is made_elsewhere


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_both_digests_change_with_whatever_the_manifest_states(collected, data):
    manifest = collected.manifest.model_copy(update={"format": 1, "cut_from": Origin(name="a/b-v1", digest=HEX[::-1])})
    other = altered(manifest, data.draw)
    assert other.digest != manifest.digest
    assert other.former_digest != manifest.former_digest


def test_the_version_of_a_collection_is_part_of_its_digest(collected):
    second = collected.manifest.collection.model_copy(update={"version": 2})
    assert collected.manifest.model_copy(update={"collection": second}).digest != collected.digest
    assert "version" not in json.loads(collected.manifest.to_json())["collection"]


def test_sidecars_change_the_digest_of_format_1_alone(collected):
    manifest = collected.manifest.model_copy(update={"format": 1})
    other = manifest.model_copy(update={"sidecars": manifest.trials[:1]})
    assert other.digest == manifest.digest == collected.digest
    assert other.former_digest != manifest.former_digest
    assert collected.former_digest is None


def test_format_2_lists_no_sidecars(dataset):
    edit_manifest(dataset.folder, lambda m: m.update(sidecars=[m["trials"][0] | {"path": "x.safetensors"}]))
    with pytest.raises(DatasetError, match="only format 1 lists sidecars"):
        read_manifest(dataset.folder)


@pytest.mark.parametrize(
    "model", [Manifest, CollectionConfig, PPOHyperparameters, Split, FileEntry, TensorEntry, Origin]
)
def test_every_field_is_covered_by_format_2_or_known_not_to_be(model):
    """A field that is added must be decided upon: it stays uncovered, or there is a format 3."""
    covered = COVERED[2]
    fields = {
        Manifest: {*covered, "sidecars", "made_from"},
        CollectionConfig: {*COVERED_ON_ANY_PROCESSOR["collection"]},
        PPOHyperparameters: covered["collection"]["hyperparameters"],
        Split: covered["split"],
        FileEntry: {*covered["trials"]["__all__"]},
        TensorEntry: covered["trials"]["__all__"]["tensors"]["__all__"],
        Origin: covered["extends"],
    }
    assert {*model.model_fields} == fields[model]


def test_a_manifest_survives_writing_and_reading(collected, tmp_path):
    collected.manifest.write(tmp_path)
    assert read_manifest(tmp_path) == collected.manifest
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["manifest.json"]


def test_a_manifest_cannot_be_changed_in_place(collected):
    with pytest.raises(ValueError, match="frozen"):
        collected.manifest.name = "other/name-v1"


def other_trial(manifest, **changes):
    manifest["trials"][1].update(changes)


REFUSED = {
    "an unknown field": (lambda m: m.update(note="hello"), "field note: no such field"),
    "an unknown field of a file": (lambda m: other_trial(m, url="x"), "field trials.1.url: no such field"),
    "an unknown hyperparameter": (
        lambda m: m["collection"]["hyperparameters"].update(entropy=0.1),
        "field collection.hyperparameters.entropy: no such field",
    ),
    "a missing field": (lambda m: m.pop("licence"), "field licence: is missing"),
    "another format": (lambda m: m.update(format=3), "field format"),
    "another activation": (lambda m: m.update(activation="relu"), "field activation"),
    "a name with capitals": (lambda m: m.update(name="InvertedPendulum/ppo-v1"), "field name"),
    "a name without version": (lambda m: m.update(name="inverted-pendulum/ppo"), "field name"),
    "a name ending in a newline": (lambda m: m.update(name="inverted-pendulum/ppo-v1\n"), "field name"),
    "a name leading out": (lambda m: m.update(name="../ppo-v1"), "field name"),
    "a path leading out": (lambda m: other_trial(m, path="../trial.safetensors"), "not a plain relative path"),
    "a path leading out later": (lambda m: other_trial(m, path="trials/../../x"), "not a plain relative path"),
    "an absolute path": (lambda m: other_trial(m, path="/etc/passwd"), "not a plain relative path"),
    "a Windows path": (lambda m: other_trial(m, path="trials\\x"), "not a plain relative path"),
    "a path of nothing": (lambda m: other_trial(m, path=""), "not a plain relative path"),
    "a path of a dot": (lambda m: other_trial(m, path="."), "not a plain relative path"),
    "a path with a dot inside": (lambda m: other_trial(m, path="trials/./x"), "not a plain relative path"),
    "a hidden folder": (lambda m: other_trial(m, path=".staging/x.safetensors"), "not a plain relative path"),
    "a hidden file": (lambda m: other_trial(m, path="trials/.x.safetensors"), "not a plain relative path"),
    "a path with a NUL": (lambda m: other_trial(m, path="trials/a\0b.safetensors"), "not a plain relative path"),
    "a path ending in a newline": (lambda m: other_trial(m, path="x.safetensors\n"), "not a plain relative path"),
    "a path with a space": (lambda m: other_trial(m, path="a b.safetensors"), "not a plain relative path"),
    "a path ending in a slash": (lambda m: other_trial(m, path="x.safetensors/"), "not a plain relative path"),
    "the manifest itself": (lambda m: other_trial(m, path="manifest.json"), "not the name of a .safetensors file"),
    "a file in derived data": (
        lambda m: other_trial(m, path="derived/p1/x.safetensors"),
        "kept for derived data",
    ),
    "a file listed twice": (lambda m: other_trial(m, path=m["trials"][0]["path"]), "a file is listed twice"),
    "a size of nothing": (lambda m: other_trial(m, size=0), "field trials.1.size"),
    "a negative size": (lambda m: other_trial(m, size=-1), "field trials.1.size"),
    "a size beyond any disk": (lambda m: other_trial(m, size=2**41), "field trials.1.size"),
    "a short sha256": (lambda m: other_trial(m, sha256=HEX[:-1]), "field trials.1.sha256"),
    "a sha256 in capitals": (lambda m: other_trial(m, sha256=HEX.upper()), "field trials.1.sha256"),
    "an unknown dtype": (
        lambda m: m["trials"][1]["tensors"]["weights"].update(dtype="float16"),
        "field trials.1.tensors.weights.dtype",
    ),
    "a negative dimension": (
        lambda m: m["trials"][1]["tensors"]["weights"].update(shape=[-21, 46]),
        "field trials.1.tensors.weights.shape.0",
    ),
    "no checkpoints": (lambda m: m.update(checkpoints=0), "field checkpoints"),
    "a trial in no part of the split": (lambda m: m["split"].update(train=[0]), "each of the 5 trials once"),
    "a trial in two parts": (lambda m: m["split"].update(validation=[1, 2]), "each of the 5 trials once"),
    "a trial that is not there": (lambda m: m["split"].update(test=[3, 4, 5]), "each of the 5 trials once"),
    "nothing to test on": (lambda m: m["split"].update(train=[0, 1, 3, 4], test=[]), "field split.test"),
    "a seed too few": (lambda m: m["trial_seeds"].pop(), "4 trial seeds for 5 trials"),
    "another layout": (lambda m: m["parameters"].update(log_std=[2]), "not those of the layout"),
    "another observation size": (lambda m: m.update(observation_size=5), "not those of the layout"),
    "no hidden layer": (lambda m: m["collection"].update(hidden_sizes=[]), "field collection.hidden_sizes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_manifest_that_breaks_a_rule_is_refused_with_the_field_and_the_reason(dataset, what):
    change, reason = REFUSED[what]
    edit_manifest(dataset.folder, change)
    with pytest.raises(DatasetError) as caught:
        read_manifest(dataset.folder)
    assert f"{dataset.folder / 'manifest.json'}: " in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused(dataset, number):
    path = dataset.folder / "manifest.json"
    text = path.read_text()
    assert '"max_gradient_norm": 0.5' in text
    path.write_text(text.replace('"max_gradient_norm": 0.5', f'"max_gradient_norm": {number}'))
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        read_manifest(dataset.folder)


def test_text_that_has_no_utf8_form_is_refused(dataset):
    edit_manifest(dataset.folder, lambda m: m.update(cpu="\ud800"))
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        read_manifest(dataset.folder)


def test_a_repeated_key_is_refused(dataset):
    path = dataset.folder / "manifest.json"
    path.write_text(path.read_text().replace('"licence": "MIT"', '"licence": "MIT", "licence": "GPL"'))
    with pytest.raises(DatasetError, match="repeats a key"):
        read_manifest(dataset.folder)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("inverted-pendulum/ppo-v1", True),
        ("half-cheetah/ppo-mini-v1234", True),
        ("a/b-v9", True),
        ("env2d/ppo2-v1", True),
        ("a/b", False),
        ("a/b-v0", False),
        ("a/b-v01", False),
        ("a/b-v12345", False),
        ("a/b-v1/c", False),
        ("a/b-v1 ", False),
        ("a/b-v1\n", False),
        ("\na/b-v1", False),
        ("A/b-v1", False),
        ("a--b/c-v1", False),
        ("-a/b-v1", False),
        ("a/-v1", False),
        ("a_b/c-v1", False),
        ("../b-v1", False),
        ("/b-v1", False),
        ("a/é-v1", False),
        ("", False),
    ],
)
def test_names_are_environment_collection_version(name, valid):
    assert is_name(name) is valid


def test_a_manifest_from_python_follows_the_same_rules_as_one_from_a_file(collected):
    with pytest.raises(ValueError, match="each of the 5 trials once"):
        Manifest.model_validate(
            collected.manifest.model_dump() | {"split": {"train": [0], "validation": [1], "test": [2]}}
        )


def test_the_bundled_dataset_keeps_both_digests():
    identity = identity_of(load_dataset("inverted-pendulum/ppo-head-v1", download=False))
    assert identity.digest == "d9f11bd315bca4b01c01cba20fea2b3c7e84ee0c762c173c08ce10d744b01c65"
    assert identity.former_digest == "9b686edc86d7b37e102c78204a493a88a48db6389d2aaeef7641098bd386819c"
    assert identity.first_digest == identity.former_digest


def test_what_a_version_extends_is_written_read_and_part_of_its_digest(collected, tmp_path):
    origin = Origin(name=collected.name, digest=collected.digest)
    changed = collected.manifest.model_copy(update={"extends": origin})
    changed.write(tmp_path)
    assert read_manifest(tmp_path).extends == origin
    assert read_manifest(tmp_path).digest == changed.digest != collected.digest
    other = changed.model_copy(update={"extends": Origin(name=collected.name, digest=HEX)})
    assert other.digest != changed.digest


CONTENT = 8 * (3 + 4)


def entry_of(size):
    """A file of two tensors, 56 bytes in all, that claims a size."""
    tensors = {name: {"dtype": "float64", "shape": [n], "sha256": HEX} for name, n in (("a", 3), ("b", 4))}
    return FileEntry.model_validate({"path": "x.safetensors", "size": size, "sha256": HEX, "tensors": tensors})


@pytest.mark.parametrize("header", [1, 10, 1000, 1 << 20, (1 << 20) + 8])
def test_a_file_is_its_tensors_and_a_header_of_at_most_a_mebibyte(header):
    assert entry_of(CONTENT + header).size == CONTENT + header


@pytest.mark.parametrize("header", [-CONTENT + 1, -1, 0, (1 << 20) + 9, 200_000_000])
def test_a_size_that_its_tensors_do_not_account_for_is_refused(header, dataset):
    with pytest.raises(ValueError, match=f"cannot be a header and tensors of {CONTENT} bytes"):
        entry_of(CONTENT + header)
    tensors = sum(t.nbytes for t in dataset.trial(1).tensors.values())
    edit_manifest(dataset.folder, lambda m: other_trial(m, size=tensors + header))
    if tensors + header > 0:
        with pytest.raises(DatasetError, match=r"manifest\.json: field trials\.1: .*cannot be a header"):
            read_manifest(dataset.folder)
