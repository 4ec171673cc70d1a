"""The curve of a fit in the run folder."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines.predictor import FitCurve
from tipl_bench.benchmark.fitting.curve import MAX_POINTS, read_curve, write_curve
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute


def test_when_what_a_predictor_reports_is_no_table_then_it_is_left_out_with_one_warning(smooth, tmp_path):
    request = RunRequest("helpers.fits:NoCurve", smooth, protocol=synthetic.SMALL, limit=2, returns=False)
    with pytest.warns(UserWarning, match=r"no-curve: the curve of its fit is left out: not a table of n") as caught:
        assert not execute(request, tmp_path / "run").record.failed
    assert len(caught) == 1
    assert not (tmp_path / "run" / "fit.csv").exists()


def points(*rows: tuple[float, float | None, float | None, bool]) -> np.ndarray:
    """Points as the process of a predictor sends them."""
    curve = FitCurve()
    for step, training, validation, kept in rows:
        curve.add(step, training=training, validation=validation, kept=kept)
    return np.array(curve.points, dtype=np.float64)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (np.empty(0), "not a table of numbers with the columns step, training_loss, validation_loss, kept"),
        (np.zeros((3, 4), dtype=np.int64), "not a table of numbers"),
        (np.zeros((MAX_POINTS + 1, 4)), "it has more than 100,000 points"),
        (points((1.5, 1, 1, True)), "its steps are not whole numbers from 0"),
        (points((1e300, 1, 1, True)), "its steps are not whole numbers from 0"),
        (points((2, 1, 1, True), (1, 1, 1, True)), "its steps do not rise"),
        (points((0, np.nan, None, True), (1, np.inf, -np.inf, True)), "it holds no finite loss"),
    ],
)
def test_when_a_curve_is_none_then_it_is_not_written_and_the_reason_is_said(sent, reason, tmp_path):
    with pytest.warns(UserWarning, match=f"mine: the curve of its fit is left out: {reason}"):
        write_curve("mine", sent, tmp_path)
    assert not (tmp_path / "fit.csv").exists()


def test_when_some_losses_are_not_finite_then_they_are_missing_and_the_last_kept_step_counts(tmp_path):
    write_curve("mine", points((0, None, 1.0, True), (5, np.inf, 0.5, True), (9, 1e300, np.nan, False)), tmp_path)
    assert (tmp_path / "fit.csv").read_text() == (
        "step,training_loss,validation_loss,kept\n0,,1.0,False\n5,,0.5,True\n9,1e+300,,False\n"
    )


@pytest.mark.parametrize("text", ["", "\x00\xff", "step\n1\n", "step,training_loss,validation_loss,kept\na,b,c,d\n"])
def test_when_the_file_is_damaged_then_it_is_left_out_with_one_warning_that_names_it(text, tmp_path):
    (tmp_path / "fit.csv").write_text(text, encoding="latin-1")
    with pytest.warns(UserWarning, match=r"fit\.csv is left out") as caught:
        assert read_curve(tmp_path) is None
    assert len(caught) == 1
