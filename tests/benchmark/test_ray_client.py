"""A machine outside a Ray cluster, connected by Ray's client: as on a machine of the cluster, whatever is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from helpers.ray_clusters import lose, losing, soon, two_nodes, working
from helpers.small_collections import contents, silent, tiny_config
from helpers.suites import assert_same_results, collect_board, suite_file
from tipl_bench.benchmark.meta_training.run import meta_train
from tipl_bench.benchmark.meta_training.seeds import meta_train_seeds
from tipl_bench.benchmark.suites.engines import build_engine
from tipl_bench.benchmark.suites.run import run_suite
from tipl_bench.benchmark.training.run import train
from tipl_bench.cli import main
from tipl_bench.registry.collection.collect import collect
from tipl_bench.utils.engines.cluster import Cluster
from tipl_bench.utils.errors import TiplBenchError

NAME = "my-pendulum/blocks-v1"
CONFIG = tiny_config(trials=4, environment_steps=8192, hyperparameters={"steps_per_iteration": 512})
STATE = "inverted-pendulum/tipl-neuron-v1"
METHOD = {"outer": ["jump"], "options": [f"jump.predictor={STATE}"], "on": "tuning", "trials": 4, "iterations": 8}

TIMING = {"cpu_seconds", "provenance"}


@pytest.fixture
def cluster(tmp_path):
    """Two nodes of one core, each with a store of its own."""
    with two_nodes(tmp_path) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["a worker", "a node"])
def test_a_collection_has_the_bytes_of_this_machine(store, cluster, tmp_path, monkeypatch, lost):
    config = CONFIG.model_copy(update={"version": 3})
    report, heard = losing(cluster, lost)
    there = collect(NAME, config, threads=1, progress=report, cluster=Cluster(cluster.client))
    assert heard[-1][0] == heard[-1][1]
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "alone"))
    here = collect(NAME, config, threads=2, progress=silent)
    assert contents(there.folder) == contents(here.folder)


@pytest.mark.slow
def test_a_training_run_has_the_curves_of_this_machine(store, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.client)
    report, heard = losing(cluster, "a worker")
    there = train(**METHOD, out=tmp_path / "there", engine="ray", progress=report)
    assert heard[-1][0] == heard[-1][1]
    here = train(**METHOD, out=tmp_path / "here")
    assert there.record.artifacts == here.record.artifacts
    assert {path.name for path in there.folder.iterdir()} == {path.name for path in here.folder.iterdir()}


@pytest.mark.slow
def test_a_suite_has_the_results_of_this_machine(store, cluster, tmp_path):
    board, path = collect_board(tmp_path), suite_file(tmp_path)
    acting = soon(lambda: lose(cluster, "a worker"))
    status = run_suite(path, tmp_path / "there", engine=build_engine(cluster.client))
    acting.join()
    assert {*status.counts()} == {"finished"}, [one.reason for one in status.states.values()]
    run_suite(path, tmp_path / "here")
    assert_same_results(tmp_path / "there", tmp_path / "here", [tmp_path / "first", tmp_path / "second"], board)


@pytest.mark.slow
def test_meta_training_has_the_bytes_of_this_machine(store, cluster, tmp_path):
    report, heard = losing(cluster, "a worker")
    options = {"iterations": 40, "validate_every": 20}
    there = meta_train_seeds(
        seeds=[0, 1], budget="smoke", options=options, out=tmp_path, engine=cluster.client, progress=report
    )
    assert heard[-1] == (80, 80)
    for run in there:
        seed = run.record.key.seed
        here = meta_train(budget="smoke", seed=seed, options=options, out=tmp_path / "here" / str(seed))
        assert run.parameters.read_bytes() == here.parameters.read_bytes()
        assert run.record.model_dump(exclude=TIMING) == here.record.model_dump(exclude=TIMING)
        assert {path.name for path in run.folder.iterdir()} == {path.name for path in here.folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_works_on_when_the_command_has_ended(store, cluster, tmp_path, how):
    """After Ctrl-C at once; a machine that is gone is waited for as long as Ray's client says, here for a second."""
    command = [sys.executable, "-m", "tipl_bench", "train", "--env", "InvertedPendulum-v4", "--engine", cluster.client]
    environment, begun = {**os.environ, "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "1"}, set()
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: len(working(set())) == 4)  # two workers, and what each has begun
        begun = working(set())
        running.send_signal(how)
        running.wait(timeout=30)
        _wait(lambda: not working(begun))
    finally:
        running.kill()
        running.wait()


def _wait(done):
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_another_version_and_a_port_that_is_no_clients_are_said(cluster, monkeypatch):
    import ray

    with pytest.raises(TiplBenchError, match="the port of Ray's client is 10001"):
        Cluster(f"ray://{cluster.address}")
    monkeypatch.setattr(ray, "__version__", "2.1.0")  # what Ray compares with the cluster's
    result = CliRunner().invoke(main, ["train", "--env", "InvertedPendulum-v4", "--engine", cluster.client, "-q"])
    assert result.exit_code == 1
    assert "has another version of Ray or Python than this machine" in result.output
    assert "Ray: 2.1.0" in result.output
