"""Runs of the training track sent to a Hub as pull requests, and checked: trained again whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import tipl_bench
from click.testing import CliRunner
from helpers.hub.client import connect
from helpers.training_records import small_protocol, training_run
from huggingface_hub import CommitOperationAdd, HfApi
from tipl_bench.benchmark.training import protocol as protocols
from tipl_bench.benchmark.training.record import read_training_record
from tipl_bench.cli import main
from tipl_bench.leaderboard.training import check as checking
from tipl_bench.leaderboard.training.check import accept, check_training
from tipl_bench.leaderboard.training.store import add, file_name
from tipl_bench.utils.errors import ProcessEndedError

REPO, ENVIRONMENT = "alice/leaderboard", "InvertedPendulum-v4"
SMALL = small_protocol(trials=3, iterations=2)


@pytest.fixture(scope="module", autouse=True)
def _small():
    """A protocol of seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols.PROTOCOLS, ENVIRONMENT, SMALL)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Default Adam, trained; and made-up runs: two rates on the tuning trials, both of them on the test trials."""
    folder = tmp_path_factory.mktemp("runs")
    tipl_bench.train(out=folder / "adam")
    fast = ["learning_rate=0.05"]
    training_run(folder / "fast-tuning", 2.0, settings=fast, split="tuning")
    training_run(folder / "default-tuning", 1.0, split="tuning")
    training_run(folder / "default", 1.0)
    training_run(folder / "fast", 2.0, settings=fast)
    training_run(folder / "other", 2.0, settings=["learning_rate=0.01"])
    training_run(folder / "part", 1.0, trials=2)
    return folder


@pytest.fixture
def believed(monkeypatch):
    """Runs are taken for what they say, without training."""

    def verify(folder, **_):
        return SimpleNamespace(record=read_training_record(folder), differences=(), numbers=1)

    monkeypatch.setattr(checking, "verify_training", verify)


@pytest.fixture
def board(hub, monkeypatch):
    hub.create(REPO)
    hub.repository(REPO).write({"README.md": b"# The board"})
    connect(monkeypatch, hub, "hf_bob")
    return hub.repository(REPO)


def typed(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_run_is_submitted_and_passes_the_check(hub, board, runs, tmp_path):
    sent = typed("submit", runs / "adam", "--repo", REPO, "-q")
    assert sent.exit_code == 0, sent.output
    assert "all trials trained again; all agree" in sent.output
    page = re.search(r"Opened (\S+)", sent.output)[1]
    added = {*board.entries(board.resolve("refs/pr/1"))} - {*board.entries(board.resolve("main"))}
    assert {path.rpartition("/")[2] for path in added if "." in path} == {"record.json", "curves.safetensors"}
    checked = typed("leaderboard", "check", page, "--records", tmp_path, "-q")
    assert checked.exit_code == 0, checked.output
    assert f"ok: {ENVIRONMENT}__adam-" in checked.output


def test_what_differs_is_refused_and_not_sent(board, runs, tmp_path):
    shutil.copytree(runs / "adam", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    record["estimates"]["auc"]["value"] = 0.99
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    sent = typed("submit", tmp_path / "run", "--repo", REPO, "-q")
    assert sent.exit_code == 1
    assert "REFUSED: run" in sent.output
    assert "auc" in sent.output
    assert "nothing was sent" in sent.output
    files = [
        CommitOperationAdd(f"submissions/{ENVIRONMENT}__adam-00000000__test/{name}", str(tmp_path / "run" / name))
        for name in ("record.json", "curves.safetensors")
    ]
    HfApi(token="hf_bob").create_commit(REPO, files, commit_message="x", repo_type="dataset", create_pr=True)
    checked = typed("leaderboard", "check", f"hf://datasets/{REPO}@refs/pr/1", "--records", tmp_path, "-q")
    assert checked.exit_code == 1
    assert "pull request 1 at" in checked.output  # the first one: nothing had been sent
    assert "the canonical name of its record" in checked.output


@pytest.mark.usefixtures("believed")
def test_when_it_is_a_dry_run_then_nothing_is_sent(board, runs, tmp_path):
    dry = typed("submit", runs / "default", "--repo", REPO, "--dry-run", "-q")
    assert dry.exit_code == 0, dry.output
    assert "+ submissions/InvertedPendulum-v4__adam-" in dry.output
    assert "Dry run: nothing was sent." in dry.output


def test_a_part_of_a_run_is_refused(runs):
    (found,) = check_training([runs / "part"], None)
    assert "not a whole run" in found.problems[0]


@pytest.mark.parametrize(("name", "value"), [("iterations", 390), ("trials", 51)])
def test_more_than_the_protocol_has_is_refused(runs, tmp_path, name, value):
    shutil.copytree(runs / "adam", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    record["key"][name] = value
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    (found,) = check_training([tmp_path / "run"], None)
    assert "more than the protocol has" in found.problems[0]


def test_a_run_brings_no_files_of_the_other_track(board, runs):
    name = f"submissions/{file_name(read_training_record(runs / 'adam')).removesuffix('.json')}"
    own = ("record.json", "curves.safetensors")
    files = [CommitOperationAdd(f"{name}/{file}", str(runs / "adam" / file)) for file in own]
    files.append(CommitOperationAdd(f"{name}/forecasts.safetensors", b"more"))
    HfApi(token="hf_bob").create_commit(REPO, files, commit_message="x", repo_type="dataset", create_pr=True)
    checked = typed("leaderboard", "check", f"hf://datasets/{REPO}@refs/pr/1", "-q")
    assert checked.exit_code == 1
    assert "forecasts.safetensors; such a run has record.json, curves.safetensors" in checked.output


def test_what_the_optimizer_remembers_is_counted_again(runs, tmp_path):
    shutil.copytree(runs / "adam", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    record["cost"]["state_bytes"] = 0
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    (found,) = check_training([tmp_path / "run"], None)
    assert "cost.state_bytes: the record says 0" in found.problems[0]


@pytest.mark.usefixtures("believed")
def test_runs_are_checked_as_the_table_would_take_them(runs, tmp_path):
    """A tuned run comes with those that it was tuned by; another configuration is no row."""
    records = tmp_path / "records"
    for name in ("fast-tuning", "default-tuning", "default"):
        add(runs / name, records)
    assert [one.problems for one in check_training([runs / "fast"], records)] == [()]
    add(runs / "fast", records)
    (found,) = check_training([runs / "other"], records)
    assert "neither the method's default nor what was best" in found.problems[0]


@pytest.mark.usefixtures("believed")
def test_another_result_of_a_row_is_refused(runs, tmp_path):
    records = tmp_path / "records"
    add(runs / "default", records)
    training_run(tmp_path / "again", 1.5)
    (found,) = check_training([tmp_path / "again"], records)
    assert "is another result of the same run" in found.problems[0]


def test_another_result_of_a_row_is_refused_before_it_is_trained(runs, tmp_path, monkeypatch):
    add(runs / "default", records := tmp_path / "records")
    training_run(tmp_path / "again", 1.5)
    monkeypatch.setattr(checking, "verify_training", lambda *_, **__: pytest.fail("it is trained"))
    found = typed("leaderboard", "add", tmp_path / "again", "--records", records)
    assert found.exit_code == 1
    assert "is another result of the same run" in " ".join(found.output.split())
    check_training([tmp_path / "again"], records)


def test_a_run_whose_training_is_killed_is_neither_refused_nor_added(runs, tmp_path):
    def kill(stage, done, total, word):
        subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", "sys.path"], check=False)

    (checked,) = check_training([runs / "adam"], None, progress=kill)
    assert "The process that trained was killed (SIGKILL)" in checked.not_examined
    assert (checked.problems, checked.passed) == ((), False)
    with pytest.raises(ProcessEndedError, match="was killed"):
        accept(checked, tmp_path / "board")
    assert not (tmp_path / "board").exists()
