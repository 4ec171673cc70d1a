"""Forecasts: asked for in batches, checked, and written whole or not at all."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import synthetic, third_party
from helpers.third_party import NoOptions
from tipl_bench.baselines.linear import Linear, LinearOptions
from tipl_bench.benchmark.forecast import forecasting as forecast_module
from tipl_bench.benchmark.forecast.forecasting import write_forecasts
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.utils.errors import PredictorError
from tipl_bench.utils.progress import silent
from tipl_bench.utils.tensorfile import map_tensors


def written(predictor, dataset, path, progress=silent):
    """The forecast file's tensors."""
    write_forecasts(predictor, dataset, evaluation_windows(dataset, synthetic.SMALL), synthetic.SMALL, path, progress)
    return map_tensors(path)


def in_time(dataset):
    """The windows of a dataset in the order in which a predictor meets them."""
    return sorted(evaluation_windows(dataset, synthetic.SMALL), key=lambda window: window.origin)


@pytest.mark.parametrize("length", [20, 40])
def test_when_forecasts_are_written_then_row_and_window_belong_together(length, walking, tmp_path):
    windows = evaluation_windows(walking, synthetic.SMALL)
    tensors = written(third_party.Watching(NoOptions(), length), walking, tmp_path / "forecasts.safetensors")
    assert tensors["trial"].tolist() == [window.trial for window in windows]
    assert tensors["origin"].tolist() == [window.origin for window in windows]
    assert tensors["forecasts"].dtype == np.float32
    for row, window in enumerate(windows):
        still = walking.trial(window.trial).weights(window.origin, window.origin + 1).repeat(3, axis=0)
        np.testing.assert_array_equal(tensors["forecasts"][row], still)


def test_when_contexts_would_not_fit_then_smaller_batches_give_the_same_file(walking, tmp_path, monkeypatch):
    path = tmp_path / "forecasts.safetensors"
    written(Linear(LinearOptions(points=5)), walking, path)
    once = path.read_bytes()
    for most in (2, 1):  # of the two test trials
        monkeypatch.setattr(forecast_module, "BATCH_BYTES", most * 4 * 20 * 32)
        watching = third_party.Watching(NoOptions())
        written(watching, walking, tmp_path / "watched.safetensors")
        assert {len(contexts) for contexts in watching.shown} == {most}
    written(Linear(LinearOptions(points=5)), walking, path)
    assert path.read_bytes() == once


def test_when_forecasts_are_written_then_progress_reaches_the_last_window(walking, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast_module, "BATCH_BYTES", 1)
    calls: list[tuple[int, int]] = []
    predictor = third_party.ThirdParty(NoOptions())
    written(
        predictor, walking, tmp_path / "f.safetensors", lambda stage, done, total, word: calls.append((done, total))
    )
    assert calls == [(done, 20) for done in range(1, 21)]


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (third_party.Raising, r"raised LookupError\('no idea'\)"),
        (third_party.WrongHorizon, r"shape \[2, 2, 32\] and type float32, not \[2, 3, 32\] float32"),
        (third_party.WrongBatch, r"shape \[1, 3, 32\] and type float32, not \[2, 3, 32\] float32"),
        (third_party.Integers, r"shape \[2, 3, 32\] and type int64, not \[2, 3, 32\] float32"),
        (third_party.Text, r"type <U\d+, not \[2, 3, 32\] float32"),
        (third_party.ReturnsNone, r"shape \[\] and type object, not \[2, 3, 32\] float32"),
        (third_party.Overflowing, "the forecast is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_when_a_predictor_misbehaves_then_it_and_the_first_window_are_named(kind, complaint, walking, tmp_path):
    first = in_time(walking)[0]
    with pytest.raises(PredictorError, match=complaint) as caught:
        written(kind(NoOptions()), walking, tmp_path / "forecasts.safetensors")
    assert re.match(f"{kind.name} at trial {first.trial}, origin {first.origin}\\b", str(caught.value))


def test_when_one_forecast_is_not_finite_then_its_own_window_is_named(walking, tmp_path):
    second = in_time(walking)[1]
    with pytest.raises(
        PredictorError, match=f"not-finite at trial {second.trial}, origin {second.origin}: .*not finite"
    ):
        written(third_party.NotFinite(NoOptions()), walking, tmp_path / "forecasts.safetensors")


def test_when_a_predictor_raises_then_its_own_error_is_the_cause(walking, tmp_path):
    with pytest.raises(PredictorError) as caught:
        written(third_party.Raising(NoOptions()), walking, tmp_path / "forecasts.safetensors")
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("kind", [third_party.Raising, third_party.NotFinite])
def test_when_a_predictor_fails_then_no_file_is_left_and_an_earlier_one_stays(kind, walking, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(PredictorError):
        written(kind(NoOptions()), walking, folder / "forecasts.safetensors")
    assert list(folder.iterdir()) == []
    written(third_party.ThirdParty(NoOptions()), walking, folder / "forecasts.safetensors")
    earlier = (folder / "forecasts.safetensors").read_bytes()
    with pytest.raises(PredictorError):
        written(kind(NoOptions()), walking, folder / "forecasts.safetensors")
    assert [path.name for path in folder.iterdir()] == ["forecasts.safetensors"]
    assert (folder / "forecasts.safetensors").read_bytes() == earlier


def test_when_forecasts_are_float64_then_they_are_stored_as_the_nearest_float32(walking, tmp_path):
    doubles = written(third_party.Double(NoOptions()), walking, tmp_path / "double.safetensors")["forecasts"]
    windows = evaluation_windows(walking, synthetic.SMALL)
    exact = (
        np.stack([walking.trial(w.trial).weights(w.origin, w.origin + 1) for w in windows]).astype(np.float64) + 1e-9
    )
    assert doubles.dtype == np.float32
    np.testing.assert_array_equal(doubles, exact.astype(np.float32).repeat(3, axis=1))
