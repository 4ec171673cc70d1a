"""Repositories that one may not have: said for what they are, with the account and the way in; never with the token."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers.hub import Status
from helpers.hub.client import connect
from helpers.hub_commands import PLACE, REPO, published
from tipl_bench.cli import main
from tipl_bench.registry.hub.publish import publish
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import HubError

TOKENS = ("hf_alice", "hf_bob", "hf_reader", "hf_nobody", "hf_grüße")


@pytest.fixture
def gated(hub, dataset):
    """The tiny collection in a gated repository of alice's."""
    repository = hub.create(REPO, gated=True)
    published(dataset)
    return repository


def refused(reference: str = PLACE) -> str:
    """What loading it says; that holds no token."""
    with pytest.raises(HubError) as caught:
        load_dataset(reference)
    told = str(caught.value)
    assert not any(token in told for token in TOKENS)
    shown = CliRunner().invoke(main, ["-v", "datasets", "download", reference])
    assert shown.exit_code == 1
    assert not any(token in shown.output for token in TOKENS)
    return told


def test_when_a_repository_is_gated_then_a_stranger_is_told_to_log_in_and_where_to_ask(hub, gated, monkeypatch):
    connect(monkeypatch, hub, None)
    told = refused()
    assert "the repository is gated and you are not logged in: run `hf auth login`" in told
    assert f"Ask for access at {hub.url}/datasets/{REPO}" in told


def test_when_a_repository_is_gated_then_the_account_is_named(hub, gated, dataset, monkeypatch):
    connect(monkeypatch, hub, "hf_bob")
    told = refused()
    assert "the repository is gated and 'bob', as whom you are logged in, has no access" in told
    assert f"Ask for it at {hub.url}/datasets/{REPO}" in told
    assert "you are not in the authorized list" in told
    gated.grant("bob")
    assert load_dataset(PLACE).digest == dataset.digest


def test_when_the_account_cannot_be_looked_up_then_the_rest_is_said(hub, gated, monkeypatch):
    connect(monkeypatch, hub, "hf_bob")
    monkeypatch.setattr("huggingface_hub.hf_api.api._whoami_cache", {})
    hub.faults.add("GET /api/whoami-v2", Status(429))
    assert "the repository is gated and your account has no access" in refused()


def test_when_a_repository_is_private_then_the_account_that_may_not_see_it_is_named(hub, dataset, monkeypatch):
    hub.create(REPO, private=True)
    published(dataset)
    connect(monkeypatch, hub, "hf_bob")
    assert "no such dataset repository, or it is private and 'bob', as whom you are logged in, may not see" in refused()
    connect(monkeypatch, hub, None)
    assert "or it is private and you are not logged in: run `hf auth login`" in refused()


def test_when_a_token_is_invalid_then_it_is_said_and_where_it_comes_from(hub, place, monkeypatch):
    home = connect(monkeypatch, hub, "hf_nobody")
    assert "does not accept your access token" in (told := refused())
    assert "correct or unset HF_TOKEN" in told
    connect(monkeypatch, hub, None)
    home.mkdir(parents=True, exist_ok=True)
    (home / "token").write_text("hf_nobody")
    assert "run `hf auth login --force`" in refused()


@pytest.mark.parametrize("token", ["hf_grüße", "hf_\x01nobody"])
def test_when_a_token_is_no_header_then_it_is_not_printed(hub, place, monkeypatch, token):
    connect(monkeypatch, hub, token)
    assert "nobody" not in refused()


def test_when_a_repository_is_disabled_then_it_is_said(hub, place):
    hub.repository(REPO).disable()
    assert "the Hub has disabled this repository" in refused()


def test_when_a_token_may_only_read_then_publishing_names_the_account(hub, dataset, monkeypatch):
    hub.create(REPO)
    for token, name in (("hf_reader", "alice"), ("hf_bob", "bob")):
        connect(monkeypatch, hub, token)
        with pytest.raises(HubError, match=rf"'{name}', as whom you are logged in, may not do this there \(403"):
            publish(dataset, REPO)


def test_when_a_stranger_publishes_then_the_login_is_named(hub, dataset, monkeypatch):
    connect(monkeypatch, hub, None)
    with pytest.raises(HubError, match="hf auth login"):
        publish(dataset, REPO)


def test_when_a_repository_was_renamed_then_both_names_work(hub, dataset, place, caplog):
    hub.rename(REPO, "lab/small")
    assert load_dataset(PLACE).digest == dataset.digest
    assert "was renamed to lab/small" in caplog.text
    assert load_dataset("hf://datasets/lab/small@v1").digest == dataset.digest
    result = CliRunner().invoke(main, ["datasets", "show", f"{PLACE}@v1", "--json"])
    assert json.loads(result.stdout)["digest"] == dataset.digest


def test_when_a_repository_was_renamed_then_publishing_goes_to_its_new_name(hub, dataset, place):
    hub.rename(REPO, "lab/small")
    dataset.manifest.model_copy(update={"name": "inverted-pendulum/tiny-v2"}).write(dataset.folder)
    later = type(dataset).open(dataset.folder)
    location = published(later)
    assert location.repo == "lab/small"
    assert hub.repository("lab/small").resolve("v2") == location.revision
