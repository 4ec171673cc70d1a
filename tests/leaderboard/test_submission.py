"""Submitting to a Hub as a pull request, and checking one: the real client against a stand-in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import huggingface_hub
import pytest
from helpers.hub import Lose, Status
from helpers.hub.client import connect
from helpers.hub.faults import Fault
from helpers.hub.repository import FILE
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from tipl_bench.benchmark.record import RECORD_LIMIT, read_record
from tipl_bench.leaderboard.submission import pull_request as module
from tipl_bench.leaderboard.submission.identity import find_identity_problems
from tipl_bench.leaderboard.submission.pull_request import PullRequest, parse_pull_request
from tipl_bench.registry.reference import HubLocation
from tipl_bench.utils.errors import DatasetError

REPO = "alice/leaderboard"
PLACE = f"hf://datasets/{REPO}"
RECORDS = Path(__file__).parents[2] / "leaderboard" / "results"
OLD = "submissions/old-row/record.json"


@pytest.fixture
def repository(hub):
    """The leaderboard's repository, with a row in it."""
    hub.create(REPO)
    files = {OLD: b'{"format": 1}', "submissions/old-row/forecasts.safetensors": b"old", "README.md": b"# The board"}
    hub.repository(REPO).write(files)
    return hub.repository(REPO)


def submitted(workspace, *options):
    return workspace.typed("submit", workspace.run, "--repo", REPO, "--records", workspace.records, *options)


def address(result):
    assert result.exit_code == 0, result.output
    return re.search(r"Opened (\S+)", result.output)[1]


def refused(result, message):
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert re.search(message, result.output), result.output
    assert "Traceback" not in result.output


def test_submit_opens_a_pull_request_that_adds_the_run_and_check_passes_it(hub, repository, workspace, monkeypatch):
    connect(monkeypatch, hub, "hf_bob")
    main = repository.resolve("main")
    page = address(submitted(workspace))
    assert page == f"{hub.url}/datasets/{REPO}/discussions/1"
    assert repository.resolve("main") == main
    new = sorted(set(repository.entries(repository.resolve("refs/pr/1"))) - set(repository.entries(main)))
    assert [path.rpartition("/")[2] for path in new if "." in path] == ["forecasts.safetensors", "record.json"]
    for path in new[1:]:
        assert repository.read(path, "refs/pr/1") == (workspace.run / path.rpartition("/")[2]).read_bytes()
    for place in (page, f"{page}#64", f"{page}/files", f"{PLACE}@refs/pr/1"):
        result = workspace.check(place)
        assert result.exit_code == 0, result.output
        assert f"{PLACE}, pull request 1 at commit {repository.resolve('refs/pr/1')}" in result.output
        assert "ok: toy-pendulum--synthetic-v1__linear-quick-" in result.output


def test_when_it_is_a_dry_run_then_it_says_what_would_be_sent_and_nothing_is(hub, repository, workspace):
    hub.forget()
    result = submitted(workspace, "--dry-run")
    assert result.exit_code == 0, result.output
    name = r"\+ submissions/toy-pendulum--synthetic-v1__linear-quick-[0-9a-f]{8}__seed0"
    for file in ("record.json", "forecasts.safetensors"):
        assert re.search(rf"{name}/{file} \({(workspace.run / file).stat().st_size:,} bytes\)", result.output)
    assert "nothing was sent" in result.output
    assert not hub.log


def test_when_the_row_was_merged_then_it_is_not_submitted_again(hub, repository, workspace):
    address(submitted(workspace))
    address(submitted(workspace))  # while none is merged, there may be several
    huggingface_hub.HfApi().merge_pull_request(REPO, 1, repo_type="dataset")
    hub.forget()
    refused(submitted(workspace), rf"{PLACE} has submissions/toy-pendulum--\S+__seed0 already; a row is never changed")
    assert not hub.calls("^(PUT|POST)")


def test_when_the_run_does_not_hold_then_nothing_is_sent(hub, repository, workspace):
    workspace.edit("results", 0, "estimates", "skill", "value", to=0.99)
    hub.forget()
    refused(submitted(workspace), r"(?s)learning, h = 1: skill.value: the record says 0.99.*nothing was sent")
    assert not hub.log


def test_when_there_is_no_such_run_then_submit_says_what_to_give(workspace):
    result = workspace.typed("submit", workspace.submission / "nosuch", "--records", workspace.records)
    refused(result, r"nosuch: no such folder")
    assert "no such folder. Give a run folder as `tipl-bench run` wrote it." in result.output.splitlines()[-1]


def test_submits_help_says_that_what_needs_review_is_sent(workspace):
    assert "what to review is printed, and the maintainers decide" in " ".join(
        workspace.typed("submit", "--help").output.split()
    )


def test_when_it_needs_review_then_it_says_so_and_a_person_decides(hub, repository, workspace):
    workspace.edit("provenance", "git_dirty", to=True)
    result = submitted(workspace)
    assert "needs review: made with uncommitted changes" in result.output
    assert address(result)


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        (None, REPO, "log in|login"),
        ("hf_alice", "alice/nowhere", "hf://datasets/alice/nowhere: there is no such dataset repository"),
        ("hf_stranger", REPO, "does not accept your access token .*; correct or unset HF_TOKEN"),
    ],
)
def test_when_it_may_not_be_sent_then_the_way_out_is_told(
    token, repo, message, hub, repository, workspace, monkeypatch
):
    connect(monkeypatch, hub, token)
    result = workspace.typed("submit", workspace.run, "--repo", repo, "--records", workspace.records)
    refused(result, message)
    assert "refs/pr/1" not in repository.git.refs()


@pytest.mark.parametrize("fault", [Status(500), Status(403), Lose()])
def test_when_the_server_fails_then_it_is_told(fault, hub, repository, workspace, no_waiting):
    hub.faults.add("POST .*/commit/", fault)
    refused(submitted(workspace), f"{PLACE}: the Hub (answered 5|cannot be reached)|'alice'.* may not do this there")


def test_when_the_listing_is_late_then_it_is_asked_for_again(hub, repository, workspace, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.add("GET .*/tree/", Status(503), times=2)
    assert address(submitted(workspace))


# Pull requests that mean harm.


def proposed(*operations, token="hf_bob"):
    """Open a pull request; its number."""
    api = huggingface_hub.HfApi(token=token)
    made = api.create_commit(REPO, list(operations), commit_message="A row", repo_type="dataset", create_pr=True)
    return made.pr_num


def added(workspace, name=None, **more):
    """Operations that add the good run, and other files."""
    name = name or module.submission_name(workspace.record)
    files = {f"submissions/{name}/{file}": (workspace.run / file).read_bytes() for file in module.SUBMITTED} | more
    return [CommitOperationAdd(path, content) for path, content in files.items()]


def harmless(workspace, number, message):
    """The check refuses, downloads nothing outside its scratch and leaves the board alone."""
    board, beside = workspace.board(), sorted(workspace.submission.parent.rglob("*"))
    result = workspace.check(f"{PLACE}@refs/pr/{number}")
    refused(result, message)
    assert result.output.isascii()
    assert workspace.board() == board
    assert [path for path in sorted(workspace.submission.parent.rglob("*")) if "hub" not in path.parts] == [
        path for path in beside if "hub" not in path.parts
    ]
    return result


REQUESTS = {
    "takes another row's place": (
        lambda workspace: added(workspace, "row"),
        "submissions/row must be named submissions/",
    ),
    "deletes a row": (
        lambda workspace: [CommitOperationDelete(OLD), *added(workspace)],
        r"removes \['submissions/old-row/",
    ),
    "edits a row": (
        lambda workspace: [CommitOperationAdd(OLD, b"{}"), *added(workspace)],
        r"changes \['submissions/old-row/record.json'\]; a submission only adds",
    ),
    "edits a large file": (
        lambda workspace: [CommitOperationAdd("submissions/old-row/forecasts.safetensors", b"new"), *added(workspace)],
        r"changes \['submissions/old-row/forecasts",
    ),
    "edits the page": (
        lambda workspace: [CommitOperationAdd("README.md", b"# Mine"), *added(workspace)],
        r"changes \['README",
    ),
    "moves the large files": (
        lambda workspace: [CommitOperationAdd(".gitattributes", b"* -filter"), *added(workspace)],
        r"changes \['.gitattributes'\]",
    ),
    "adds a workflow": (
        lambda workspace: added(workspace, **{".github/workflows/x.yml": b"on: push"}),
        r"adds unexpected file '.github/workflows/x.yml'; a submission may only add",
    ),
    "adds a file of a run that none has": (
        lambda workspace: added(workspace, **{"submissions/row/windows.parquet": b"PAR1"}),
        r"adds unexpected file 'submissions/row/windows.parquet'",
    ),
    "adds a deeper folder": (
        lambda workspace: added(workspace, **{"submissions/row/deep/record.json": b"{}"}),
        r"adds unexpected file 'submissions/row/deep/record.json'",
    ),
    "adds a hidden run": (lambda workspace: added(workspace, ".row"), r"adds unexpected file 'submissions/\.row/"),
    "adds a name with a line break": (
        lambda workspace: added(workspace, "row\n::error::x"),
        r"unexpected file 'submissions/row\\n::error",
    ),
    "adds a name that runs backwards": (
        lambda workspace: added(workspace, "row\u202e"),
        r"unexpected file '?\"?submissions/row\\u202e",
    ),
    "adds an oversized record": (
        lambda workspace: added(workspace, **{"submissions/other/record.json": b" " * (RECORD_LIMIT + 1)}),
        r"submissions/other/record.json takes 4,194,305 bytes, where 4,194,304 may be",
    ),
    "adds too many runs": (
        lambda workspace: [CommitOperationAdd(f"submissions/row{i}/record.json", b"{}") for i in range(101)],
        "adds 101 runs; a submission has 1 to 100",
    ),
    "adds a record alone": (
        lambda workspace: [added(workspace)[0]],
        r"REFUSED: toy-\S+\n.*forecasts.safetensors is missing",
    ),
    "adds numbers that are not so": (
        lambda workspace: [workspace.edit("results", 0, "estimates", "wpe", "low", to=0.0), *added(workspace)][1:],
        "learning, h = 1: wpe.low: the record says 0.0",
    ),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_when_a_pull_request_does_more_than_add_runs_then_it_is_refused(kind, repository, workspace):
    operations, message = REQUESTS[kind]
    harmless(workspace, proposed(*operations(workspace)), message)


def test_when_nothing_is_added_then_it_is_refused(hub, repository, workspace):
    huggingface_hub.HfApi(token="hf_bob").create_pull_request(REPO, "Nothing", repo_type="dataset")
    harmless(workspace, 1, "adds 0 runs")


def test_when_the_repository_went_on_then_it_says_to_rebase(repository, workspace):
    number = proposed(*added(workspace))
    repository.write({"submissions/newer/record.json": b"{}"})
    harmless(workspace, number, "Rebase it if the repository went on")


def test_when_there_is_no_such_pull_request_then_it_is_told(repository, workspace):
    harmless(workspace, 7, f"{PLACE}@refs/pr/7: the repository has no such revision")


@dataclass(frozen=True)
class Lie(Fault):
    """A listing with other paths and sizes than the repository has."""

    edit: object

    def alter(self, reply):
        items = json.loads(reply.content)
        self.edit(items)
        content = json.dumps(items).encode()
        return replace(reply, content=content, headers={**reply.headers, "Content-Length": str(len(content))})


@dataclass(frozen=True)
class Swell(Fault):
    """More bytes than there are."""

    size: int

    def alter(self, reply):
        return replace(reply, content=b" " * self.size, start=0, stop=None) if reply.status == 200 else reply


PATHS = [
    "../../escaped/record.json",
    "/tmp/escaped/record.json",
    "submissions/../record.json",
    "submissions/../../escaped/record.json",
    "submissions/a\\..\\..\\b/record.json",
    "submissions//record.json",
    "submissions/row/record.json\n",
    "submissions/row/RECORD.JSON",
    "submissions/" + "a" * 300 + "/record.json",
]


@pytest.mark.parametrize("path", PATHS)
def test_when_the_server_lists_a_path_that_leads_elsewhere_then_nothing_is_fetched(path, hub, repository, workspace):
    number = proposed(*added(workspace))
    commit = repository.resolve(f"refs/pr/{number}")
    entry = {"type": "file", "oid": "0" * 40, "size": 2, "path": path}
    hub.faults.add(f"GET .*/tree/{commit}", Lie(lambda items: items.append(entry)))
    hub.forget()
    harmless(workspace, number, r"adds unexpected file '")
    assert not hub.calls("resolve")


@pytest.mark.parametrize("file", module.SUBMITTED)
def test_when_more_comes_than_the_listing_says_then_it_is_cut_off(file, hub, repository, workspace):
    number = proposed(*added(workspace))
    hub.faults.add(r"GET .*(resolve.*record|lfs-objects)" if file == "record.json" else "lfs-objects", Swell(64 << 20))
    harmless(workspace, number, "(is longer|is larger) than ")


def test_when_the_listing_claims_terabytes_then_nothing_is_fetched(hub, repository, workspace):
    number = proposed(*added(workspace))

    def enlarge(items):
        for item in items:
            if item["path"].endswith("/forecasts.safetensors") and "old-row" not in item["path"]:
                item["size"] = item["lfs"]["size"] = 1 << 40

    hub.faults.add(f"GET .*/tree/{repository.resolve(f'refs/pr/{number}')}", Lie(enlarge))
    hub.forget()
    harmless(workspace, number, r"takes 1,099,511,627,776 bytes, where 4,294,967,296 may be")
    assert not hub.calls("resolve")


def test_when_many_files_are_each_within_the_limit_then_their_sum_is_not(hub, repository, workspace, monkeypatch):
    monkeypatch.setattr(module, "SUBMISSION_LIMIT", 10_000)
    harmless(workspace, proposed(*added(workspace)), r"adds [\d,]+ bytes, where 10,000 may be")


def test_when_the_listing_does_not_end_then_it_is_left(hub, repository, workspace, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 5)
    harmless(workspace, proposed(*added(workspace)), "holds more than 5 files")


def test_when_it_is_changed_while_it_is_checked_then_the_commit_that_was_named_is_what_passed(
    hub, repository, workspace, monkeypatch
):
    number = proposed(*added(workspace))
    commit = repository.resolve(f"refs/pr/{number}")
    original = module.fetch

    def overtaken(request, folder):
        edit = {"README.md": (FILE, b"# Mine")}
        repository.commit(f"refs/pr/{number}", edit, "Later", "bob", parent=commit, old=commit)
        return original(request, folder)

    monkeypatch.setattr(module, "fetch", overtaken)
    result = workspace.check(f"{PLACE}@refs/pr/{number}")
    assert result.exit_code == 0, result.output
    assert f"at commit {commit}" in result.output
    assert repository.resolve(f"refs/pr/{number}") != commit


def test_a_pull_request_is_named_by_its_revision_or_its_page():
    location = HubLocation(REPO)
    assert parse_pull_request(f"{PLACE}@refs/pr/12") == PullRequest(location, 12)
    assert parse_pull_request(f"https://hub.example/datasets/{REPO}/discussions/3") == PullRequest(location, 3)
    assert parse_pull_request("runs/toy") is None
    for text in (PLACE, f"https://hub.example/{REPO}", f"{PLACE}@refs/pr/x", "hf://models/a/b@refs/pr/1"):
        with pytest.raises(DatasetError, match="is not a pull request"):
            parse_pull_request(text)
    with pytest.raises(DatasetError, match="not an address on the Hub"):
        parse_pull_request("hf://datasets/../x@refs/pr/1")


@pytest.mark.parametrize("name", ["tipl-published", "TIPL_published"])
def test_when_a_record_is_of_the_model_that_sees_the_future_then_it_is_refused(name):
    record = read_record(next(RECORDS.glob("*__tipl-*.json")))
    method = record.key.method.model_copy(update={"name": name})
    forged = record.model_copy(update={"key": record.key.model_copy(update={"method": method})})
    assert f"{name} is the model whose basis sees the future; it is never ranked" in find_identity_problems(forged, {})
