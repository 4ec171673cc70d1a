"""The figure and the table of a run."""

from __future__ import annotations

import io
import struct
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from rich.console import Console
from tipl_bench.benchmark import figures as figure
from tipl_bench.benchmark import table
from tipl_bench.benchmark.compare import draw as draw_compared
from tipl_bench.benchmark.intervals import UNDEFINED, Estimate
from tipl_bench.benchmark.metrics import METRICS
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.benchmark.table import _cells, interval, number
from tipl_bench.utils.errors import ProtocolError

pytestmark = pytest.mark.usefixtures("drawn")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's record and rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("store")))
        folder = tmp_path_factory.mktemp("pictures")
        dataset = synthetic.smooth_dataset(folder / "set")
        record = execute(RunRequest("linear", dataset, device="cpu", protocol=PROTOCOLS[1]), folder / "run").record
        return record, pd.read_parquet(folder / "run" / "windows.parquet")


@pytest.fixture(scope="module")
def under_2(tmp_path_factory):
    """The same under a small protocol 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("store")))
        folder = tmp_path_factory.mktemp("pictures-2")
        dataset = synthetic.walking_dataset(folder / "set")
        request = RunRequest("linear", dataset, device="cpu", protocol=synthetic.SMALL_2)
        record = execute(request, folder / "run").record
        return record, pd.read_parquet(folder / "run" / "windows.parquet")


def printed(record, width: int = 200) -> str:
    """The table as a terminal of a width shows it."""
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(table.render(record))
    return console.export_text()


def test_when_a_figure_is_drawn_then_both_files_are_what_their_names_say(finished, tmp_path):
    figure.draw(*finished, tmp_path)
    root = ElementTree.parse(tmp_path / "figure.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(root.itertext())
    assert "linear on toy-pendulum/synthetic-v1 (protocol 1, seed 0, quick)" in words
    for label in (
        "WPE of persistence",
        "REPW of persistence",
        "forward prediction step",
        "learning phase",
        "converged",
    ):
        assert label in words
    assert "perfect" not in words
    png = (tmp_path / "figure.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (1984, 592)


def test_several_runs_are_drawn_together(finished, under_2, tmp_path):
    record, _ = finished
    draw_compared([record, record], tmp_path / "both", "learning")
    words = " ".join(ElementTree.parse(tmp_path / "both.svg").getroot().itertext())
    for label in ("linear v1 quick seed 0", "linear v1 quick seed 0 (2)", "REPW of persistence", "learning phase"):
        assert label in words
    assert (tmp_path / "both.png").stat().st_size > 10_000
    with pytest.raises(ProtocolError, match="such a run cannot be compared"):
        draw_compared([record, under_2[0]], tmp_path / "no")
    with pytest.raises(ProtocolError, match="has no windows of the later phase"):
        draw_compared([record, record], tmp_path / "no", "later")
    assert not list(tmp_path.glob("no*"))


def test_the_figure_of_protocol_2_has_persistence_and_the_perfect_forecast_beside_it(under_2, tmp_path):
    record, rows = under_2
    figure.draw(record, rows, tmp_path)
    words = " ".join(ElementTree.parse(tmp_path / "figure.svg").getroot().itertext())
    for label in (
        "REPW of persistence",
        "REPW of a perfect forecast",
        "linear, all horizons",
        "persistence, all horizons",
    ):
        assert label in words
    learning = rows[rows["phase"] == "learning"]
    for column in ("return_forecast", "return_origin"):
        r = np.corrcoef(learning["return_true"], learning[column])[0, 1]
        assert f"learning, r = {r:.3f}" in words


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_of_protocol_2_shows_the_floor_moving_windows_and_positions_whole(under_2, width):
    record, _ = under_2
    shown = printed(record, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "\u2026" not in shown
    result = record.result("learning", 2)
    lines = [f" {line} " for line in shown.splitlines() if line.strip().startswith("2 ")]
    words = " ".join(lines)
    for name in ("repw_perfect", "repw_moving", "repw_moving_persistence", "reset_noise"):
        assert f" {number(result[name].value, 1)} " in words, name
    skills = [f"{value:.3f}" for value in result.at_positions("skill")]
    assert any(line.split() == ["2", *skills] for line in lines), "one line of skill by position"
    assert "skill while learning, by the origin's position" in " ".join(shown.split())


def test_when_a_figure_is_drawn_twice_then_its_bytes_are_the_same(finished, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        figure.draw(*finished, tmp_path / name)
    for name in ("figure.svg", "figure.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_when_the_fit_has_a_curve_then_it_is_drawn_beside_the_papers_figure(finished, tmp_path):
    curve = "step,training_loss,validation_loss,kept\n0,,1.0,False\n500,8.0,,False\n1000,7.5,0.7,True\n"
    (tmp_path / "fit.csv").write_text(curve)
    figure.draw(*finished, tmp_path)
    words = " ".join(ElementTree.parse(tmp_path / "fit.svg").getroot().itertext())
    for label in ("training loss", "validation loss", "kept: step 1,000", "linear on toy-pendulum/synthetic-v1"):
        assert label in words
    assert {path.name for path in tmp_path.glob("*.png")} == {"figure.png", "fit.png"}


def test_when_no_window_is_in_the_learning_phase_then_all_windows_are_drawn(finished, tmp_path):
    record, rows = finished
    metrics = tuple(metric for metric in record.results if metric.phase != "learning")
    figure.draw(record.model_copy(update={"results": metrics}), rows[rows["phase"] == "converged"], tmp_path)
    assert "all windows" in " ".join(ElementTree.parse(tmp_path / "figure.svg").getroot().itertext())


def test_when_there_is_one_test_trial_then_the_figure_has_no_bands(tmp_path):
    dataset = synthetic.smooth_dataset(tmp_path / "set", trials=3)
    record = execute(RunRequest("linear", dataset, device="cpu", protocol=synthetic.SMALL), tmp_path / "run").record
    figure.draw(record, pd.read_parquet(tmp_path / "run" / "windows.parquet"), tmp_path)
    text = (tmp_path / "figure.svg").read_text()
    assert "FillBetweenPolyCollection" not in text
    rows = printed(record).split("gain", 1)[1].split("learning:")[0]
    assert f"{record.result('learning', 1)['skill'].value:.3f}" in rows
    assert "[" not in rows


def test_when_a_record_is_shown_then_skill_interval_and_return_error_stand_in_each_row(finished):
    record, _ = finished
    shown = printed(record)
    for phase, horizons in (("learning", range(1, 11)), ("converged", (1, 2, 5, 10))):
        for horizon in horizons:
            result = record.result(phase, horizon)
            skill = result["skill"]
            row = next(line for line in shown.splitlines() if f"[{skill.low:.3f}, {skill.high:.3f}]" in line)
            for word in (f"{skill.value:.3f}", f"{result['oracle_skill'].value:.3f}", f"{result['repw'].value:.1f}"):
                assert f" {word} " in f"{row} "
            assert f"{result['gain'].value:+.1f}".replace("-0.0", "+0.0") in row


def test_when_a_record_is_shown_then_it_says_what_was_run_on_what(finished):
    record, _ = finished
    shown = printed(record)
    assert "linear v1 on toy-pendulum/synthetic-v1 (InvertedPendulum-v4), protocol 1, seed 0" in shown
    assert "budget quick: points=2, damping=1.0" in shown
    assert record.key.dataset.digest[:12] in shown
    assert "learning: 20 windows of 2 trials, converged: 20 windows of 2 trials" in shown


def test_when_there_is_no_learning_phase_then_the_table_says_so(finished):
    record, _ = finished
    metrics = tuple(metric for metric in record.results if metric.phase != "learning")
    shown = printed(record.model_copy(update={"results": metrics}))
    assert "No test trial has a learning phase with a full context." in shown
    assert "No test trial has a learning phase" not in printed(record)


EXTREMES = {
    "large": Estimate(-12345.67, -98765.43, 54321.98),
    "without bounds": Estimate(-4444.4, None, None),
    "undefined": UNDEFINED,
}


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("kind", EXTREMES)
def test_when_the_terminal_is_narrow_then_every_number_is_whole(kind, width, finished):
    record, _ = finished
    estimates = {metric.name: EXTREMES[kind] for metric in METRICS}
    results = tuple(result.model_copy(update={"estimates": estimates}) for result in record.results)
    shown = printed(record.model_copy(update={"results": results}), width)
    assert "\u2026" not in shown
    assert max(map(len, shown.splitlines())) <= width
    words = [cell for metric in METRICS if metric.heading for cell in _cells(metric, results[0])]
    for cell in {str(word) for word in words}:
        column = [line for line in shown.splitlines() if f" {cell} " in f" {line} "]
        assert len(column) >= 14  # a row for each horizon shown of both phases


def test_when_the_terminal_is_wide_enough_then_there_is_one_table_else_a_block_a_unit(finished):
    record, _ = finished
    titles = [line.split() for line in printed(record, 60).splitlines() if line.split()[:1] == ["h"]]
    assert titles == [
        ["h", "skill", "95%", "interval", "ceiling"],
        ["h", "REPW", "95%", "interval", "persist.", "reset", "noise", "gain"],
    ]
    assert len([line for line in printed(record, 200).splitlines() if line.split()[:1] == ["h"]]) == 1


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_when_a_comparison_is_shown_then_every_number_is_whole(width):
    bounds = {"difference": -12345.67, "low": -98765.43, "high": 54321.98}
    rows = [
        {"run": "a", "other": "b", "metric": name, "phase": "learning", "horizon": horizon, "trials": 2, **bounds}
        for name in ("skill", "repw", "wpe")
        for horizon in (1, 10, None)
    ]
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(table.render_comparison(pd.DataFrame(rows).astype({"horizon": "Int64"}), "learning"))
    shown = console.export_text()
    for word in ("-12345.670 ", "[-98765.430, 54321.980]", "-12345.7 ", "[-98765.4, 54322.0]"):
        assert shown.count(word) == 3


def test_when_a_terminal_has_no_line_drawing_then_the_rule_is_of_hyphens(finished):
    console = Console(width=80, file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    console.print(table.render(finished[0]))
    console.file.seek(0)
    assert "-" * 60 in console.file.read()


def test_when_a_value_is_undefined_then_a_dash_stands_for_it():
    assert number(None, 3) == interval(UNDEFINED, 3) == interval(Estimate(1.0, None, None), 3) == "-"
    assert number(-0.12345, 3) == "-0.123"
    assert number(2.0, 1, sign=True) == "+2.0"
    assert interval(Estimate(0.5, 0.25, 0.75), 2) == "[0.25, 0.75]"
