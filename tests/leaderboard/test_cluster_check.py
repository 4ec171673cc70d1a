"""Submissions examined on a Ray cluster of two nodes: the outcome and the evidence of this machine alone."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.ray_clusters import lose, soon, two_nodes
from helpers.submission_workspace import SubmissionWorkspace
from helpers.suites import BOARD, collect_board
from tipl_bench.benchmark.run import run
from tipl_bench.benchmark.training.run import train
from tipl_bench.benchmark.training.verify import verify_training
from tipl_bench.cli import main
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.manifest import MANIFEST_NAME
from tipl_bench.utils.engines.cluster import Cluster


def typed(*words: object) -> tuple[int, str]:
    """What a `leaderboard` command prints, and its exit status."""
    result = CliRunner().invoke(main, ["leaderboard", *map(str, words), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def contents(folder):
    """Every file of a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def cluster(tmp_path):
    """Two nodes of one core, each with a store of its own."""
    with two_nodes(tmp_path) as found:
        yield found


@pytest.fixture
def submission(store, tmp_path):
    """A good run, one with other forecasts and their digest, and one with other bytes, of a dataset in this store."""
    dataset = collect_board(tmp_path)
    (cache_root() / "catalog.toml").write_text(
        f'["{BOARD}"]\nenvironment = "{dataset.environment}"\nsummary = "A toy"\ndigest = "{dataset.digest}"\n'
    )
    runs = tmp_path / "runs"
    run("linear", BOARD, out=runs / "good")
    shutil.copytree(runs / "good", runs / "tampered")
    path = runs / "tampered" / "forecasts.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    made = SubmissionWorkspace(tmp_path / "forging", tmp_path)
    run("autoregression", BOARD, out=made.run)
    made.forge(forecasts=made.forecasts()["forecasts"] * np.float32(1.01))
    made.run.rename(runs / "forged")
    return runs


@pytest.mark.slow
def test_a_submission_is_checked_and_added_on_a_cluster_as_here(submission, cluster, tmp_path):
    for place in ("there", "here"):
        (tmp_path / place).mkdir()
    command = ("check", submission, "--records", tmp_path / "here", "--fresh")
    there = typed(*command, "--engine", cluster.address)
    assert there == typed(*command)
    status, said = there
    assert status == 1
    assert "REFUSED: forged\n" in said
    assert "the record says" in said
    assert "REFUSED: tampered\n" in said
    assert "one of them was changed" in said
    assert "run again, as a predictor of this package: bitwise" in said
    received = [tmp_path / node / "datasets" / BOARD for node in ("first", "second")]
    digests = {Dataset.open(folder).digest for folder in received if folder.exists()}
    assert digests == {Dataset.open(cache_root() / "datasets" / BOARD).digest}
    acting = soon(lambda: lose(cluster, "a worker"))
    for place, engine in (("there", ("--engine", cluster.address)), ("here", ())):
        for name, expected in (("good", 0), ("forged", 1)):
            command = ("add", submission / name, "--records", tmp_path / place, "--reviewed")
            status, said = typed(*command, *engine)
            assert status == expected, said
            assert expected or f"added {tmp_path / place}" in said
    acting.join()
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert len([*(tmp_path / "here").glob("*.json")]) == 1


@pytest.mark.slow
def test_a_training_run_is_trained_again_on_a_cluster(store, cluster, tmp_path, monkeypatch):
    run_folder = train(on="tuning", trials=2, iterations=1, out=tmp_path / "trained").folder
    here = verify_training(run_folder, iterations=None)
    begun, start = [], Cluster.start
    monkeypatch.setattr(Cluster, "start", lambda own, work, receive: begun.append(work) or start(own, work, receive))
    there = verify_training(run_folder, iterations=None, cluster=Cluster(cluster.address))
    assert there == here
    assert there.agrees
    assert begun
    status, _ = typed("check", run_folder, "--records", tmp_path, "--engine", cluster.address)
    assert status == 1, "it is no whole run, which is said before anything is trained"


@pytest.mark.slow
def test_a_run_that_a_cluster_cannot_examine_is_not_refused_and_the_others_are_checked(submission, cluster, tmp_path):
    for node in ("first", "second"):
        other = tmp_path / node / "datasets" / BOARD
        shutil.copytree(cache_root() / "datasets" / BOARD, other)
        manifest = other / MANIFEST_NAME
        text = manifest.read_text()
        digest = re.findall(r'"([0-9a-f]{64})"', text)[0]
        manifest.write_text(text.replace(digest, digest[::-1]))
    status, said = typed("check", submission, "--records", tmp_path, "--engine", cluster.client)
    assert status == 1
    assert re.search(r"^NOT EXAMINED: good\n  .*: not examined on the cluster\. ", said, re.MULTILINE)
    assert "REFUSED: good" not in said
    assert "REFUSED: tampered\n" in said
    status, said = typed("add", submission / "good", "--records", tmp_path, "--reviewed", "--engine", cluster.client)
    assert status == 1
    assert "added" not in said
    assert not [*tmp_path.glob("*.json")]
