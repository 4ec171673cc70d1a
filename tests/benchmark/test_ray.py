"""A Ray cluster of two nodes, on this machine: the same bytes as without one, whatever is lost on the way."""

from __future__ import annotations

import shutil
from queue import SimpleQueue

import pytest
from click.testing import CliRunner
from helpers.pieces_of_work import linger
from helpers.ray_clusters import lose, losing, soon, two_nodes
from helpers.small_collections import contents, silent, tiny_config
from helpers.suites import BOARD, NAMES, assert_same_results, collect_board, suite_file
from helpers.suites import CONFIG as BOARD_CONFIG
from tipl_bench.benchmark import collection
from tipl_bench.benchmark.collection import collect_named
from tipl_bench.benchmark.run import run
from tipl_bench.benchmark.suites.engines import build_engine
from tipl_bench.benchmark.suites.handing_over import receive
from tipl_bench.benchmark.suites.run import run_suite
from tipl_bench.benchmark.suites.tasks import perform
from tipl_bench.benchmark.training.run import train
from tipl_bench.cli import main
from tipl_bench.registry.collection.collect import collect
from tipl_bench.registry.collection.presets import preset
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.engines.cluster import Cluster
from tipl_bench.utils.engines.work import Message, Work, program_of
from tipl_bench.utils.errors import DatasetError, OptionError

NAME = "my-pendulum/blocks-v1"
CONFIG = tiny_config(trials=6, environment_steps=20480, hyperparameters={"steps_per_iteration": 512})
STATE = "inverted-pendulum/tipl-neuron-v1"
LOSSES = ["nothing", "a worker", "a node"]


@pytest.fixture
def board(store, tmp_path):
    """The suite's dataset, in this process's store alone."""
    return collect_board(tmp_path)


@pytest.fixture
def cluster(tmp_path):
    """Two nodes of one core, each with a store of its own."""
    with two_nodes(tmp_path) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "version"), [*((lost, 3) for lost in LOSSES), ("a worker", 2)])
def test_a_collection_has_the_bytes_of_this_machine(store, cluster, tmp_path, monkeypatch, lost, version):
    config = CONFIG.model_copy(update={"version": version})
    report, heard = losing(cluster, lost)
    there = collect(NAME, config, threads=1, progress=report, cluster=Cluster(cluster.address))
    assert heard[-1][0] == heard[-1][1]
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "alone"))
    here = collect(NAME, config, threads=2, progress=silent)
    assert there.digest == here.digest
    assert contents(there.folder) == contents(here.folder)


@pytest.mark.slow
@pytest.mark.parametrize("lost", LOSSES)
def test_a_training_run_has_the_curves_of_this_machine(store, cluster, tmp_path, lost):
    method = {"outer": ["jump"], "options": [f"jump.predictor={STATE}"], "on": "tuning", "trials": 4, "iterations": 8}
    report, heard = losing(cluster, lost)
    there = train(**method, out=tmp_path / "there", engine=cluster.address, progress=report)
    assert heard[-1][0] == heard[-1][1]
    here = train(**method, out=tmp_path / "here")
    assert there.record.artifacts == here.record.artifacts
    assert {path.name for path in there.folder.iterdir()} == {path.name for path in here.folder.iterdir()}


@pytest.mark.slow
def test_work_ends_when_the_node_that_connects_this_process_is_lost(cluster):
    messages: SimpleQueue[Message | None] = SimpleQueue()
    with Cluster(cluster.address).start(Work(program_of(linger), {}), messages.put) as process:
        assert messages.get(timeout=60) == {"begun": True}
        lose(cluster, "this process's node")
        assert "the node that connects this command to the cluster has ended" in process.failure()


@pytest.mark.slow
def test_the_command_collects_on_a_cluster(store, cluster, tmp_path, monkeypatch):
    config = tmp_path / "config.toml"
    config.write_text(BOARD_CONFIG + "version = 3\n")
    command = ["datasets", "collect", BOARD, "--config", str(config), "--engine", cluster.address, "-q"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    there = Dataset.open(dataset_folder(BOARD))
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "alone"))
    assert collect_named(BOARD, config, 1, silent).digest == there.digest


@pytest.mark.slow
def test_a_suite_collects_a_missing_dataset_on_the_cluster(store, cluster, monkeypatch):
    """The task of a process of this machine, which the cluster's address is given."""
    name = "cart-pole/ppo-mini-v1"
    tiny = preset(name).model_copy(update={"trials": 4, "environment_steps": 8192})
    monkeypatch.setattr(collection, "preset", lambda _: tiny)
    monkeypatch.setattr(collection, "_compare_with_catalog", lambda _: None)
    begun, said = [], []
    start = Cluster.start
    monkeypatch.setattr(Cluster, "start", lambda own, work, receive: begun.append(work) or start(own, work, receive))
    arguments = {"name": name, "protocol": 2}
    perform({"kind": "dataset", "arguments": arguments, "engine": cluster.address}, said.append)
    assert [one for one in said if "error" in one] == []
    assert len(begun) == 2, "two blocks"
    assert len(Dataset.open(dataset_folder(name))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("lost", LOSSES)
def test_a_cluster_gives_what_this_machine_gives(board, cluster, tmp_path, lost):
    path = suite_file(tmp_path)
    acting, words = soon(lambda: lose(cluster, lost)), []
    status = run_suite(
        path, tmp_path / "there", engine=build_engine(cluster.address), progress=lambda *said: words.append(said[3])
    )
    acting.join()
    assert {word.partition(":")[0] for word in words if ": " in word} == {*NAMES}, "every task told of its progress"
    assert {*status.counts()} == {"finished"}, [one.reason for one in status.states.values()]
    run_suite(path, tmp_path / "here")
    assert_same_results(tmp_path / "there", tmp_path / "here", [tmp_path / "first", tmp_path / "second"], board)


@pytest.mark.slow
def test_what_fails_on_a_cluster_is_recorded(board, cluster, tmp_path):
    path = suite_file(tmp_path, "file.py:Missing")
    (tmp_path / "file.py").write_text(
        "from tipl_bench.baselines.linear import Linear\n"
        "class Missing(Linear):\n"
        "    name = 'missing'\n"
        "    def predict(self, contexts, horizon):\n"
        "        raise ValueError('not here')\n"
    )
    path.write_text(path.read_text().replace("file.py", str(tmp_path / "file.py")))
    status = run_suite(path, tmp_path / "there", only=["*Missing*"], engine=build_engine(cluster.address))
    (failed,) = status.pending()
    state = status.states[failed.name]
    assert state.state == "failed"
    assert "not here" in state.reason
    run("autoregression", BOARD, returns=False, on="validation", out=tmp_path / "other")
    (key,) = ((tmp_path / "there" / name / "key.json") for name in NAMES if "linear" in name)
    key.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "other" / "key.json", key)
    status = run_suite(
        suite_file(tmp_path), tmp_path / "there", only=["*linear*"], engine=build_engine(cluster.address)
    )
    assert [*key.parent.iterdir()] == [key]
    assert key.read_bytes() == (tmp_path / "other" / "key.json").read_bytes()
    assert any("holds another run" in state.reason for state in status.states.values())


def test_what_arrives_is_verified(board, tmp_path, monkeypatch):
    import ray

    files = {path.relative_to(board.folder).as_posix(): path for path in board.folder.rglob("*") if path.is_file()}
    sent = {place: path.read_bytes() for place, path in files.items()}
    monkeypatch.setattr(ray, "get", lambda reference: reference)
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "node"))
    receive(BOARD, board.digest, sent)
    assert Dataset.open(dataset_folder(BOARD)).digest == board.digest
    receive(BOARD, board.digest, {})  # it is there
    with pytest.raises(DatasetError, match="is another"):
        receive(BOARD, "0" * 64, {})
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "other node"))
    place = next(one for one in sent if one.endswith("trial-0000.safetensors"))
    damaged = {**sent, place: sent[place][:-1] + bytes([sent[place][-1] ^ 1])}
    with pytest.raises(DatasetError, match="trial-0000"):
        receive(BOARD, board.digest, damaged)
    assert not dataset_folder(BOARD).exists()


def test_jobs_are_refused_on_a_cluster():
    with pytest.raises(OptionError, match="jobs is the local engine's"):
        build_engine("ray", jobs=2)
