"""What was fetched from places on the Hub, and what their revisions stood for."""

from __future__ import annotations

import pytest
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.reference import HubLocation
from tipl_bench.registry.store import (
    commit_folder,
    known_revisions,
    remember_revision,
    repo_folder,
    snapshot_folder,
)
from tipl_bench.utils.errors import DatasetError

FIRST, SECOND = "a" * 40, "b" * 40
REPO = "someone/pendulum"


@pytest.fixture
def fetched(store):
    """A repository of which one commit was fetched."""
    commit_folder(REPO, FIRST).mkdir(parents=True)
    return repo_folder(REPO)


def test_nothing_is_known_of_a_repository_that_was_never_fetched(store):
    assert known_revisions(REPO) == {}
    assert snapshot_folder(HubLocation(REPO)) is None
    assert snapshot_folder(HubLocation(REPO, "v1")) is None
    assert not store.exists(), "looking must not create anything"


def test_a_revision_leads_to_the_commit_it_last_stood_for(fetched):
    remember_revision(HubLocation(REPO, "v1"), FIRST)
    remember_revision(HubLocation(REPO), FIRST)
    remember_revision(HubLocation(REPO, "main"), SECOND)
    assert known_revisions(REPO) == {"v1": FIRST, "main": SECOND}
    assert snapshot_folder(HubLocation(REPO, "v1")) == fetched / FIRST
    assert snapshot_folder(HubLocation(REPO)) == snapshot_folder(HubLocation(REPO, "main")) == fetched / SECOND


def test_a_commit_stands_for_itself_and_is_written_down_once_it_was_fetched(fetched):
    remember_revision(HubLocation(REPO, SECOND), SECOND)
    assert known_revisions(REPO) == {SECOND: SECOND}
    assert snapshot_folder(HubLocation(REPO, FIRST)) == fetched / FIRST


def test_repositories_have_folders_of_their_own(fetched):
    remember_revision(HubLocation(REPO, "v1"), FIRST)
    for other in ("someone/pendulum-2", "someone-pendulum/x", "other/pendulum"):
        assert repo_folder(other) != fetched
        assert known_revisions(other) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '"main"', "null", '{"main": 3}', '{"main": "../../elsewhere"}', '{"main": "a", "main": "b"}',
     f'{{"main": "{FIRST}\\n"}}', f'{{"main": ["{FIRST}"]}}'],
)  # fmt: skip
def test_when_what_was_written_down_is_damaged_then_the_file_and_the_way_out_are_named(text, fetched):
    path = fetched / "revisions.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match="remove this file to have revisions looked up again") as caught:
        snapshot_folder(HubLocation(REPO))
    assert str(path) in str(caught.value)


def test_when_a_place_was_not_fetched_then_the_command_that_does_is_named(fetched):
    with pytest.raises(DatasetError, match=f"tipl-bench datasets download hf://datasets/{REPO}@v1"):
        load_dataset(f"hf://datasets/{REPO}@v1", download=False)
    with pytest.raises(DatasetError, match="is not on this machine"):
        load_dataset(f"hf://datasets/{REPO}@{FIRST}", download=False)


def test_a_fetched_place_is_opened_by_its_revision_and_by_its_commit(dataset, store):
    dataset.folder.rename(store_of(FIRST))
    remember_revision(HubLocation(REPO, "v1"), FIRST)
    for revision in ("v1", FIRST):
        assert load_dataset(f"hf://datasets/{REPO}@{revision}", download=False).digest == dataset.digest


def store_of(commit):
    folder = commit_folder(REPO, commit)
    folder.parent.mkdir(parents=True)
    return folder
