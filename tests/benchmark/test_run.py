"""A run: its folder, its record, and when it is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from tipl_bench.benchmark.compare import compare
from tipl_bench.benchmark.forecast.reference_returns import reference_returns
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.protocol import CURRENT, PROTOCOLS
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest, default_folder, resolve_device
from tipl_bench.benchmark.run import execute, run
from tipl_bench.leaderboard.store import records
from tipl_bench.leaderboard.store.evidence import fingerprint
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.store import CacheWarning
from tipl_bench.utils.errors import OptionError, PredictorError, ProtocolError, TiplBenchError, UnknownNameError
from tipl_bench.utils.files import sha256
from tipl_bench.utils.tensorfile import map_tensors

FILES = {
    "key.json", "predictor.safetensors", "forecasts.safetensors", "windows.parquet", "record.json", "figure.svg",
    "figure.png",
}  # fmt: skip


def small(model, dataset, **settings) -> RunRequest:
    """A request under the small protocol, on the CPU."""
    return RunRequest(model, dataset, protocol=synthetic.SMALL, device="cpu", **settings)


def contents(folder):
    """File names of a folder."""
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def _finished(smooth, tmp_path_factory):
    """A finished run of `linear`, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("store")))
        return execute(small("linear", smooth), tmp_path_factory.mktemp("finished") / "run").folder


@pytest.fixture
def finished(_finished, tmp_path):
    """A finished run of `linear`."""
    return Path(shutil.copytree(_finished, tmp_path / "run"))


@pytest.mark.parametrize("model", ["persistence", "linear"])
def test_when_a_run_is_finished_then_its_folder_holds_what_it_says(model, smooth, tmp_path):
    folder = tmp_path / "runs" / "one"
    finished = execute(RunRequest(model, smooth, device="cpu"), folder)
    record, repeated = finished.record, finished.repeated
    assert not repeated
    assert contents(folder) == FILES
    assert read_record(folder / "record.json") == record
    assert json.loads((folder / "key.json").read_text()) == record.key.model_dump(mode="json")
    assert record.key.protocol == CURRENT
    assert record.key.dataset.digest == smooth.digest
    assert (record.key.method.name, record.key.device, record.key.seed) == (model, "cpu", 0)
    assert record.forecasts_sha256 == sha256(folder / "forecasts.safetensors")
    windows = evaluation_windows(smooth, CURRENT)
    assert map_tensors(folder / "forecasts.safetensors")["forecasts"].shape == (len(windows), 10, 32)
    assert len(pd.read_parquet(folder / "windows.parquet")) == 10 * len(windows)
    assert [(m.phase, m.horizon) for m in record.results] == [
        (phase, horizon) for phase in (*dict.fromkeys(w.phase for w in windows), "all") for horizon in range(1, 11)
    ]
    assert record.result("all", 1).trials == 2
    assert record.result("all", 11) is None


def test_when_persistence_runs_then_its_skill_is_exactly_zero_everywhere(walking, tmp_path):
    record = execute(small("persistence", walking), tmp_path / "run").record
    for metric in record.results:
        assert (metric["skill"].value, metric["skill"].low, metric["skill"].high) == (0.0, 0.0, 0.0)
        assert metric["wpe"] == metric["wpe_persistence"]
        # its return differs from the origin's only by the normaliser, which here never moves
        assert metric["gain"].value == 0.0
        assert metric["repw"] == metric["repw_persistence"]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("linear", ("points=4",)),
        ("tipl", ("steps=10", "width=16", "layers=1")),
    ],
)
def test_when_a_run_is_made_twice_then_all_but_its_cost_is_the_same_bits(model, settings, smooth, tmp_path):
    records = [
        execute(small(model, smooth, settings=settings, seed=3), tmp_path / name).record for name in ("one", "other")
    ]
    assert records[0].without_cost() == records[1].without_cost()
    for name in ("key.json", "forecasts.safetensors", "windows.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_when_a_run_is_finished_then_it_is_not_repeated(smooth, finished):
    first = read_record(finished / "record.json")
    written = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    stages: list[str] = []
    again = execute(small("linear", smooth), finished, lambda stage, *_: stages.append(stage))
    assert again.repeated
    assert again.record == first
    assert stages == []
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == written


@pytest.mark.parametrize(
    ("request_of", "difference"),
    [
        (lambda data: small("persistence", data), "method.name: persistence here, linear there"),
        (lambda data: small("linear", data, seed=1), "seed: 1 here, 0 there"),
        (
            lambda data: small("linear", data, settings=("damping=0.5",)),
            "method.options.damping: 0.5 here, 1.0 there",
        ),
        (lambda data: small("linear", data, budget="paper"), "method.budget: paper here, quick there"),
        (lambda data: RunRequest("linear", data, device="cpu"), "protocol.version: 2 here, 901 there"),
    ],
)
def test_when_the_folder_holds_another_run_then_the_difference_is_named(request_of, difference, smooth, finished):
    before = (finished / "record.json").read_bytes()
    with pytest.raises(ProtocolError, match=r"run holds another run .* Choose another folder \(`out=`\)") as caught:
        execute(request_of(smooth), finished)
    assert difference in str(caught.value)
    assert (finished / "record.json").read_bytes() == before


def test_when_the_folder_holds_another_run_then_few_differences_are_named(smooth, finished):
    with pytest.raises(ProtocolError) as caught:
        execute(small("tipl", smooth, seed=1), finished)
    assert str(caught.value) == (
        f"{finished} holds another run (method.name: tipl here, linear there, seed: 1 here, 0 there). Choose "
        "another folder (`out=`)."
    )


def test_when_the_dataset_is_another_then_its_digest_is_named(smooth, walking, finished):
    with pytest.raises(ProtocolError) as caught:
        execute(small("linear", walking), finished)
    assert f"dataset.digest: {walking.digest} here, {smooth.digest} there" in str(caught.value)


def test_when_the_folder_holds_something_else_then_it_is_left_alone(smooth, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ProtocolError, match=r"is not empty and holds no run\. Choose another folder"):
        execute(small("linear", smooth), folder)
    assert contents(folder) == {"notes.txt"}


@pytest.mark.parametrize("text", ["{", "{}", "[1, 2]", '{"seed": NaN}'])
def test_when_a_folders_key_is_not_one_then_it_is_named(text, smooth, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "key.json").write_text(text)
    with pytest.raises(ProtocolError, match=r"key\.json: not a run's key"):
        execute(small("linear", smooth), tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("raising-in-fit", {"key.json"}),
        ("raising", {"key.json", "predictor.safetensors"}),
        ("not-finite", {"key.json", "predictor.safetensors"}),
    ],
)
def test_when_a_predictor_fails_then_what_was_done_before_stays(model, kept, third_party_predictors, smooth, tmp_path):
    with pytest.raises(PredictorError, match=f"^{model}(:| at trial)"):
        execute(small(model, smooth), tmp_path / "run")
    assert contents(tmp_path / "run") - {"timings.json"} == {*kept, "record.json"}


@pytest.mark.parametrize("environment", [synthetic.PENDULUM, synthetic.CHEETAH])
def test_when_forecasts_are_enormous_then_every_number_stays_finite_or_the_run_is_refused(
    environment, third_party_predictors, tmp_path
):
    dataset = synthetic.walking_dataset(tmp_path / "set", trials=3, environment=environment, hidden=(2,))
    protocol = synthetic.SMALL.model_copy(
        update={"origins_per_phase": 1, "evaluation_seeds": (1,), "noise_seeds": (2,)}
    )
    still = execute(RunRequest("third-party", dataset, protocol=protocol), tmp_path / "still").record
    try:
        record = execute(RunRequest("enormous", dataset, protocol=protocol), tmp_path / "run").record
    except TiplBenchError:
        return
    rows = pd.read_parquet(tmp_path / "run" / "windows.parquet")
    assert np.isfinite(rows.select_dtypes("number")).all(axis=None)
    assert record.result("all", 1)["repw"].value > 0
    assert still.result("all", 1)["wpe"].value < record.result("all", 1)["wpe"].value


def test_when_a_name_is_unknown_then_nothing_is_written(smooth, tmp_path):
    with pytest.raises(UnknownNameError, match=r"Unknown predictor 'tipi'\. Did you mean 'tipl'\? Known: "):
        execute(small("tipi", smooth), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_when_the_device_is_unknown_then_the_known_ones_are_named():
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(OptionError, match=r"Unknown device 'tpu'\. Known: auto, cpu, cuda\."):
        resolve_device("tpu")


def test_when_no_folder_is_given_then_it_is_named_after_the_run(smooth):
    request = small("linear", smooth, settings=("points=3", "damping=0.5"), budget="standard", seed=4)
    parts = default_folder(request).parts
    name = "linear-damping-0.5-points-3-standard-seed4"
    assert parts == ("runs", "toy-pendulum--synthetic-v1", f"{name}-p901")
    names = {version: default_folder(replace(request, protocol=known)).name for version, known in PROTOCOLS.items()}
    assert names == {1: name, 2: f"{name}-p2"}


def test_when_a_run_reports_progress_then_every_stage_reaches_its_end(smooth, tmp_path):
    last: dict[str, tuple[int, int]] = {}
    settings = ("steps=5", "width=16")
    execute(
        small("mlp", smooth, settings=settings),
        tmp_path / "run",
        lambda s, done, total, _: last.update({s: (done, total)}),
    )
    assert list(last) == ["fit", "forecast", "contract check", "reference", "returns"]
    assert all(done == total for done, total in last.values())


def test_when_a_run_is_recorded_then_it_says_where_it_was_made(smooth, tmp_path):
    record = execute(small("autoregression", smooth), tmp_path / "run").record
    assert record.parameter_count == 5 * 3 * 19
    assert record.provenance.packages["numpy"] == np.__version__
    assert record.provenance.gpu is None
    assert record.provenance.torch_threads >= 1
    assert record.cost.peak_memory_bytes > 2**20
    assert record.cost.evaluation_seconds > 0


def test_when_a_predictor_draws_nothing_then_another_seed_looks_its_returns_up(smooth, tmp_path, store):
    def stages(seed):
        seen = []
        request = RunRequest("linear", smooth, seed=seed, protocol=synthetic.SMALL)
        record = execute(request, tmp_path / str(seed), lambda stage, *_: seen.append(stage)).record
        return record, seen

    first, evaluated = stages(0)
    second, looked_up = stages(1)
    assert "returns" in evaluated
    assert "returns" not in looked_up
    assert second.results == first.results
    (store / "returns.sqlite").unlink()
    third, evaluated_again = stages(2)
    assert "returns" in evaluated_again
    assert third.results == first.results


def test_a_run_ends_without_a_store_and_says_so_once(smooth, tmp_path, monkeypatch):
    whole = execute(small("linear", smooth), tmp_path / "whole").record
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "file" / "store"))
    with pytest.warns(CacheWarning, match="cannot be written") as warned:
        record = execute(small("linear", smooth), tmp_path / "run").record
    assert record.without_cost() == whole.without_cost()
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ("Pusher-v4", "Environment 'Pusher-v4' cannot be made here (ImportError: "),
        ("Nowhere-v1", "Unknown environment 'Nowhere-v1'."),
    ],
)
def test_a_dataset_of_an_environment_that_is_not_here_is_refused_before_fitting(
    environment, sentence, tmp_path, smooth
):
    folder = Path(shutil.copytree(smooth.folder, tmp_path / "set"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["environment"] = manifest["collection"]["environment"] = environment
    (folder / "manifest.json").write_text(json.dumps(manifest))
    stages: list[str] = []
    with pytest.raises(TiplBenchError) as told:
        execute(small("linear", Dataset.open(folder)), tmp_path / "run", lambda stage, *_: stages.append(stage))
    assert str(told.value).startswith(sentence)
    assert stages == []
    with pytest.raises(TiplBenchError) as told:
        reference_returns(Dataset.open(folder), synthetic.SMALL)
    assert str(told.value).startswith(sentence)


def test_a_run_under_protocol_2_is_asked_for_by_its_number_and_kept_apart(smooth, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, 2, synthetic.SMALL_2.model_copy(update={"version": 2}))
    monkeypatch.setitem(PROTOCOLS, 1, synthetic.SMALL.model_copy(update={"version": 1}))
    first, second = (run("persistence", smooth, protocol=version, device="cpu") for version in (1, 2))
    assert (first.folder.name, second.folder.name) == ("persistence-quick-seed0", "persistence-quick-seed0-p2")
    windows = evaluation_windows(smooth, PROTOCOLS[2])
    assert second.forecasts.shape[:2] == (len(windows), 3)
    assert second.windows["position"].tolist() == [w.position for w in windows for _ in range(3)]
    assert records.file_name(first.record) != records.file_name(second.record)
    assert fingerprint(first.record) != fingerprint(second.record)
    with pytest.raises(ProtocolError, match=r"the protocol differs .*protocol\.version: 1 here, 2 there"):
        compare([first, second])
    with pytest.raises(ProtocolError, match=r"holds another run \(protocol\.version: 2 here, 1 there"):
        run("persistence", smooth, protocol=2, device="cpu", out=first.folder)
    with pytest.raises(UnknownNameError, match=r"protocol version .3.. Known: 1, 2"):
        run("persistence", smooth, protocol=3)
