"""What protocol 2 measures beside version 1, recomputed by plain arithmetic from the files of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import synthetic
from tipl_bench.benchmark.compare import compare
from tipl_bench.benchmark.forecast.reference_returns import reference_returns
from tipl_bench.benchmark.forecast.scoring import score, window_rows
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import Record, read_record
from tipl_bench.benchmark.record_v1 import upgrade
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import Run, execute
from tipl_bench.leaderboard.document import build
from tipl_bench.leaderboard.store.records import add
from tipl_bench.leaderboard.verify.reproduce import reproduce
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.rl.evaluation import Policies, evaluate_returns
from tipl_bench.utils.fields import parse

PROTOCOL = synthetic.SMALL_2


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Run, object]:
    """A finished run of a dataset whose normaliser drifts, and its dataset."""
    stream, folder = np.random.default_rng(0), tmp_path_factory.mktemp("protocol-2")
    moments = [(stream.normal(size=(81, 4)), stream.uniform(0.05, 3.0, size=(81, 4))) for _ in range(8)]
    dataset = synthetic.walking_dataset(folder / "set", moments=moments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        return execute(RunRequest("linear", dataset, protocol=PROTOCOL, device="cpu"), folder / "run"), dataset


def table(run):
    return {
        name: np.array(values) for name, values in pq.read_table(run.folder / "windows.parquet").to_pydict().items()
    }


def true_return(dataset, trial, checkpoint, normaliser):
    stored, at = dataset.trial(int(trial)), slice(int(normaliser), int(normaliser) + 1)
    weights = stored.weights(int(checkpoint), int(checkpoint) + 1)
    policy = Policies(weights, stored.tensors["observation_mean"][at], stored.tensors["observation_variance"][at])
    return evaluate_returns(dataset.environment, dataset.layout, policy, PROTOCOL.evaluation_seeds)[0]


def test_every_column_of_returns_is_what_it_says(finished):
    run, dataset = finished
    rows = table(run)
    for row in range(0, len(rows["trial"]), 7):
        trial, origin, horizon = (rows[name][row] for name in ("trial", "origin", "horizon"))
        true = true_return(dataset, trial, origin + horizon, origin + horizon)
        perfect = true_return(dataset, trial, origin + horizon, origin)
        assert rows["return_true"][row] == true
        assert rows["repw_perfect"][row] == abs(true - perfect)
        assert rows["repw_persistence"][row] == abs(true - true_return(dataset, trial, origin, origin))
    assert (rows["repw_perfect"] > 0).any()


def test_a_window_moves_by_two_hundredths_of_its_trials_rise_or_more(finished):
    run, dataset = finished
    rows = table(run)
    for trial in np.unique(rows["trial"]):
        curve = [true_return(dataset, trial, t, t) for t in range(0, 81, 5)]
        smoothed = [np.mean(curve[max(0, i - 1) : i + 2]) for i in range(len(curve))]
        own = rows["trial"] == trial
        change = np.abs(rows["return_true"] - rows["return_origin"])[own]
        moves = (change > 0) & (change >= 0.02 * (max(smoothed) - smoothed[0]))
        np.testing.assert_array_equal(rows["moving"][own], moves)
    assert 0 < rows["moving"].sum() < len(rows["moving"])


def test_every_metric_and_position_in_the_record_follows_from_the_parquet(finished):
    run, _ = finished
    rows = table(run)
    for phase in ("learning", "converged"):
        for horizon in (1, 2, 3):
            here = (rows["phase"] == phase) & (rows["horizon"] == horizon)
            result, moving = run.record.result(phase, horizon), here & (rows["moving"] == 1)
            expected = {
                "repw_perfect": rows["repw_perfect"][here].mean(),
                "repw_moving": rows["repw"][moving].mean() if moving.any() else None,
                "repw_moving_persistence": rows["repw_persistence"][moving].mean() if moving.any() else None,
                "reset_noise": rows["noise"][here].mean(),
            }
            for name, value in expected.items():
                assert result[name].value == (None if value is None else pytest.approx(value, rel=1e-12)), name
            for position in range(5):
                there = here & (rows["position"] == position)
                skill = 1 - rows["wpe"][there].sum() / rows["wpe_persistence"][there].sum()
                assert result.at_positions("skill")[position] == pytest.approx(skill, rel=1e-9)
                assert result.at_positions("repw")[position] == pytest.approx(rows["repw"][there].mean())
                assert result.by_position["windows"][position] == there.sum() > 0
    assert run.record.result("all", 1).by_position == {}
    assert run.record.result("all", 1).at_positions("skill") == ()


def test_a_record_of_version_2_must_have_all_that_the_protocol_measures(finished):
    run, _ = finished
    assert read_record(run.folder / "record.json") == run.record
    for field, name in (("estimates", "repw_perfect"), ("by_trial", "moving"), ("by_position", "wpe")):
        document = json.loads((run.folder / "record.json").read_text())
        del document["results"][0][field][name]
        with pytest.raises(ValueError, match=rf"results\.0\.{field}\.{name} is missing"):
            parse(Record, document)


def test_a_record_of_version_1_has_none_of_it_and_is_written_as_ever(smooth, tmp_path):
    run = execute(RunRequest("persistence", smooth, protocol=synthetic.SMALL, device="cpu"), tmp_path / "run")
    text = (run.folder / "record.json").read_text()
    assert not any(word in text for word in ("by_position", "moving", "perfect"))
    assert [*table(run)][:15] == [
        "trial", "origin", "phase", "position", "horizon", "wpe", "wpe_persistence", "wpe_oracle", "return_forecast",
        "return_true", "return_origin", "repw", "repw_persistence", "noise", "gain",
    ]  # fmt: skip
    document = json.loads(text)
    document["results"][0]["by_position"] = {"wpe": [1.0]}
    with pytest.raises(ValueError, match=r"results\.0\.by_position\.wpe is not known; known are none"):
        parse(Record, document)


def test_the_reset_noise_is_read_under_its_former_name(smooth, tmp_path):
    run = execute(RunRequest("persistence", smooth, protocol=synthetic.SMALL, device="cpu"), tmp_path / "run")
    document = json.loads((run.folder / "record.json").read_text())
    for result in document["results"]:
        result["estimates"]["noise_floor"] = result["estimates"].pop("reset_noise")
    assert parse(Record, upgrade(document)) == run.record
    document["results"][0]["estimates"] |= {name: {"value": 1.0, "low": None, "high": None} for name in
                                            ("noise_floor", "reset_noise")}  # fmt: skip
    with pytest.raises(ValueError, match="noise_floor is not known"):
        parse(Record, upgrade(document))


def test_a_perfect_forecast_has_skill_1_and_the_perfect_repw(finished):
    run, dataset = finished
    rows = run.windows

    windows = evaluation_windows(dataset, PROTOCOL)
    reference = reference_returns(dataset, PROTOCOL)
    true = np.stack([dataset.trial(w.trial).weights(w.origin + 1, w.origin + 4) for w in windows])
    scored = score(window_rows(dataset, windows, true, reference.perfect, reference, PROTOCOL), PROTOCOL)
    for result in scored:
        assert result["skill"].value == 1.0
        assert (
            result["repw"].value
            == result["repw_perfect"].value
            == run.record.result(result.phase, result.horizon)["repw_perfect"].value
        )
    assert len(rows) == 3 * len(windows)


def test_a_run_is_verified_reproduced_compared_and_kept_by_a_board_as_one_of_version_1(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, PROTOCOL.version, PROTOCOL)
    run, dataset = finished
    checked = verify(run, dataset, fresh=True)
    assert checked.agrees, checked.differences
    assert checked.exact
    again = reproduce(run, dataset, tmp_path / "again")
    assert again.grade == "bitwise"
    differences = compare([run, again.again])
    assert {*differences["metric"]} >= {"skill", "repw", "repw_moving"}
    assert (differences["difference"].fillna(0) == 0).all()
    path = add(checked.recomputed, tmp_path / "records")
    assert add(checked.recomputed, tmp_path / "records", rescored=True) == path
    board = build.document(tmp_path / "records")
    assert [one.protocol for one in board.boards] == [PROTOCOL.version]
    assert any(one.value is not None for one in board.rows[0].phases["learning"]["repw_moving"].by_horizon)


@pytest.mark.parametrize("field", ["by_position", "by_trial", "estimates"])
def test_a_number_that_was_changed_is_found_on_any_machine(field, finished, tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, PROTOCOL.version, PROTOCOL)
    run, dataset = finished
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    document = json.loads((folder / "record.json").read_text())
    document["provenance"]["cpu"] = "another"
    (folder / "record.json").write_text(json.dumps(document))
    assert verify(folder, dataset).agrees
    at = document["results"][0][field]
    if field == "estimates":
        at["repw_perfect"]["value"] += 1000
    else:
        at["wpe" if field == "by_position" else "moving"][0] += 1000
    (folder / "record.json").write_text(json.dumps(document))
    assert len(verify(folder, dataset).differences) == 1
