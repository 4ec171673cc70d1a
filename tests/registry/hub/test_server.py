"""The stand-in Hub against the real client: what it sends is understood, and what it raises is what users see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.hub import HubServer, Lose
from helpers.hub.client import environment
from helpers.hub_walks import REPO, WEIGHTS, Upload, download

huggingface_hub = pytest.importorskip("huggingface_hub")

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors  # noqa: E402

# Accounts and repositories


def test_whoami_names_the_user_behind_the_token(hub: HubServer) -> None:
    assert HfApi().whoami()["name"] == "alice"
    with pytest.raises(errors.HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_nobody").whoami()


def test_creating_a_repository_twice_conflicts_unless_that_is_fine(api: HfApi, hub: HubServer) -> None:
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_repo(REPO, repo_type="dataset")
    url = api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    assert (url.repo_id, url.repo_type, str(url)) == (REPO, "dataset", f"{hub.url}/datasets/{REPO}")


def test_only_the_owner_writes(api: HfApi, bob: HfApi, upload: Upload) -> None:
    for stranger, status in ((bob, 403), (HfApi(token="hf_reader"), 403), (HfApi(token=False), 401)):
        with pytest.raises(errors.HfHubHTTPError) as caught:
            upload({"a.txt": b"a"}, stranger)
        assert caught.value.response.status_code == status
    with pytest.raises(errors.HfHubHTTPError, match="403"):
        bob.create_repo("alice/other", repo_type="dataset")
    assert api.create_repo("lab/walks", repo_type="dataset").repo_id == "lab/walks"


def test_private_repository_is_hidden_from_others(hub: HubServer, bob: HfApi) -> None:
    HfApi().create_repo("alice/secret", repo_type="dataset", private=True)
    assert HfApi().dataset_info("alice/secret").private
    with pytest.raises(errors.RepositoryNotFoundError):
        bob.dataset_info("alice/secret")


def test_names_that_could_leave_the_root_are_refused(hub: HubServer, tmp_path: Path) -> None:
    for name in ("../walks", "alice/..", "alice/walks--x", ".git/walks"):
        with pytest.raises(Exception, match=r"Invalid repository name"):
            hub.create(name)
    headers, session = {"Authorization": "Bearer hf_alice"}, huggingface_hub.get_session()
    for name in ("..", "../bob", "a/../../b"):
        body = {"name": name, "organization": "alice", "type": "dataset"}
        assert session.post(f"{hub.url}/api/repos/create", json=body, headers=headers).status_code == 400
    hub.create(REPO)
    for path in ("../../walks.txt", "/etc/passwd", "a//b", ".git/config"):
        line = {"key": "file", "value": {"path": path, "content": "", "encoding": "base64"}}
        body = {"content": json.dumps(line), "headers": headers}
        assert session.post(f"{hub.url}/api/datasets/{REPO}/commit/main", **body).status_code == 400
    assert session.get(f"{hub.url}/lfs-objects/{REPO}/..%2F..%2Fx").status_code == 422
    assert {path.name for path in (tmp_path / "hub").iterdir()} == {"datasets"}


# Commits


def test_commit_holds_every_file_and_large_ones_as_pointers(api: HfApi, hub: HubServer, upload: Upload) -> None:
    sha = upload({"README.md": b"---\nlicense: mit\ntags: [rl]\n---\n# Walks\n", "data/a.safetensors": WEIGHTS})
    assert download("README.md", sha).endswith(b"# Walks\n")
    assert download("data/a.safetensors", sha) == WEIGHTS
    info = api.dataset_info(REPO, files_metadata=True)
    assert (info.sha, info.card_data.license, info.tags) == (sha, "mit", ["rl"])
    sizes = {sibling.rfilename: (sibling.size, sibling.lfs is not None) for sibling in info.siblings}
    assert sizes["data/a.safetensors"] == (len(WEIGHTS), True)
    assert not sizes["README.md"][1]
    entry = hub.repository(REPO).file(sha, "data/a.safetensors")
    assert hub.repository(REPO).git.read_blobs([entry.oid])[entry.oid].startswith(b"version https://git-lfs")


def test_commit_on_an_old_parent_is_refused(api: HfApi, upload: Upload) -> None:
    old = api.dataset_info(REPO).sha
    new = upload({"a.txt": b"a"}, parent_commit=old)
    with pytest.raises(errors.HfHubHTTPError, match="A commit has happened since") as caught:
        upload({"b.txt": b"b"}, parent_commit=old)
    assert caught.value.response.status_code == 412
    assert api.dataset_info(REPO).sha == new
    upload({"b.txt": b"b"}, parent_commit=new[:8])


def test_of_two_commits_at_once_on_one_parent_one_wins(hub: HubServer, upload: Upload) -> None:
    parent = hub.repository(REPO).resolve("main")

    def attempt(name: str) -> int:
        try:
            upload({name: b""}, parent_commit=parent)
        except errors.HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(attempt, ["a.txt", "b.txt", "c.txt", "d.txt"]))
    assert sorted(statuses) == [200, 412, 412, 412]
    assert len(hub.repository(REPO).git.history("main")) == 2


def test_large_file_that_is_present_is_not_sent_again(hub: HubServer, upload: Upload) -> None:
    upload({"a.safetensors": WEIGHTS})
    upload({"copy/b.safetensors": WEIGHTS})
    assert len(hub.calls("^PUT /lfs-objects/")) == 1
    commits = len(hub.calls("^POST .*/commit/"))
    upload({"a.safetensors": WEIGHTS})  # unchanged: the client leaves the commit out
    assert len(hub.calls("^POST .*/commit/")) == commits


def test_file_on_disk_is_uploaded(api: HfApi, hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(WEIGHTS)
    api.upload_file(path_or_fileobj=tmp_path / "a.parquet", path_in_repo="a.parquet", repo_id=REPO, repo_type="dataset")
    assert hub.repository(REPO).read("a.parquet") == WEIGHTS


def test_storage_refuses_bytes_that_are_not_what_was_promised(hub: HubServer, upload: Upload) -> None:
    session = huggingface_hub.get_session()
    body = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 3}]}
    batch = session.post(
        f"{hub.url}/datasets/{REPO}.git/info/lfs/objects/batch", json=body, headers={"Authorization": "Bearer hf_alice"}
    ).json()
    href = batch["objects"][0]["actions"]["upload"]["href"]
    assert session.put(href, content=b"abc").status_code == 400
    assert session.put(href.replace("size=3", "size=4"), content=b"abcd").status_code == 403
    assert not hub.repository(REPO).large.holds("0" * 64)


def test_files_and_folders_are_deleted(api: HfApi, upload: Upload) -> None:
    upload({"a.txt": b"a", "old/b.txt": b"b", "old/deep/c.png": b"c"})
    operations = [CommitOperationDelete("a.txt"), CommitOperationDelete("old/")]
    api.create_commit(REPO, operations, commit_message="Delete", repo_type="dataset")
    assert api.list_repo_files(REPO, repo_type="dataset") == [".gitattributes"]
    with pytest.raises(errors.EntryNotFoundError):
        api.delete_file("a.txt", REPO, repo_type="dataset")


def test_commit_whose_answer_is_lost_has_happened(api: HfApi, hub: HubServer, upload: Upload) -> None:
    hub.faults.add(r"POST .*/commit/", Lose(), times=1)
    with pytest.raises(Exception, match="disconnected"):
        upload({"a.txt": b"a"})
    assert "a.txt" in api.list_repo_files(REPO, repo_type="dataset")


# Revisions


def test_tags_are_put_up_once_and_can_be_deleted(api: HfApi, upload: Upload) -> None:
    sha = upload({"a.txt": b"a"})
    api.create_tag(REPO, tag="v1", revision=sha, tag_message="First", repo_type="dataset")
    upload({"a.txt": b"b"})
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="v1", repo_type="dataset")
    api.create_tag(REPO, tag="v1", repo_type="dataset", exist_ok=True)
    [tag] = api.list_repo_refs(REPO, repo_type="dataset").tags
    assert (tag.name, tag.ref, tag.target_commit) == ("v1", "refs/tags/v1", sha)
    assert download("a.txt", "v1") == b"a"
    api.delete_tag(REPO, tag="v1", repo_type="dataset")
    with pytest.raises(errors.RevisionNotFoundError):
        api.dataset_info(REPO, revision="v1")


def test_history_and_branches_are_listed(api: HfApi, upload: Upload) -> None:
    first = api.dataset_info(REPO).sha
    second = upload({"a.txt": b"a"}, commit_description="Why")
    commits = api.list_repo_commits(REPO, repo_type="dataset")
    assert [commit.commit_id for commit in commits] == [second, first]
    assert (commits[0].title, commits[0].message, commits[0].authors) == ("Add", "Why", ["alice"])
    api.create_branch(REPO, branch="old", revision=first, repo_type="dataset")
    branches = {ref.name: ref.target_commit for ref in api.list_repo_refs(REPO, repo_type="dataset").branches}
    assert branches == {"main": second, "old": first}
    upload({"b.txt": b"b"}, revision="old")
    assert download("b.txt", "old") == b"b"


def test_stranger_opens_a_pull_request_and_the_owner_merges_it(api: HfApi, bob: HfApi, hub: HubServer) -> None:
    add = [CommitOperationAdd("records/b.json", b"{}"), CommitOperationAdd("b.png", b"picture")]
    opened = bob.create_commit(REPO, add, commit_message="Add b", repo_type="dataset", create_pr=True)
    assert (opened.pr_num, opened.pr_revision) == (1, "refs/pr/1")
    refs = api.list_repo_refs(REPO, repo_type="dataset", include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", opened.oid)]
    assert download("records/b.json", "refs/pr/1") == b"{}"
    bob.comment_discussion(REPO, 1, comment="Please look", repo_type="dataset")
    with pytest.raises(errors.HfHubHTTPError, match="403"):
        bob.merge_pull_request(REPO, 1, repo_type="dataset")
    api.merge_pull_request(REPO, 1, comment="Thanks", repo_type="dataset")
    details = api.get_discussion_details(REPO, 1, repo_type="dataset")
    assert (details.author, details.status, details.target_branch) == ("bob", "merged", "refs/heads/main")
    assert details.merge_commit_oid == api.dataset_info(REPO).sha
    assert [event.type for event in details.events] == ["commit", "comment", "comment", "status-change"]
    assert hub.repository(REPO).read("b.png") == b"picture"


def test_pull_requests_that_conflict_are_not_merged(api: HfApi, upload: Upload, bob: HfApi) -> None:
    upload({"a.txt": b"ours\n"}, bob, create_pr=True)
    upload({"a.txt": b"theirs\n"})
    assert api.get_discussion_details(REPO, 1, repo_type="dataset").conflicting_files == ["a.txt"]
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.merge_pull_request(REPO, 1, repo_type="dataset")
    bob.change_discussion_status(REPO, 1, "closed", repo_type="dataset")
    listed = list(api.get_repo_discussions(REPO, repo_type="dataset", discussion_status="closed"))
    assert [(item.num, item.is_pull_request) for item in listed] == [(1, True)]


# Looking things up


def test_paths_and_trees_are_described(api: HfApi, upload: Upload) -> None:
    upload({"a.txt": b"abc", "data/one/b.safetensors": WEIGHTS})
    found = api.get_paths_info(REPO, ["a.txt", "data", "missing"], repo_type="dataset")
    assert [(type(item).__name__, item.path) for item in found] == [("RepoFile", "a.txt"), ("RepoFolder", "data")]
    top = {item.path for item in api.list_repo_tree(REPO, repo_type="dataset")}
    assert top == {".gitattributes", "a.txt", "data"}
    [weights] = [
        item
        for item in api.list_repo_tree(REPO, "data", recursive=True, expand=True, repo_type="dataset")
        if item.path.endswith(".safetensors")
    ]
    assert (weights.size, weights.lfs.size, weights.last_commit.title) == (len(WEIGHTS), len(WEIGHTS), "Add")


def test_long_tree_comes_in_pages(api: HfApi, hub: HubServer) -> None:
    hub.repository(REPO).write({f"data/{index:04}.txt": b"" for index in range(1200)})
    listed = [item.path for item in api.list_repo_tree(REPO, "data", repo_type="dataset")]
    assert listed == [f"data/{index:04}.txt" for index in range(1200)]
    assert len(hub.calls("GET .*/tree/")) == 2


def test_what_is_missing_is_named_by_the_kind_of_error(api: HfApi, hub: HubServer) -> None:
    for client in (api, HfApi(token=False)):
        with pytest.raises(errors.RepositoryNotFoundError):
            client.dataset_info("alice/none")
    with pytest.raises(errors.RepositoryNotFoundError):
        huggingface_hub.hf_hub_download("alice/none", "a", repo_type="dataset")
    with pytest.raises(errors.RepositoryNotFoundError):
        api.model_info("alice/walks")
    with pytest.raises(errors.RevisionNotFoundError):
        download("a.txt", "none")
    with pytest.raises(errors.RevisionNotFoundError):
        api.dataset_info(REPO, revision="0" * 40)
    with pytest.raises(errors.EntryNotFoundError):
        download("none.txt")


# In processes of their own


def test_environment_points_a_subprocess_at_the_server(hub_server: HubServer) -> None:
    hub_server.create(REPO).write({"a.txt": b"hello"})
    code = f"""
import huggingface_hub
print(open(huggingface_hub.hf_hub_download("{REPO}", "a.txt", repo_type="dataset")).read())
print(huggingface_hub.whoami()["name"])
"""
    variables = {**os.environ, **environment(hub_server, "hf_bob")}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hello", "bob"]


def test_server_runs_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "helpers.hub", "--root", str(tmp_path / "by-hand")]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            reply = huggingface_hub.get_session().get(
                f"{url}/api/whoami-v2", headers={"Authorization": "Bearer hf_bob"}
            )
            assert json.loads(reply.text)["name"] == "bob"
        finally:
            process.terminate()
