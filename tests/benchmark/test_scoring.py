"""Scoring: from forecasts to one row per window and horizon, and from rows to metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from tipl_bench.benchmark.forecast.reference_returns import ReferenceReturns
from tipl_bench.benchmark.forecast.scoring import score, window_rows
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.intervals import Estimate
from tipl_bench.utils.errors import ProtocolError

COLUMNS = ("wpe", "wpe_persistence", "wpe_oracle", "repw", "repw_persistence", "noise", "gain")


def scored_rows(smooth, forecasts=None) -> tuple[list, np.ndarray, pd.DataFrame, ReferenceReturns]:
    """Rows of made-up returns for forecasts near the truth."""
    windows = evaluation_windows(smooth, synthetic.SMALL)
    stream = np.random.default_rng(0)
    shape = (len(windows), synthetic.SMALL.horizon)
    true = np.stack([smooth.trial(w.trial).weights(w.origin + 1, w.origin + 4) for w in windows])
    if forecasts is None:
        forecasts = (true + 0.01 * stream.normal(size=true.shape)).astype(np.float32)
    reference = ReferenceReturns(
        origin=stream.uniform(0, 1000, size=len(windows)),
        target=stream.uniform(0, 1000, size=shape),
        target_noise=stream.uniform(0, 1000, size=shape),
    )
    returns = stream.uniform(0, 1000, size=shape)
    return (
        windows,
        returns,
        window_rows(smooth, windows, forecasts, returns, reference, synthetic.SMALL),
        reference,
    )


def random_rows(trials=5, windows=4, horizons=3) -> pd.DataFrame:
    """Rows of random errors, some trials with more windows than others."""
    stream = np.random.default_rng(1)
    rows = [
        {"trial": 20 - trial, "origin": w, "phase": phase, "position": w % 5, "horizon": h + 1}
        | {name: stream.gamma(2.0) for name in (*COLUMNS, "wpe_of_log_std", "wpe_of_layer0.bias")}
        for trial in range(trials)
        for phase in ("learning", "converged")
        for w in range(windows + trial)
        for h in range(horizons)
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=0)


def test_when_windows_are_scored_then_every_row_says_whose_it_is(smooth):
    windows, _, rows, _ = scored_rows(smooth)
    expected = [(w.trial, w.origin, w.phase, w.position, h) for w in windows for h in (1, 2, 3)]
    found = rows[["trial", "origin", "phase", "position", "horizon"]].itertuples(index=False, name=None)
    assert list(found) == expected


def test_when_windows_are_scored_then_errors_and_returns_are_those_of_plain_arithmetic(smooth):
    windows, returns, rows, reference = scored_rows(smooth)
    for number, window in enumerate(windows):
        part = rows.iloc[3 * number : 3 * number + 3]
        weights = smooth.trial(window.trial).weights().astype(np.float64)
        ahead = weights[window.origin + 1 : window.origin + 4]
        still = np.square(ahead - weights[window.origin]).mean(axis=1)
        np.testing.assert_allclose(part["wpe_persistence"], still, rtol=1e-12)
        np.testing.assert_array_equal(part["return_forecast"], returns[number])
        np.testing.assert_array_equal(part["repw"], abs(reference.target[number] - returns[number]))
        np.testing.assert_array_equal(
            part["repw_persistence"], abs(reference.target[number] - reference.origin[number])
        )
        np.testing.assert_array_equal(part["noise"], abs(reference.target[number] - reference.target_noise[number]))
        np.testing.assert_array_equal(part["gain"], returns[number] - reference.origin[number])
        columns = (weights[window.origin - 19 : window.origin] - weights[window.origin]).T
        left = np.linalg.lstsq(columns, (ahead - weights[window.origin]).T)[1]
        np.testing.assert_allclose(part["wpe_oracle"], left / 32, rtol=1e-6)


def test_when_the_forecast_is_persistence_then_skill_is_zero_without_any_spread(smooth):
    windows = evaluation_windows(smooth, synthetic.SMALL)
    still = np.stack([smooth.trial(w.trial).weights(w.origin, w.origin + 1) for w in windows]).repeat(3, axis=1)
    metrics = score(scored_rows(smooth, still)[2], synthetic.SMALL)
    assert [metric["skill"] for metric in metrics] == [Estimate(0.0, 0.0, 0.0)] * 9


def test_when_rows_are_summed_up_then_every_metric_is_that_of_a_plain_loop():
    rows = random_rows()
    metrics = score(rows, synthetic.SMALL)
    assert [(m.phase, m.horizon) for m in metrics] == [
        (phase, h) for phase in ("learning", "converged", "all") for h in (1, 2, 3)
    ]
    for metric in metrics:
        chosen = [
            row
            for row in rows.to_dict("records")
            if row["horizon"] == metric.horizon and metric.phase in (row["phase"], "all")
        ]

        def mean(name, chosen=chosen):
            return pytest.approx(sum(row[name] for row in chosen) / len(chosen), rel=1e-12)

        def ratio(name, chosen=chosen):
            total = sum(row["wpe_persistence"] for row in chosen)
            return pytest.approx(1 - sum(row[name] for row in chosen) / total, rel=1e-12)

        assert metric.windows == len(chosen)
        assert metric.trials == 5
        assert metric["skill"].value == ratio("wpe")
        assert metric["oracle_skill"].value == ratio("wpe_oracle")
        for name, column in (("reset_noise", "noise"), ("gain", "gain"), ("wpe", "wpe"), ("repw", "repw")):
            assert metric[name].value == mean(column)
            assert metric[name].low < metric[name].value < metric[name].high
        assert metric.layers == {name: mean(f"wpe_of_{name}") for name in ("log_std", "layer0.bias")}
        for name, by_trial in metric.by_trial.items():
            plain = [
                sum(1 if name == "windows" else row[name] for row in chosen if row["trial"] == trial)
                for trial in (16, 17, 18, 19, 20)
            ]
            assert list(by_trial) == pytest.approx(plain, rel=1e-12)


def test_when_rows_come_in_another_order_then_the_metrics_agree():
    rows = random_rows()
    shuffled = rows.sample(frac=1.0, random_state=5)
    for one, other in zip(score(rows, synthetic.SMALL), score(shuffled, synthetic.SMALL), strict=True):
        assert one["skill"].value == pytest.approx(other["skill"].value, rel=1e-12)
        assert one["skill"].low == pytest.approx(other["skill"].low, rel=1e-12)


def test_when_no_window_is_in_a_phase_then_the_phase_is_left_out():
    rows = random_rows()
    metrics = score(rows[rows["phase"] == "converged"], synthetic.SMALL)
    assert {metric.phase for metric in metrics} == {"converged", "all"}


def test_when_there_is_a_single_test_trial_then_values_stand_without_intervals():
    rows = random_rows(trials=1)
    for metric in score(rows, synthetic.SMALL):
        assert metric["skill"].value is not None
        assert metric["skill"].low is metric["skill"].high is metric["repw"].low is None


def test_when_a_return_is_not_a_number_then_its_error_is_not_counted_as_zero():
    rows = random_rows()
    whole = score(rows, synthetic.SMALL)[-1]["repw"].value
    rows.loc[rows.index[rows["horizon"] == 3][:10], "repw"] = np.nan
    try:
        counted = score(rows, synthetic.SMALL)[-1]["repw"].value
    except ProtocolError:
        return  # refusing such rows is as good as calling the mean undefined
    assert counted is None or counted >= whole
