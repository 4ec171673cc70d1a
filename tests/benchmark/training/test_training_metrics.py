"""Metrics of the training track beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tipl_bench.benchmark.training.curves import Curves
from tipl_bench.benchmark.training.metrics import METRICS, estimates, paired, trial_columns
from tipl_bench.benchmark.training.protocol import PROTOCOLS, TUNING_SEED, TUNING_TRIALS
from tipl_bench.utils.errors import ProtocolError

PROTOCOL = PROTOCOLS["InvertedPendulum-v4"].model_copy(
    update={
        "iterations": 6,
        "evaluated_first": 2,
        "evaluated_every": 2,
        "initial_return": 10.0,
        "reference_return": 110.0,
    }
)
STEPS = [0, 2048, 4096, 8192, 12288]
RETURNS = st.lists(st.floats(-50, 200), min_size=5, max_size=5)


def curves_of(returns):
    curves = Curves.empty(len(returns), PROTOCOL.evaluated)
    curves.returns[...] = returns
    return curves


def columns_by_hand(returns):
    y = [(value - 10) / 100 for value in returns]
    area = sum((b - a) * (p + q) / 2 for a, b, p, q in zip(STEPS, STEPS[1:], y, y[1:], strict=False))
    found = {"auc": area / STEPS[-1], "final": returns[-1], "solved": float(max(y) >= 0.95)}
    for name, level in (("steps_50", 0.5), ("steps_95", 0.95)):
        found[name] = STEPS[-1]
        for i, value in enumerate(y):
            if value >= level:
                before = y[i - 1] if i else level
                share = (level - before) / (value - before) if i and value != before else 1
                found[name] = STEPS[i - 1] + share * (STEPS[i] - STEPS[i - 1]) if i else STEPS[0]
                break
    first = next((i for i, value in enumerate(y) if value >= 0.95), None)
    late = [value >= 0.9 for value in y[first + 1 :]] if first is not None else []
    found["kept"] = sum(late) / len(late) if late else np.nan
    return found


@given(st.lists(RETURNS, min_size=1, max_size=4))
def test_the_numbers_of_a_trial_are_those_of_a_plain_loop(returns):
    assert PROTOCOL.evaluated == (0, 1, 2, 4, 6)
    found = trial_columns(curves_of(returns), PROTOCOL)
    for trial, row in enumerate(returns):
        for name, value in columns_by_hand(row).items():
            np.testing.assert_allclose(found[name][trial], value, atol=1e-9, err_msg=name)


def test_estimates_are_statistics_of_the_trials():
    rng = np.random.default_rng(0)
    columns = trial_columns(curves_of(rng.uniform(0, 150, (12, 5))), PROTOCOL)
    found = estimates(columns, PROTOCOL)
    final = np.sort(columns["final"])
    assert {*found} == {metric.name for metric in METRICS}
    assert found["final_iqm"].value == pytest.approx(final[3:9].mean())
    assert found["worst_quarter"].value == pytest.approx(final[:3].mean())
    assert found["kept"].value == pytest.approx(np.nanmean(columns["kept"]))
    for metric in METRICS:
        assert found[metric.name].low <= found[metric.name].value <= found[metric.name].high


def test_pairing_takes_out_what_two_runs_share():
    rng = np.random.default_rng(0)
    shared = rng.uniform(0, 100, (20, 1)) + np.linspace(0, 50, 5)
    ours, theirs = (trial_columns(curves_of(shared + extra), PROTOCOL) for extra in (5.0, 0.0))
    found = paired(ours, theirs, PROTOCOL)
    assert [found["final"].low, found["final"].value, found["final"].high] == pytest.approx([5, 5, 5])
    assert found["better"].value == 1
    alone = estimates(ours, PROTOCOL)["final"]
    assert alone.high - alone.low > 10


def test_the_share_kept_is_compared_over_trials_that_both_runs_solved():
    """An easy trial that only one run solves says nothing of how well the others are kept."""
    rng = np.random.default_rng(0)
    ours = {metric.column: rng.uniform(0.0, 1.0, 20) for metric in METRICS}
    theirs = {name: column + 0.1 for name, column in ours.items()}
    ours["kept"][:5] = np.nan
    theirs["kept"][15:] = np.nan
    theirs["kept"][5:15] += np.linspace(0.0, 0.02, 10)
    found = paired(ours, theirs, PROTOCOL)["kept"]
    assert found.value == pytest.approx(-0.11)
    assert -0.12 <= found.low < found.value < found.high <= -0.1
    ours["kept"][:10] = np.nan
    few = paired(ours, theirs, PROTOCOL)["kept"]
    assert (few.low, few.high) == (None, None)
    assert few.value == pytest.approx((ours["kept"] - theirs["kept"])[10:15].mean())
    ours["kept"][:] = np.nan
    assert paired(ours, theirs, PROTOCOL)["kept"].value is None


def test_the_share_of_better_trials_has_wilsons_interval():
    rng = np.random.default_rng(0)
    ours = {metric.column: rng.uniform(0.0, 1.0, 20) for metric in METRICS}
    theirs = {name: column - 0.1 for name, column in ours.items()}
    found = paired(ours, theirs, PROTOCOL)["better"]
    expected = stats.binomtest(20, 20).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((1.0, expected.low, expected.high))


def test_the_last_tenth_of_a_training_has_several_evaluations():
    for protocol in PROTOCOLS.values():
        assert sum(one >= 0.9 * protocol.iterations for one in protocol.evaluated) > 1


def test_trials_of_the_track_are_no_datasets():
    for protocol in PROTOCOLS.values():
        test, tuning = ({*protocol.seeds(split)} for split in ("test", "tuning"))
        assert len(test) == protocol.trials
        assert tuning == {*range(TUNING_SEED, TUNING_SEED + TUNING_TRIALS)}
        assert not test & tuning
        assert min(test) > 1000 and max(tuning) < 10_000  # noqa: PT018


@pytest.mark.parametrize("damage", ["truncated", "nan", "shape", "missing"])
def test_damaged_curves_are_refused(tmp_path, damage):
    curves = curves_of(np.ones((3, 5)))
    if damage == "nan":
        curves.returns[1, 2] = np.nan
    curves.write(tmp_path / "curves")
    trials = 4 if damage == "shape" else 3
    if damage == "truncated":
        (tmp_path / "curves").write_bytes((tmp_path / "curves").read_bytes()[:-3])
    if damage == "missing":
        (tmp_path / "curves").unlink()
    with pytest.raises(ProtocolError, match="curves"):
        Curves.read(tmp_path / "curves", trials, PROTOCOL.evaluated)
