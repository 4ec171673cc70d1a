"""The contract, asked again on real windows in a new process after forecasting."""

from __future__ import annotations

import shutil

import pytest
from helpers import synthetic
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.utils.errors import PredictorError, ProtocolError
from tipl_bench.utils.tensorfile import create_tensors, map_tensors


def request(model, dataset) -> RunRequest:
    return RunRequest(model, dataset, device="cpu", protocol=synthetic.SMALL)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("remembering", "the same call, made twice, gives different forecasts: it draws random numbers or keeps"),
        ("counting", "forecasts depend on the windows that were forecast before, or on something that the saved"),
        ("nondeterministic", "the same call, made twice, gives different forecasts"),
        ("centres-batch", "a forecast depends on the other windows of its batch"),
        ("mixes-windows", "a forecast depends on the other windows of its batch"),
        ("saves-nothing", "or on something that the saved state lacks"),
    ],
)
def test_when_real_forecasts_break_the_contract_then_the_run_fails_and_says_where_and_why(
    model, reason, misbehaving_predictors, smooth, tmp_path
):
    with pytest.raises(
        PredictorError, match=rf"{model}: \d+ of 10 windows differ .*trial \d, origin \d+ by .*{reason}"
    ):
        execute(request(model, smooth), tmp_path / "run")
    record = read_record(tmp_path / "run" / "record.json")
    assert (record.failed, record.status.stage) == (True, "contract")
    assert not (tmp_path / "run" / "forecasts.safetensors").exists()
    assert (tmp_path / "run" / "predictor.safetensors").exists()


@pytest.fixture
def unfinished(smooth, tmp_path):
    """The folder of a run that was stopped after forecasting."""
    folder = tmp_path / "run"
    execute(request("autoregression", smooth), folder)
    shutil.copy(folder / "forecasts.safetensors", tmp_path / "forecasts")
    for name in ("record.json", "windows.parquet"):
        (folder / name).unlink()
    return folder


def test_when_forecasts_of_an_unfinished_run_were_changed_then_it_fails(unfinished, smooth):
    path = unfinished / "forecasts.safetensors"
    layout = {name: (str(tensor.dtype), tensor.shape) for name, tensor in map_tensors(path).items()}
    create_tensors(path, layout)["forecasts"][::2] = 0.5
    with pytest.raises(PredictorError, match="windows differ"):
        execute(request("autoregression", smooth), unfinished)


@pytest.mark.parametrize("damage", ["truncated", "missing", "empty"])
def test_when_forecasts_of_an_unfinished_run_are_damaged_then_they_are_made_again(damage, unfinished, smooth, tmp_path):
    path = unfinished / "forecasts.safetensors"
    path.write_bytes(path.read_bytes()[: 1000 if damage == "truncated" else 0])
    if damage == "missing":
        path.unlink()
    assert execute(request("autoregression", smooth), unfinished).record.status.state == "finished"
    assert path.read_bytes() == (tmp_path / "forecasts").read_bytes()


@pytest.mark.parametrize(
    ("name", "error", "way_out"),
    [
        ("predictor.safetensors", PredictorError, "predictor.safetensors is damaged, remove it, and the same command"),
        ("key.json", ProtocolError, "key.json: not a run's key .* Choose another folder"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xff\x00{", b"[" * 5000])
def test_when_another_file_of_a_run_is_damaged_then_the_error_names_the_way_out(
    name, error, way_out, content, unfinished, smooth
):
    (unfinished / name).write_bytes(content)
    with pytest.raises(error, match=way_out):
        execute(request("autoregression", smooth), unfinished)
