"""References: names, versions, commits, folders and addresses on the Hub, with hostile text."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.registry.loading import load_dataset, parse_reference
from tipl_bench.registry.reference import (
    DatasetRef,
    HubLocation,
    family,
    is_name,
    is_repo,
    parse_hub,
    parse_name,
    version_number,
)
from tipl_bench.utils.errors import DatasetError

COMMIT = "0123456789abcdef" * 2 + "01234567"
words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
slugs = st.lists(words, min_size=1, max_size=3).map("-".join)
bases = st.builds("{}/{}".format, slugs, slugs)
versions = st.integers(1, 9999)
hostile = st.text(max_size=30) | st.text("ab/-.@v01_\n\r\0 ~\\", max_size=30)
control = st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Zs"])


@given(bases, versions, st.text("0123456789abcdef", min_size=40, max_size=40))
def test_a_version_may_be_written_in_each_of_its_forms(base, number, commit):
    name = f"{base}-v{number}"
    assert is_name(name)
    assert (family(name), version_number(name)) == (base, number)
    assert parse_name(name, []) == (name, None)
    assert parse_name(f"{base}@v{number}", []) == (name, None)
    assert parse_name(f"{name}@v{number}", []) == (name, None)
    assert parse_name(f"{name}@{commit}", []) == (name, commit)


@given(bases, st.sets(versions, min_size=1), st.sets(versions))
def test_a_name_without_a_version_is_the_newest_known_by_number(base, numbers, others):
    known = (
        [f"{base}-v{n}" for n in numbers] + [f"{base}-more-v{n}" for n in others] + [f"x{base}-v{n}" for n in others]
    )
    assert parse_name(base, known) == (f"{base}-v{max(numbers)}", None)


def test_version_ten_is_newer_than_version_nine():
    assert parse_name("a/b", ["a/b-v9", "a/b-v10", "a/b-c-v11"]) == ("a/b-v10", None)


def test_a_name_none_of_whose_versions_is_known_stands_for_nothing():
    assert parse_name("a/b", ["a/c-v1", "a/b-c-v1"]) is None


@given(bases, versions, versions)
def test_two_versions_that_differ_are_refused_with_both(base, one, other):
    if one != other:
        with pytest.raises(DatasetError, match=f"names two versions, v{one} and v{other}; give one"):
            parse_name(f"{base}-v{one}@v{other}", [])


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "main",
        "V1",
        "1",
        "v",
        "v1 ",
        "v1\n",
        "v1@v1",
        COMMIT[:-1],
        f"{COMMIT}0",
        COMMIT.upper(),
        f"{COMMIT}\n",
        "../x",
    ],
    ids=repr,
)
def test_what_follows_a_version_is_a_commit_or_refused(revision):
    with pytest.raises(DatasetError, match=r"neither a version \(v1, v2, \.\.\.\) nor a 40-hex commit"):
        parse_name(f"a/b-v1@{revision}", ["a/b-v1"])


@pytest.mark.parametrize(
    "text",
    ["a/b@", "a/b@v0", "a/b@v01", "a/b@v1\n", "a/b\n", "\na/b", "a/b@x-v1", "a/b@v1-v1", f"a/b@{COMMIT}", "a/b@@v1",
     "a/b-v1\n", "a/b-v1/", "./a/b-v1", "../a/b-v1", "/a/b-v1", "a/b/c-v1", "a/../b-v1", "A/b-v1", "a/b-v1\0", ""],
    ids=repr,
)  # fmt: skip
def test_what_has_none_of_the_forms_stands_for_nothing(text):
    assert parse_name(text, ["a/b-v1", "a/b-x-v1", "a/b-v1-v1", "a/b-v10"]) is None


@given(hostile, st.sets(bases.map("{}-v1".format)))
def test_any_text_is_a_proper_name_or_nothing_or_refused(text, known):
    try:
        found = parse_name(text, known)
    except DatasetError as error:
        assert repr(text) in str(error)  # noqa: PT017 - being refused is one of three good ends
        return
    if found is not None:
        name, commit = found
        assert is_name(name)
        assert name in known or family(name) == text.partition("@")[0] or text.startswith(name)
        assert commit is None or text == f"{name}@{commit}"


@given(bases, versions, control, st.data())
def test_a_control_character_or_space_anywhere_makes_a_name_none(base, number, character, data):
    name = f"{base}-v{number}"
    place = data.draw(st.integers(0, len(name)))
    spoiled = name[:place] + character + name[place:]
    assert not is_name(spoiled)
    assert parse_name(spoiled, [name]) is None


@given(hostile)
def test_a_name_never_leads_out_of_a_folder(text):
    if is_name(text):
        assert text.isascii()
        assert text.count("/") == 1
        assert not {"", ".", ".."} & set(text.split("/"))


owners = st.text(string.ascii_letters + string.digits + "-._/", min_size=1, max_size=12)


@given(owners | st.builds("{}/{}".format, owners, owners) | hostile)
def test_whatever_passes_for_a_repository_does_so_at_the_hub(text):
    if is_repo(text):
        validate_repo_id(text)
        assert text.count("/") == 1


@pytest.mark.parametrize(
    "repo", ["o/n-", "o/n.", "o-/n", "o./n", "o/n.git", "o/a--b", "o--p/n", "o/a..b", "../n", "o/..", "o/n\n", "o/-n"]
)
def test_what_the_hub_refuses_is_no_repository(repo):
    assert not is_repo(repo)
    with pytest.raises(HFValidationError):
        validate_repo_id(repo)


@pytest.mark.parametrize("repo", ["o/n", "O-1/N.2_x", "o/n_", f"o/{'n' * 96}", "0/1"])
def test_ordinary_repositories_are(repo):
    validate_repo_id(repo)
    assert is_repo(repo)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://datasets/o/n", HubLocation("o/n")),
        ("hf://datasets/o/n@v1", HubLocation("o/n", "v1")),
        (f"hf://datasets/o/n@{COMMIT}", HubLocation("o/n", COMMIT)),
        ("hf://datasets/o/n@refs/pr/3", HubLocation("o/n", "refs/pr/3")),
        ("hf://datasets/o/n@a--b", HubLocation("o/n", "a--b")),
    ],
)
def test_a_place_on_the_hub_is_read_and_written_alike(text, expected):
    assert parse_hub(text) == expected
    assert str(expected) == text
    assert expected.pinned == (expected.revision == COMMIT)


@pytest.mark.parametrize("revision", [COMMIT.upper(), COMMIT[:-1], f"{COMMIT}\n", "v1", None])
def test_only_a_whole_commit_pins(revision):
    assert not HubLocation("o/n", revision).pinned


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://o/n", "hf://models/o/n", "hf://datasets/n", "hf://datasets/o/n/x", "hf://datasets/o/n@",
     "hf://datasets/o/n\n", "hf://datasets/o/n@v1\n", "hf://datasets/o/n@a..b", "hf://datasets/../n",
     "HF://datasets/o/n", " hf://datasets/o/n", "hf://datasets/o/n@-x", "hf://datasets/o/n@v1@v1",
     "hf://datasets/o/a--b", "hf://datasets/o/n?x=1"],
)  # fmt: skip
def test_another_place_is_refused_with_the_form(text):
    with pytest.raises(DatasetError, match="hf://datasets/OWNER/NAME@REVISION") as caught:
        parse_hub(text)
    assert repr(text) in str(caught.value)


@given(hostile)
def test_a_revision_of_any_text_never_leads_elsewhere(revision):
    try:
        location = parse_hub(f"hf://datasets/o/n@{revision}")
    except DatasetError:
        return
    assert location.repo == "o/n"
    assert ".." not in location.revision
    assert location.revision.isprintable()


# What a text refers to on this machine

BUNDLED = "inverted-pendulum/ppo-head-v1"


@pytest.mark.parametrize("text", [BUNDLED, "inverted-pendulum/ppo-head", "inverted-pendulum/ppo-head@v1"])
def test_each_form_of_a_known_name_is_the_same_reference(text):
    reference = parse_reference(text)
    assert reference == DatasetRef(name=BUNDLED)
    assert (reference.kind, reference.version, str(reference)) == ("name", 1, BUNDLED)
    assert load_dataset(reference).digest == load_dataset(text).digest


def test_a_published_name_carries_where_it_is_published(store):
    store.mkdir()
    digest = "0" * 64
    entry = f'["a/b-v2"]\nenvironment = "E-v1"\nsummary = ""\ndigest = "{digest}"\nrepo = "o/n"\ncommit = "{COMMIT}"\n'
    (store / "catalog.toml").write_text(entry)
    other = "f" * 40
    assert parse_reference("a/b") == DatasetRef(name="a/b-v2", location=HubLocation("o/n", COMMIT))
    assert parse_reference(f"a/b-v2@{other}") == DatasetRef(name="a/b-v2", location=HubLocation("o/n", other))
    with pytest.raises(DatasetError, match="is not published, as far as the catalog knows; leave out the commit"):
        parse_reference(f"{BUNDLED}@{other}")


@pytest.mark.parametrize(("revision", "version"), [("", None), ("@v3", 3), ("@main", None), (f"@{COMMIT}", None)])
def test_an_address_is_a_reference_of_its_own(revision, version):
    text = f"hf://datasets/o/n{revision}"
    reference = parse_reference(text)
    assert reference == DatasetRef(location=parse_hub(text))
    assert (reference.kind, reference.version, str(reference)) == ("hub", version, text)


def test_a_folder_with_a_manifest_is_a_path_even_if_it_looks_like_a_name(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("inverted-pendulum").mkdir()
    Path("inverted-pendulum/ppo-head").symlink_to(dataset.folder)
    for text in (str(dataset.folder), "inverted-pendulum/ppo-head"):
        reference = parse_reference(text)
        assert (reference.kind, reference.path, reference.version) == ("path", Path(text), None)
        assert load_dataset(reference).digest == dataset.digest
    assert parse_reference(BUNDLED).kind == "name", "a whole name is never a path"


@pytest.mark.parametrize(
    "fields",
    [{}, {"name": "a/b-v1", "path": Path("x")}, {"path": Path("x"), "location": HubLocation("o/n")}],
    ids=str,
)
def test_a_reference_to_nothing_or_to_two_things_cannot_be_made(fields):
    with pytest.raises(ValueError, match="either a path, or a name, a location or both"):
        DatasetRef(**fields)
