"""Forecasts of the observation normaliser: what acts with them, what they must be, and what a run says of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import normalisers, synthetic
from helpers.normalisers import NoOptions
from helpers.submission_workspace import NAME, write_catalog
from safetensors.numpy import load_file, save_file
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark.forecast.contract import check_contract
from tipl_bench.benchmark.forecast.forecasting import forecasts_layout, write_forecasts
from tipl_bench.benchmark.forecast.reference_returns import reference_returns
from tipl_bench.benchmark.forecast.scoring import forecast_returns, score, window_rows
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import Run, execute
from tipl_bench.benchmark.worker.messages import PredictorCrash
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.cli import main
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.render import markdown
from tipl_bench.leaderboard.render.site import page_data
from tipl_bench.leaderboard.store.records import add
from tipl_bench.leaderboard.submission.identity import normaliser_problem
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.store import dataset_folder
from tipl_bench.rl.evaluation import Policies, evaluate_returns
from tipl_bench.utils.errors import PredictorError, ProtocolError
from tipl_bench.utils.files import sha256
from tipl_bench.utils.progress import silent
from tipl_bench.utils.tensorfile import map_tensors

PROTOCOL = synthetic.SMALL_2
OPTIONS = {"points": 2, "damping": 1.0}


def moving_moments(seed: int) -> tuple[np.ndarray, np.ndarray]:
    stream = np.random.default_rng(seed)
    return stream.normal(size=(81, 4)), stream.uniform(0.05, 3.0, size=(81, 4))


@pytest.fixture(scope="module")
def same(tmp_path_factory) -> Dataset:
    """A dataset whose trials are all the same, with a normaliser that moves."""
    weights = synthetic.random_walk(0, 81, 32)
    folder = tmp_path_factory.mktemp("normaliser") / "same"
    return synthetic.write_dataset(folder, [weights] * 8, moments=[moving_moments(0)] * 8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of `linear` with its forecasts of the normaliser, on a dataset in a store; the store's copy."""
    folder = tmp_path_factory.mktemp("normaliser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        moments = [moving_moments(trial) for trial in range(8)]
        dataset = synthetic.walking_dataset(dataset_folder(NAME), moments=moments)
        write_catalog(digest=dataset.digest)
        request = RunRequest("linear", dataset, settings=("normaliser=true",), protocol=synthetic.SMALL, device="cpu")
        execute(request, folder / "run")
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch) -> Run:
    """That run, for a test to change, with its store as this test's own."""
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)
    shutil.copytree(finished / "store", cache_root())
    shutil.copytree(finished / "run", tmp_path / "run")
    return Run(tmp_path / "run", read_record(tmp_path / "run" / "record.json"))


def dataset_of_run() -> Dataset:
    return Dataset.open(dataset_folder(NAME))


def forge(run: Run, **tensors: np.ndarray | None) -> None:
    """Change tensors of a run's forecasts, or leave them out, and state their sha256."""
    path = run.folder / "forecasts.safetensors"
    found = load_file(path) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)
    run.record.model_copy(update={"artifacts": {"forecasts": sha256(path)}}).write(run.folder)


def test_a_right_forecast_of_weights_and_normaliser_has_no_return_error(same, tmp_path):
    predictor = normalisers.Knowing(NoOptions())
    predictor.fit(FitTask(same.trials([0]), same.trials([5]), PROTOCOL.horizon, PROTOCOL.context))
    windows = evaluation_windows(same, PROTOCOL)
    write_forecasts(predictor, same, windows, PROTOCOL, tmp_path / "forecasts")
    found = map_tensors(tmp_path / "forecasts")
    forecasts = np.asarray(found["forecasts"])
    reference = reference_returns(same, PROTOCOL)
    own = forecast_returns(same, windows, forecasts, PROTOCOL, normaliser=found["normaliser"]).values
    origins = forecast_returns(same, windows, forecasts, PROTOCOL).values
    np.testing.assert_array_equal(own, reference.target)
    np.testing.assert_array_equal(origins, reference.perfect)
    for result in score(window_rows(same, windows, forecasts, own, reference, PROTOCOL), PROTOCOL):
        assert (result["skill"].value, result["repw"].value) == (1.0, 0.0)
        assert result["repw_perfect"].value > 0


def test_a_run_is_scored_by_policies_that_act_with_its_forecast_normaliser(run):
    tensors, rows, dataset = load_file(run.folder / "forecasts.safetensors"), run.windows, dataset_of_run()
    assert tensors["normaliser"].dtype == np.float64
    policies = Policies(
        tensors["forecasts"].reshape(len(rows), -1),
        tensors["normaliser"][:, :, 0].reshape(len(rows), -1),
        tensors["normaliser"][:, :, 1].reshape(len(rows), -1),
    )
    expected = evaluate_returns(dataset.environment, dataset.layout, policies, synthetic.SMALL.evaluation_seeds)
    np.testing.assert_array_equal(rows["return_forecast"], expected)
    past = [dataset.trial(t).weights(o - 1, o + 1) for t, o in zip(tensors["trial"], tensors["origin"], strict=True)]
    line = [two[1] + np.arange(1, 4)[:, None] * (two[1] - two[0]) for two in past]
    np.testing.assert_allclose(tensors["forecasts"], line, rtol=1e-5, atol=1e-5)


def test_a_record_says_so_and_other_predictors_are_described_as_ever(run, smooth):
    method = run.record.key.method
    assert (method.forecasts_normaliser, method.consumes) == (True, "statistics")
    assert method.options == {**OPTIONS, "normaliser": True}
    request = RunRequest("linear", smooth, protocol=synthetic.SMALL, device="cpu")
    with request.start() as predictor:
        stated = request.key(predictor).method
    whole = {"name": "linear", "version": 1, "consumes": "weights", "budget": "quick", "options": OPTIONS}
    assert stated.model_dump(mode="json") == stated.stable() == whole
    layout = forecasts_layout(smooth, [], synthetic.SMALL, normaliser=stated.forecasts_normaliser)
    assert [*layout] == ["forecasts", "trial", "origin"]


def test_a_run_is_checked_run_again_kept_and_shown_as_one_that_forecasts_the_normaliser(run, tmp_path):
    (tmp_path / "records").mkdir()
    words = ["leaderboard", "check", run.folder, "--records", tmp_path / "records"]
    checked = CliRunner().invoke(main, [str(word) for word in words])
    assert "bitwise" in checked.output, checked.output
    add(run.record, tmp_path / "records")
    board = document(tmp_path / "records")
    text = markdown.render(board)
    assert "linear normaliser=true (statistics) *(forecasts the normaliser)*" in text
    assert "those of rows that forecast the normaliser act with what they forecast" in text
    assert page_data.summary(board)["rows"]["variant"]["values"] == ["normaliser=true (forecasts the normaliser)"]


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (
            normalisers.WithoutVariance,
            r"normaliser of shape \[2, 3, 1, 4\] and type float64, not \[2, 3, 2, 4\] float64",
        ),
        (normalisers.NegativeVariance, "has a normaliser that is not finite, or a variance that is not above 0"),
        (normalisers.UndefinedMean, "has a normaliser that is not finite, or a variance that is not above 0"),
        (normalisers.Undefined, "undefined forecasts no normaliser: it defines no predict_normaliser"),
    ],
)
def test_when_the_normaliser_cannot_be_one_then_predictor_and_window_are_named(kind, complaint, same, tmp_path):
    with pytest.raises(PredictorError, match=rf"{kind.name} at trial \d, origin \d+\b.*{complaint}"):
        write_forecasts(kind(NoOptions()), same, evaluation_windows(same, PROTOCOL), PROTOCOL, tmp_path / "forecasts")
    assert not (tmp_path / "forecasts").exists()


def test_when_the_worker_sends_a_normaliser_of_another_shape_then_it_is_refused(same):
    contexts = synthetic.contexts_of(same, 6, [30])
    with PredictorProcess("helpers.normalisers:WithoutVariance") as predictor:
        assert (predictor.forecasts_normaliser, predictor.consumes) == (True, "statistics")
        with pytest.raises(PredictorCrash, match=r"normaliser of shape \[1, 3, 1, 4\] .*, not \[1, 3, 2, 4\] float64"):
            predictor.predict_normaliser(contexts, 3)


def test_when_a_normaliser_depends_on_the_batch_then_the_contract_is_broken(tmp_path):
    moments = [moving_moments(trial) for trial in range(8)]
    dataset = synthetic.walking_dataset(tmp_path / "set", moments=moments)
    path, windows = tmp_path / "forecasts", evaluation_windows(dataset, PROTOCOL)
    predictor = normalisers.CentresNormaliser(NoOptions())
    write_forecasts(predictor, dataset, windows, PROTOCOL, path)
    with pytest.raises(PredictorError, match=r"\d+ of 10 windows differ in their normaliser .*other windows of its"):
        check_contract(predictor, dataset, windows, PROTOCOL, path, silent)
    assert not path.exists()


def test_when_the_normaliser_is_the_targets_then_it_is_flagged_and_not_taken_for_a_predictors_own(run, tmp_path):
    dataset, found = dataset_of_run(), load_file(run.folder / "forecasts.safetensors")
    moments = [
        np.stack([dataset.trial(trial).read(f"observation_{name}", t + 1, t + 4) for name in ("mean", "variance")], 1)
        for trial, t in zip(found["trial"].tolist(), found["origin"].tolist(), strict=True)
    ]
    shutil.copytree(run.folder, tmp_path / "own")
    forge(run, normaliser=np.stack(moments))
    assert "60 of 60 forecast normalisers are nearly identical to their targets'" in verify(run.folder).leakage_flags[0]
    own = open_run(tmp_path / "own")
    assert normaliser_problem(own, own) is None
    assert "is not what linear, a predictor of this package, forecasts" in normaliser_problem(open_run(run.folder), own)


def without_normaliser(run: Run) -> None:
    forge(run, normaliser=None)


def undeclared(run: Run) -> None:
    method = run.record.key.method.model_copy(update={"forecasts_normaliser": False})
    key = run.record.key.model_copy(update={"method": method})
    run.record.model_copy(update={"key": key}).write(run.folder)


def negative_variance(run: Run) -> None:
    moments = load_file(run.folder / "forecasts.safetensors")["normaliser"]
    moments[3, 1, 1, 0] = -1.0
    forge(run, normaliser=moments)


@pytest.mark.parametrize(
    ("forgery", "complaint"),
    [
        (without_normaliser, r"tensor 'normaliser' is absent, where the protocol asks for float64 \[20, 3, 2, 4\]"),
        (undeclared, r"tensor 'normaliser' is float64 \[20, 3, 2, 4\], where the protocol asks for absent"),
        (negative_variance, r"the forecast of trial \d, origin \d+ has a normaliser .* variance that is not above 0"),
    ],
)
def test_when_a_forecasts_file_and_its_record_disagree_then_it_is_refused(forgery, complaint, run):
    forgery(run)
    with pytest.raises(ProtocolError, match=complaint):
        open_run(Path(run.folder), dataset_of_run())
