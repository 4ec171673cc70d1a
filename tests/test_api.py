"""The Python API: run, look at, verify, reproduce and compare runs, and load the committed results."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers import synthetic
from helpers.board_records import PROTOCOL, RESULTS, record, under, write
from tipl_bench.benchmark.metrics import of_protocol
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import Status, read_record
from tipl_bench.cli import main
from tipl_bench.utils.errors import PredictorError, ProtocolError


@pytest.fixture
def known(monkeypatch):
    """The toys' protocol is one of the package's."""
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)


@pytest.fixture
def comparable(monkeypatch):
    """The protocol of the synthetic records is the package's."""
    monkeypatch.setitem(PROTOCOLS, PROTOCOL.version, PROTOCOL)


def small(model, dataset, out, **options):
    return tipl_bench.run(model, dataset, options=options, device="cpu", out=out, protocol=synthetic.SMALL)


@pytest.mark.usefixtures("drawn")
def test_a_run_holds_its_record_rows_forecasts_and_figure(smooth, tmp_path):
    made = small("linear", str(smooth.folder), tmp_path / "run", points=3)
    assert made.record == read_record(tmp_path / "run" / "record.json")
    assert made.record.key.method.options["points"] == 3
    pd.testing.assert_frame_equal(made.windows, pd.read_parquet(tmp_path / "run" / "windows.parquet"))
    assert made.forecasts.shape == (20, 3, smooth.layout.parameter_count)
    assert made.figure.read_text().startswith("<?xml")
    made.figure.unlink()
    again = small("linear", smooth, tmp_path / "run", points=3)
    assert (made.repeated, again.repeated) == (False, True)
    assert again.figure.exists()
    assert again.record == made.record


def test_verify_and_reproduce_take_a_run_its_folder_or_its_record(known, smooth, tmp_path):
    made = small("linear", smooth, tmp_path / "run")
    for source in (made, made.folder, str(made.folder)):
        found = tipl_bench.verify(source, smooth)
        assert found.agrees
        assert found.exact
    assert tipl_bench.reproduce(made, smooth).grade == "bitwise"
    assert (tmp_path / "run-reproduced" / "record.json").exists()
    assert tipl_bench.reproduce(made.folder / "record.json", smooth, tmp_path / "other").grade == "bitwise"
    with pytest.raises(ProtocolError, match="is not empty"):
        tipl_bench.reproduce(made, smooth)


def test_when_a_run_fails_then_its_record_says_at_what_and_why_and_it_is_tried_again(
    third_party_predictors, smooth, tmp_path, known
):
    folder = tmp_path / "run"
    with pytest.raises(PredictorError) as caught:
        small("raising-in-fit", smooth, folder)
    failed = read_record(folder / "record.json")
    assert failed.failed
    assert (failed.status.stage, failed.results) == ("fit", ())
    assert failed.status.reason == str(caught.value)
    add = ["leaderboard", "add", "--records", str(folder.with_name("records"))]
    for command in (["verify"], ["reproduce"], add, [*add, "--claimed"], ["submit"]):
        result = CliRunner().invoke(main, [*command, str(folder)])
        assert result.exit_code == 1
        assert "the run failed at fit (raising-in-fit: " in result.output
    with pytest.raises(ProtocolError, match="failed at fit"):
        tipl_bench.compare([folder, folder])
    with pytest.raises(PredictorError):
        small("raising-in-fit", smooth, folder)


def of_five_windows(one):
    return one.model_copy(update={"key": one.key.model_copy(update={"limit": 5})})


def test_when_what_is_given_is_no_list_of_runs_then_compare_says_what_to_give(tmp_path):
    record().write(tmp_path)
    for one in (str(tmp_path), tmp_path, record()):
        with pytest.raises(
            ProtocolError, match="takes a list of two or more runs; it was given one run, not in a list"
        ):
            tipl_bench.compare(one)
    with pytest.raises(ProtocolError, match="two or more runs; it was given only tipl v1 quick seed 0"):
        tipl_bench.compare([tmp_path])
    with pytest.raises(ProtocolError, match="two or more runs; it was given none"):
        tipl_bench.compare([])
    with pytest.raises(ProtocolError, match=r"3 cannot be compared; give runs, records, run folders or record files"):
        tipl_bench.compare([tmp_path, 3])
    with pytest.raises(ProtocolError, match="nosuch: there is no such run folder or record file"):
        tipl_bench.compare([tmp_path, tmp_path / "nosuch"])


def test_when_datasets_differ_then_only_they_are_named(comparable):
    with pytest.raises(ProtocolError) as caught:
        tipl_bench.compare([record("tipl"), record("mlp", dataset="toy/ppo-v2")])
    assert "(dataset.name: toy/ppo-v1 here, toy/ppo-v2 there)" in str(caught.value)


def test_several_runs_have_a_summary_best_first(tmp_path, comparable):
    ratios = {"mlp": 0.6, "tipl": 0.3, "linear": 0.95, "ridge": 0.6, "persistence": 1.0}
    paths = []
    for name, ratio in ratios.items():
        record(name, ratio).write(tmp_path)
        paths.append(str((tmp_path / "record.json").rename(tmp_path / f"{name}.json")))
    result = CliRunner().invoke(main, ["compare", *paths], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    summary = result.output.partition("Summary by mean skill, learning phase, best first")[2]
    rows = [line.split() for line in summary.splitlines() if " v1 quick seed 0 " in line]
    assert rows[0][0] == "tipl"
    assert rows[0][5:9] == ["4", "0", "0", "-"]
    assert {rows[1][0], rows[2][0]} == {"mlp", "ridge"}
    assert [row[0] for row in rows[3:]] == ["linear", "persistence"]
    assert [int(count) for count in rows[4][5:8]] == [0, 0, 4]
    assert float(rows[4][8]) == pytest.approx(-0.7, abs=0.05)
    two = CliRunner().invoke(main, ["compare", *paths[:2]], env={"COLUMNS": "120"})
    assert "Summary" not in two.output


def test_differences_are_paired_ratios_of_sums(comparable):
    one, other = record("tipl", 0.5), record("mlp", 0.6, tilt=0.1)
    found = tipl_bench.compare([one, other]).set_index(["metric", "phase", "horizon"])
    assert set(found["run"]) == {"tipl v1 quick seed 0"}
    measured = of_protocol(PROTOCOL)
    kept = {metric.name for metric in measured if metric.by_trial}
    assert set(found.index.get_level_values("metric")) == kept
    for horizon in (1, 2, 3):
        sums = [
            {name: np.array(values) for name, values in one_of.result("learning", horizon).by_trial.items()}
            for one_of in (one, other)
        ]
        row = found.loc[("skill", "learning", horizon)]
        values = [1 - s["wpe"].sum() / s["wpe_persistence"].sum() for s in sums]
        assert row["difference"] == pytest.approx(values[0] - values[1], rel=1e-12)
        assert row["low"] < row["difference"] < row["high"]
        unpaired = [one_of.result("learning", horizon)["skill"] for one_of in (one, other)]
        assert row["high"] - row["low"] < sum(e.high - e.low for e in unpaired)
    means = set(found[found.index.get_level_values("horizon").isna()].index.get_level_values("metric"))
    assert means == {metric.name for metric in measured if metric.by_trial and metric.averaged}
    assert "wpe" not in means, "which grows with the horizon"
    mean = found.xs(("skill", "learning"), level=("metric", "phase"))["difference"]
    assert mean[mean.index.isna()].iloc[0] == pytest.approx(mean[mean.index.notna()].mean(), rel=1e-12)


def test_a_run_compared_with_itself_differs_by_exactly_nothing(comparable):
    found = tipl_bench.compare([record(), record()])
    assert (found[["difference", "low", "high"]] == 0.0).all(axis=None)
    assert found["other"].iloc[0] == "tipl v1 quick seed 0 (2)"


def test_when_a_metric_is_not_in_an_older_record_then_the_others_are_compared(comparable):
    old = record()
    results = [
        one.model_copy(update={"by_trial": {n: v for n, v in one.by_trial.items() if n != "wpe_oracle"}})
        for one in old.results
    ]
    found = tipl_bench.compare([old.model_copy(update={"results": tuple(results)}), record("mlp")])
    assert set(found["metric"]) == {"skill", "wpe", "repw"}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (record(dataset="toy/ppo-v2"), r"the dataset differs .*toy/ppo-v1 here, toy/ppo-v2 there"),
        (record(digest="c" * 64), "the dataset differs"),
        (record(trials=11), "test trials differ"),
        (of_five_windows(record()), r"differs \(limit: None here, 5 there\)"),
    ],
    ids=["dataset", "digest", "trials", "windows"],
)
def test_when_runs_cannot_be_paired_then_it_is_said_why(other, named, comparable):
    with pytest.raises(ProtocolError, match=named):
        tipl_bench.compare([record(), other])
    with pytest.raises(ProtocolError, match="two or more runs"):
        tipl_bench.compare([record()])


@pytest.mark.parametrize(
    "changes",
    [{"resamples": 10**12}, {"resamples": 0}, {"confidence": 7.0}, {"bootstrap_seed": -1}, {"version": 99}],
    ids=str,
)
def test_when_a_records_protocol_is_not_known_then_it_is_not_compared(changes, comparable, tmp_path):
    other = under(PROTOCOL.model_copy(update=changes), record())
    other.write(tmp_path)
    for source in (other, tmp_path):
        with pytest.raises(ProtocolError, match=f"seed 0.*protocol.*({next(iter(changes))}|does not know)"):
            tipl_bench.compare([source, source])
    result = CliRunner().invoke(main, ["compare", str(tmp_path), str(tmp_path)])
    assert isinstance(result.exception, SystemExit)


def test_a_record_that_cannot_be_scored_is_not_reproduced(tmp_path):
    for one, reason in (
        (failed_run(), "failed at fit"),
        (record(), "its protocol has the number 1 but another horizon, resamples"),
    ):
        with pytest.raises(ProtocolError, match=reason):
            tipl_bench.reproduce(one, folder=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_the_compare_command_prints_what_compare_returns(tmp_path, comparable):
    paths = []
    for name, ratio in (("tipl", 0.5), ("mlp", 0.6)):
        record(name, ratio).write(tmp_path)
        paths.append((tmp_path / "record.json").rename(tmp_path / f"{name}.json"))
    expected = tipl_bench.compare(paths)
    result = CliRunner().invoke(main, ["compare", *map(str, paths), "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    assert [row["difference"] for row in printed] == pytest.approx(list(expected["difference"]), rel=1e-9)
    result = CliRunner().invoke(main, ["compare", *map(str, paths)], env={"COLUMNS": "80"})
    title = "tipl v1 quick seed 0 minus mlp v1 quick seed 0, learning phase, paired over 12 trials"
    assert title in " ".join(result.output.split())
    assert "\u2026" not in result.output, "a number is cut off"
    value = expected[(expected["metric"] == "skill") & (expected["horizon"] == 2)]["difference"].iloc[0]
    assert f"{value:+.3f}" in result.output
    result = CliRunner().invoke(main, ["compare", *map(str, paths), "--phase", "later"])
    assert "'later' is not one of 'learning', 'converged', 'all'" in result.output
    assert result.exit_code == 2
    assert CliRunner().invoke(main, ["compare", str(paths[0])]).exit_code == 2
    for path, name in zip(paths, ("tipl", "mlp"), strict=True):
        path.write_text(record(name, 0.5, phase="converged").model_dump_json())
    result = CliRunner().invoke(main, ["compare", *map(str, paths)])
    message = "No trial of these runs has a window in the learning phase; choose --phase converged or --phase all."
    assert message in result.output
    assert result.exit_code == 1


def test_the_committed_results_are_a_frame_with_a_row_per_record_phase_and_horizon(monkeypatch):
    monkeypatch.chdir(RESULTS.parents[1])
    found = tipl_bench.load_results()
    assert found["record"].nunique() == len(list(RESULTS.glob("*.json")))
    name = found["record"].iloc[0]
    stored = read_record(RESULTS / name)
    rows = found[found["record"] == name]
    assert len(rows) == len(stored.results)
    for row, result in zip(rows.to_dict("records"), stored.results, strict=True):
        assert (row["phase"], row["horizon"]) == (result.phase, result.horizon)
        assert (row["skill"], row["repw_high"]) == (result["skill"].value, result["repw"].high)


def failed_run():
    status = Status(state="failed", stage="fit", reason="out of memory")
    return record("linear").model_copy(update={"status": status, "results": (), "returns": (), "artifacts": {}})


def test_results_of_failed_runs_alone_are_a_frame_without_rows(tmp_path):
    found, whole = (
        tipl_bench.load_results(write(tmp_path / str(n), one)) for n, one in enumerate((failed_run(), record()))
    )
    assert len(found) == 0
    assert list(found.columns) == list(whole.columns)
    assert found["horizon"].dtype == whole["horizon"].dtype == "Int64"


def test_all_public_names_are_there():
    for name in tipl_bench.__all__:
        assert getattr(tipl_bench, name)
