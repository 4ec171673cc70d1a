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


@pytest.fixture(scope="module")
def finished(smooth, tmp_path_factory):
    """A finished run and the store with its returns; only to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        execute(request("autoregression", smooth), folder / "run")
    return folder


@pytest.fixture
def unfinished(finished, store, tmp_path):
    """The folder of a run that was stopped after forecasting."""
    shutil.copytree(finished / "store", store)
    folder = shutil.copytree(finished / "run", tmp_path / "run")
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


@pytest.fixture
def edited(tmp_path):
    """A predictor in a file; call it to change what the file forecasts, not its version."""
    script = tmp_path / "edited.py"

    def edit(step: float) -> str:
        script.write_text(
            "from tipl_bench.baselines.predictor import NoOptions, Predictor\n\n\n"
            "class Edited(Predictor[NoOptions]):\n"
            '    name, version, summary = "edited", 1, "Adds a step to the last weights."\n\n'
            "    def predict(self, contexts, horizon):\n"
            f"        return contexts.weights[:, -1:].repeat(horizon, axis=1) + {step}\n"
        )
        return f"{script}:Edited"

    return edit


CHANGED = (
    r"the predictor's code or the machine may have changed.*forecasts.safetensors was left as it is.*`--out`.*version"
)


def test_when_the_code_changed_before_a_run_goes_on_then_its_forecasts_stay_and_the_error_says_so(
    edited, smooth, tmp_path
):
    folder = tmp_path / "run"
    whole = execute(request(edited(0.0), smooth), folder)
    (folder / "record.json").unlink()
    before = (folder / "forecasts.safetensors").read_bytes()
    with pytest.raises(PredictorError, match=CHANGED):
        execute(request(edited(0.5), smooth), folder)
    assert (folder / "forecasts.safetensors").read_bytes() == before
    assert execute(request(edited(0.0), smooth), folder).record.without_cost() == whole.record.without_cost()


def test_when_the_code_changed_before_returns_are_added_then_the_finished_run_stays(edited, smooth, tmp_path):
    def validation(step, **settings):
        return RunRequest(edited(step), smooth, device="cpu", protocol=synthetic.SMALL, split="validation", **settings)

    folder = tmp_path / "run"
    execute(validation(0.0, returns=False), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ProtocolError, match=r"finished run of other code: edited\.py changed since.*another folder"):
        execute(validation(0.5), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert execute(validation(0.0), folder).record.has_returns


def test_when_forecasts_are_made_again_then_no_rows_of_the_former_ones_are_scored(edited, smooth, tmp_path):
    folder = tmp_path / "run"
    execute(request(edited(0.0), smooth), folder)
    for name in ("record.json", "forecasts.safetensors"):
        (folder / name).unlink()
    again = execute(request(edited(0.5), smooth), folder).record
    assert again.without_cost() == execute(request(edited(0.5), smooth), tmp_path / "anew").record.without_cost()


def test_rows_that_are_not_of_the_forecasts_beside_them_are_not_scored(smooth, finished, unfinished, tmp_path):
    other = execute(request("persistence", smooth), tmp_path / "persistence")
    shutil.copy(other.folder / "windows.parquet", unfinished)
    record = execute(request("autoregression", smooth), unfinished).record
    assert record.without_cost() == read_record(finished / "run" / "record.json").without_cost()
