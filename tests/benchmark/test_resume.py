"""Resuming: every stage leaves a file, and a run that was killed goes on from the last one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers import synthetic
from tipl_bench.benchmark import run as run_module
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.leaderboard.verify.folder import check_files

STAGES = ("key.json", "predictor.safetensors", "forecasts.safetensors", "windows.parquet", "record.json")
FIGURES = {"figure.svg", "figure.png"}
LIMIT = 8
"""Windows of a run in a process of its own."""
SETTINGS = {"tipl": ("steps=10", "width=16", "layers=1")}


def requested(model, dataset) -> RunRequest:
    return RunRequest(model, dataset, settings=SETTINGS.get(model, ()), device="cpu", protocol=synthetic.SMALL)


@pytest.fixture(scope="module", params=["persistence", "autoregression", "tipl"])
def finished_run(request, smooth, tmp_path_factory) -> Path:
    """A predictor's finished run; only to be copied."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        execute(requested(request.param, smooth), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_when_a_run_stopped_after_a_stage_then_it_goes_on_from_there_to_the_same_record(
    stages, finished_run, smooth, tmp_path
):
    folder = Path(shutil.copytree(finished_run, tmp_path / "run"))
    whole = read_record(folder / "record.json")
    model = whole.key.method.name
    for name in STAGES[stages:]:
        (folder / name).unlink()
    kept = {name: (folder / name).stat().st_mtime_ns for name in STAGES[:stages]}
    reported: set[str] = set()
    resumed = execute(requested(model, smooth), folder, lambda stage, *_: reported.add(stage))
    assert not resumed.repeated
    if stages == 3 and model != "persistence":  # whose forecasts are true policies, with known returns
        assert reported == {"contract check", "reference", "returns"}
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    assert resumed.record.without_cost() == whole.without_cost()
    curve = {"fit.csv"} if model == "tipl" else set()
    assert {path.name for path in folder.iterdir()} == {*STAGES, *FIGURES, *curve}


@pytest.mark.parametrize("finished_run", ["tipl"], indirect=True)
def test_when_a_predictor_is_trained_then_the_run_folder_has_the_curve_of_its_fit(finished_run):
    curve = pd.read_csv(finished_run / "fit.csv")
    assert [*curve] == ["step", "training_loss", "validation_loss", "kept"]
    assert [*curve["step"]] == [0, 10]
    assert [*curve["training_loss"].notna()] == [False, True]
    assert [*curve["kept"]] == [*(curve["validation_loss"] == curve["validation_loss"].min())]
    check_files(finished_run)


def test_when_a_run_is_resumed_then_its_cost_counts_the_stages_before(third_party_predictors, smooth, tmp_path):
    folder = tmp_path / "run"
    whole = execute(requested("halting", smooth), folder).record
    (folder / "record.json").unlink()
    (folder / "timings.json").write_text('{"fit_seconds": 12.5, "forecast_seconds": 2.5}')
    resumed = execute(requested("halting", smooth), folder).record
    assert (resumed.cost.fit_seconds, resumed.cost.forecast_seconds) == (12.5, 2.5)
    assert resumed.without_cost() == whole.without_cost()


@pytest.fixture(scope="module")
def made_persistence_run(smooth, tmp_path_factory) -> Path:
    """A finished run and the store with its returns; only to be copied."""
    folder = tmp_path_factory.mktemp("persistence")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        execute(requested("persistence", smooth), folder / "run")
    return folder


@pytest.fixture
def persistence_run(made_persistence_run, store, tmp_path) -> Path:
    """The folder of a finished run."""
    shutil.copytree(made_persistence_run / "store", store)
    return Path(shutil.copytree(made_persistence_run / "run", tmp_path / "run"))


def test_when_a_run_was_killed_after_its_record_then_repeating_it_leaves_only_the_files_of_a_run(
    persistence_run, smooth
):
    (persistence_run / "timings.json").write_text('{"fit_seconds": 1.0}')
    assert execute(requested("persistence", smooth), persistence_run).repeated
    assert {path.name for path in persistence_run.iterdir()} == {*STAGES, *FIGURES}


@pytest.mark.parametrize("change", ["removed", "cut", "altered"])
@pytest.mark.parametrize("name", ["record.json", "forecasts.safetensors"])
def test_a_damaged_record_or_forecasts_file_is_made_again(name, change, persistence_run, smooth):
    path = persistence_run / name
    before = {kept: (persistence_run / kept).read_bytes() for kept in ("forecasts.safetensors", "windows.parquet")}
    whole = read_record(persistence_run / "record.json")
    content = path.read_bytes()
    path.unlink()
    if change != "removed":
        path.write_bytes(content[:-5] if change == "cut" else content[:-1] + b"\x01")
    again = execute(requested("persistence", smooth), persistence_run)
    assert not again.repeated
    assert again.record.without_cost() == whole.without_cost()
    assert read_record(persistence_run / "record.json").without_cost() == whole.without_cost()
    assert {kept: (persistence_run / kept).read_bytes() for kept in before} == before
    assert execute(requested("persistence", smooth), persistence_run).repeated


@pytest.mark.parametrize("damage", [None, b"", b"PAR1", "half"])
@pytest.mark.parametrize("record", ["with its record", "without its record"])
def test_when_the_rows_of_a_run_are_lost_or_damaged_then_they_are_evaluated_again(
    damage, record, persistence_run, smooth
):
    windows = persistence_run / "windows.parquet"
    kept = windows.read_bytes()
    before = {name: (persistence_run / name).read_bytes() for name in (*FIGURES, "windows.parquet")}
    for name in FIGURES:
        (persistence_run / name).unlink()
    windows.unlink()
    if damage is not None:
        windows.write_bytes(kept[: len(kept) // 2] if damage == "half" else damage)
    if record == "without its record":
        (persistence_run / "record.json").unlink()
    repeated = execute(requested("persistence", smooth), persistence_run)
    assert repeated.repeated == (record == "with its record")
    assert {name: (persistence_run / name).read_bytes() for name in before} == before
    assert {path.name for path in persistence_run.iterdir()} == {*STAGES, *FIGURES}
    assert len(repeated.windows)


def test_when_a_finished_run_has_lost_its_forecasts_too_then_all_is_made_again(persistence_run, smooth):
    before = {name: (persistence_run / name).read_bytes() for name in (*FIGURES, "windows.parquet")}
    for name in (*before, "forecasts.safetensors"):
        (persistence_run / name).unlink()
    assert not execute(requested("persistence", smooth), persistence_run).repeated
    assert {name: (persistence_run / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "text",
    [
        '{"fit_sec',
        "",
        "[1]",
        "null",
        '{"odd": 1}',
        '{"fit_seconds": "long"}',
        '{"fit_seconds": -1}',
        '{"fit_seconds": {}}',
    ],
)
def test_when_the_timings_of_a_killed_run_are_damaged_then_it_is_finished_without_them(text, persistence_run, smooth):
    whole = read_record(persistence_run / "record.json")
    (persistence_run / "record.json").unlink()
    (persistence_run / "timings.json").write_text(text)
    resumed = execute(requested("persistence", smooth), persistence_run).record
    assert resumed.without_cost() == whole.without_cost()
    assert (resumed.cost.fit_seconds, resumed.cost.forecast_seconds) == (0.0, 0.0)


def test_when_anything_at_all_fails_then_the_record_says_so(persistence_run, smooth, monkeypatch):
    def out_of_space(*_):
        raise OSError(28, "No space left on device")

    (persistence_run / "record.json").unlink()
    monkeypatch.setattr(run_module, "score", out_of_space)
    with pytest.raises(OSError, match="No space left"):
        execute(requested("persistence", smooth), persistence_run)
    status = read_record(persistence_run / "record.json").status
    assert (status.state, status.reason) == ("failed", "OSError: [Errno 28] No space left on device")


def start(dataset, folder: Path, third_party_predictors: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    """A run of the halting predictor in a process of its own; `log` is its standard error, and the predictor's."""
    paths = [str(third_party_predictors), str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "tipl_bench", "run", "--model", "halting", "--device", "cpu"]
    arguments = ["--dataset", str(dataset.folder), "--limit", str(LIMIT), "--out", str(folder)]
    with (tmp_path / "log").open("w") as log:
        return subprocess.Popen([*command, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=log)


def wait_for(log: Path, stage: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the predictor says that it began the stage."""
    while f"began {stage}\n" not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("stage", [pytest.param("fit", marks=pytest.mark.slow), "predict"])
def test_when_a_run_is_killed_then_the_same_command_ends_it_as_if_nothing_had_happened(
    stage, third_party_predictors, smooth, tmp_path
):
    folder, log, halt = tmp_path / "run", tmp_path / "log", third_party_predictors / f"halt-in-{stage}"
    halt.touch()
    process = start(smooth, folder, third_party_predictors, tmp_path)
    wait_for(log, stage, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "record.json").exists()
    halt.unlink()
    process = start(smooth, folder, third_party_predictors, tmp_path)
    assert process.wait() == 0, log.read_text()
    assert ("began fit\n" in log.read_text()) == (stage == "fit")  # a finished fit is not done again
    undisturbed = execute(RunRequest("halting", smooth, device="cpu", limit=LIMIT), tmp_path / "undisturbed").record
    for name in ("key.json", "forecasts.safetensors", "windows.parquet"):
        assert (folder / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name
    assert read_record(folder / "record.json").without_cost() == undisturbed.without_cost()


def test_when_a_killed_run_left_half_a_file_then_the_resumed_one_clears_it_away(persistence_run, smooth):
    folder = persistence_run
    for name in STAGES[2:]:
        (folder / name).unlink()
    (folder / ".forecasts.safetensors.4194305.partial").write_bytes(b"half")  # as a killed process leaves it
    execute(requested("persistence", smooth), folder)
    assert {path.name for path in folder.iterdir()} == {*STAGES, *FIGURES}


def test_when_a_run_is_interrupted_then_it_says_that_finished_work_is_kept(third_party_predictors, smooth, tmp_path):
    folder = tmp_path / "run"
    (third_party_predictors / "halt-in-predict").touch()
    process = start(smooth, folder, third_party_predictors, tmp_path)
    wait_for(tmp_path / "log", "predict", process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    errors = (tmp_path / "log").read_text()
    assert "Finished work is kept" in errors
    assert "Traceback" not in errors
    assert (folder / "predictor.safetensors").exists()
    assert not list(folder.glob(".*.partial"))


def test_when_a_killed_run_left_half_a_key_then_its_folder_is_still_its_own(smooth, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".key.json.4194305.partial").write_text('{"protocol"')
    execute(requested("persistence", smooth), folder)
    assert {path.name for path in folder.iterdir()} == {*STAGES, *FIGURES}
