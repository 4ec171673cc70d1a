"""Publishing to a Hub: what is sent, what is refused, and what an interruption or a rival leaves."""

from __future__ import annotations

import json
import signal
import time

import datasets
import huggingface_hub
import numpy as np
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers.hub import Hang, Lose, Status
from helpers.hub.client import environment
from helpers.hub_commands import PLACE, REPO, command, finished, published
from helpers.small_collections import TINY
from tipl_bench.cli import main
from tipl_bench.registry.catalog import catalog
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.files import describe_file
from tipl_bench.registry.hub import publish as module
from tipl_bench.registry.hub.publish import publish
from tipl_bench.utils.errors import DatasetError, HubError


def renamed(dataset, name, **changes) -> Dataset:
    """The dataset under another name."""
    dataset.manifest.model_copy(update={"name": name, **changes}).write(dataset.folder)
    return Dataset.open(dataset.folder)


def altered(dataset) -> Dataset:
    """The dataset with one weight of trial 2 changed and its manifest made to agree."""
    path = dataset.folder / dataset.manifest.trials[2].path
    weights = dataset.trial(2).tensors["weights"]
    content = bytearray(path.read_bytes())
    content[weights.offset] ^= 1
    path.write_bytes(content)
    trials = list(dataset.manifest.trials)
    trials[2] = describe_file(dataset.folder, trials[2].path)
    return renamed(dataset, dataset.name, trials=tuple(trials))


def tags(repo=REPO):
    refs = huggingface_hub.HfApi().list_repo_refs(repo, repo_type="dataset")
    return {tag.name: tag.target_commit for tag in refs.tags}


def test_when_published_then_every_file_is_there_and_the_tag_is_on_the_commit(hub, dataset):
    location = published(dataset)
    repository = hub.repository(REPO)
    for entry in dataset.manifest.files:
        assert repository.read(entry.path, location.revision) == (dataset.folder / entry.path).read_bytes()
    assert json.loads(repository.read("manifest.json")) == json.loads(dataset.manifest.to_json())
    assert repository.read("returns.png").startswith(b"\x89PNG")
    assert tags() == {"v1": location.revision}


def test_when_published_then_load_dataset_reads_the_index(hub, dataset):
    location = published(dataset)
    index = datasets.load_dataset(REPO, "index", split="checkpoints", revision=location.revision)
    assert len(index) == len(dataset) * dataset.manifest.checkpoints
    row = index[dataset.manifest.checkpoints + 3]
    assert (row["trial"], row["checkpoint"], row["split"]) == (1, 3, "train")
    assert row["environment_steps"] == dataset.trial(1).columns["environment_steps"][3]
    np.testing.assert_equal(
        np.array(index["episodic_return"], dtype=np.float32),
        np.concatenate([trial.columns["episodic_return"] for trial in dataset.trials()]),
    )


def test_when_published_then_the_card_names_every_tensor_and_the_licence(hub, dataset):
    published(dataset)
    text = hub.repository(REPO).read("README.md").decode()
    data = huggingface_hub.DatasetCard(text).data
    assert data.license == "mit"
    assert data.configs[0]["config_name"] == "index"
    for name in dataset.manifest.trials[0].tensors:
        assert f"`{name}`" in text
    assert dataset.digest in text


def test_when_it_is_a_dry_run_then_it_says_what_would_change_and_nothing_does(hub, stored):
    result = CliRunner().invoke(main, ["datasets", "publish", TINY, "--repo", REPO, "--dry-run"])
    assert result.exit_code == 0, result.output
    for entry in stored.manifest.files:
        assert f"+ {entry.path} ({entry.size:,} bytes)" in result.output
    assert f"+ dataset repository {REPO}" in result.output
    assert "+ tag v1" in result.output
    assert not hub.calls("^(PUT|POST)")


def test_when_published_again_then_nothing_is_sent_and_the_same_commit_is_told(hub, dataset):
    first = published(dataset)
    hub.forget()
    assert published(dataset) == first
    assert not hub.calls("^PUT|/commit/")


def test_the_catalog_entry_it_prints_is_one(hub, stored, store):
    result = CliRunner().invoke(main, ["datasets", "publish", TINY, "--repo", REPO])
    assert result.exit_code == 0, result.output
    (store / "catalog.toml").write_text(result.output.partition("The catalog entry:\n\n")[2])
    entry = catalog()[TINY]
    assert (entry.repo, entry.digest, entry.commit) == (REPO, stored.digest, tags()["v1"])
    assert entry.environment == stored.environment


def test_when_a_file_is_damaged_then_it_is_named_and_nothing_is_sent(hub, dataset):
    path = dataset.folder / dataset.manifest.trials[1].path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"trial-0001.*episodic_return"):
        publish(dataset, REPO)
    assert not hub.log


def test_when_the_version_has_other_content_then_it_is_not_overwritten(hub, dataset):
    first = published(dataset)
    digest = dataset.digest
    with pytest.raises(DatasetError, match=r"never overwritten.*tiny-v2") as caught:
        publish(altered(dataset), REPO)
    assert digest in str(caught.value)
    assert tags() == {"v1": first.revision}
    assert hub.repository(REPO).resolve("main") == first.revision


def test_when_only_the_tag_is_left_of_a_version_then_it_is_not_moved(hub, dataset):
    first = published(dataset)
    gone = dict.fromkeys(("manifest.json", "README.md"))
    hub.repository(REPO).write(gone, "clear")
    with pytest.raises(DatasetError, match="never overwritten"):
        publish(altered(dataset), REPO)
    assert tags() == {"v1": first.revision}


def test_when_a_version_follows_then_only_what_is_new_is_sent_and_both_stay(hub, dataset):
    first = published(dataset)
    hub.forget()
    second = published(renamed(altered(dataset), "inverted-pendulum/tiny-v2"))
    sent = [call.path for call in hub.calls("^PUT")]
    assert len(sent) <= 3, "trial 2, index and figure"
    assert tags() == {"v1": first.revision, "v2": second.revision}
    old = json.loads(hub.repository(REPO).read("manifest.json", first.revision))
    assert old["name"].endswith("-v1")


def test_when_a_newer_version_is_there_then_an_older_one_is_refused(hub, dataset):
    published(renamed(dataset, "inverted-pendulum/tiny-v2"))
    with pytest.raises(DatasetError, match="is at inverted-pendulum/tiny-v2 already"):
        publish(renamed(dataset, "inverted-pendulum/tiny-v1"), REPO)


def test_when_the_repository_holds_another_dataset_then_it_is_refused(hub, dataset):
    published(dataset)
    with pytest.raises(DatasetError, match="needs a repository of its own"):
        publish(renamed(dataset, "inverted-pendulum/other-v1"), REPO)


def test_when_a_version_has_fewer_trials_then_the_old_ones_go_from_its_commit_alone(hub, dataset):
    first = published(dataset)
    hub.repository(REPO).write({"trials/trial-0009.safetensors": b"stray", "NOTES.md": b"kept"}, "stray")
    second = published(renamed(dataset, "inverted-pendulum/tiny-v2"))
    repository = hub.repository(REPO)
    assert "trials/trial-0009.safetensors" not in repository.entries(second.revision)
    assert repository.read("NOTES.md", second.revision) == b"kept"
    assert repository.read(dataset.manifest.trials[4].path, first.revision)


def test_when_files_are_many_then_they_come_in_parts_and_the_manifest_last(hub, dataset, monkeypatch):
    monkeypatch.setattr(module, "FILES_PER_COMMIT", 2)
    location = published(dataset)
    commits = huggingface_hub.HfApi().list_repo_commits(REPO, repo_type="dataset")
    titles = [commit.title for commit in commits]
    assert titles[:3] == [TINY, f"{TINY}: trials, part 2", f"{TINY}: trials, part 1"]
    assert "manifest.json" not in hub.repository(REPO).entries(commits[1].commit_id)
    assert tags() == {"v1": location.revision}


def test_when_the_answer_to_the_commit_is_lost_then_it_is_found_done(hub, dataset, no_waiting):
    hub.faults.add("POST /api/datasets/.*/commit/", Lose(), times=1)
    location = published(dataset)
    assert tags() == {"v1": location.revision}
    assert len(huggingface_hub.HfApi().list_repo_commits(REPO, repo_type="dataset")) == 2, "the first, and this one"


@pytest.mark.parametrize("status", [429, 503])
def test_when_the_hub_is_busy_then_publishing_waits_and_succeeds(hub, dataset, no_waiting, status):
    hub.faults.add("GET /api/datasets/.*/refs|PUT ", Status(status, retry_after=0), times=2)
    published(dataset)


def test_when_the_account_may_not_write_there_then_it_is_said(hub, dataset):
    with pytest.raises(HubError, match=r"403.*hf auth login"):
        publish(dataset, "bob/tiny")


def test_when_the_tag_was_taken_by_another_commit_in_between_then_it_is_not_moved(hub, dataset, monkeypatch):
    hub.create(REPO)
    commit = hub.repository(REPO).write({"a.txt": b"x"}, "a")
    original = module._commit

    def and_a_rival(plan, dataset):
        made = original(plan, dataset)
        hub.repository(REPO).move_tag("v1", commit)
        return made

    monkeypatch.setattr(module, "_commit", and_a_rival)
    with pytest.raises(DatasetError, match=rf"tag v1 is on commit {commit} already"):
        publish(dataset, REPO)


def test_when_someone_commits_in_between_then_their_work_stays_and_ours_comes_after(hub, dataset, monkeypatch):
    hub.create(REPO)
    original, rounds = module.plan_publication, []

    def overtaken(*arguments):
        plan = original(*arguments)
        if not rounds:
            hub.repository(REPO).write({"NOTES.md": b"theirs"}, "theirs")
        rounds.append(plan)
        return plan

    monkeypatch.setattr(module, "plan_publication", overtaken)
    location = published(dataset)
    assert len(rounds) == 2
    assert hub.repository(REPO).read("NOTES.md", location.revision) == b"theirs"


def test_when_a_rival_is_first_in_a_new_repository_then_their_version_stays(
    hub, dataset, collected, monkeypatch, tmp_path
):
    original, rivals = module.plan_publication, []
    theirs = altered(dataset)

    def overtaken(*arguments):
        plan = original(*arguments)
        if not rivals:
            monkeypatch.setattr(module, "plan_publication", original)
            with pytest.MonkeyPatch.context() as elsewhere:
                elsewhere.setenv("TIPL_BENCH_HOME", str(tmp_path / "rival"))
                rivals.append(published(theirs))
        return plan

    monkeypatch.setattr(module, "plan_publication", overtaken)
    with pytest.raises(DatasetError, match="never overwritten"):
        publish(collected, REPO)
    assert tags() == {"v1": rivals[0].revision}
    assert hub.repository(REPO).resolve("main") == rivals[0].revision


def test_when_two_publish_different_content_as_one_version_then_one_wins_whole(hub, dataset, collected, tmp_path):
    candidates = {found.digest: found for found in (collected, altered(dataset))}
    rivals = {
        digest: command(
            hub, "datasets", "publish", str(found.folder), "--repo", REPO, TIPL_BENCH_HOME=str(tmp_path / digest)
        )
        for digest, found in candidates.items()
    }
    said = {digest: process.communicate(timeout=120)[1] for digest, process in rivals.items()}
    won, lost = sorted(rivals, key=lambda digest: rivals[digest].returncode)
    assert (rivals[won].returncode, rivals[lost].returncode) == (0, 1), said
    assert "never overwritten" in said[lost]
    tipl_bench.load_dataset(f"{PLACE}@v1").verify()
    assert tipl_bench.load_dataset(f"{PLACE}@v1", download=False).digest == won


def test_when_killed_while_uploading_then_repeating_sends_only_the_rest(hub_server, stored):
    hub_server.faults.add("PUT .*", Hang(60), skip=2)
    process = command(hub_server, "datasets", "publish", TINY, "--repo", REPO)
    deadline = time.monotonic() + 60
    while len(hub_server.calls("^PUT")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len([call for call in hub_server.calls("^PUT") if call.status == 200])
    assert before
    hub_server.faults.clear()
    out = finished(command(hub_server, "datasets", "publish", TINY, "--repo", REPO))
    assert f"Published at hf://datasets/{REPO}@" in out
    sent = [call.path for call in hub_server.calls("^PUT") if call.status == 200]
    assert len(sent) == len(set(sent)), "an object that had arrived was sent again"


def test_tokens_are_never_printed(hub_server, stored):
    hub_server.faults.add("POST .*/commit/", Status(500), times=9)
    process = command(hub_server, "-v", "datasets", "publish", TINY, "--repo", REPO)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert environment(hub_server)["HF_TOKEN"] not in out + err
