"""The leaderboard's document, which tables and the page are made from."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from helpers.board_records import (
    NAMES,
    PROTOCOL,
    across,
    catalogue,
    document_of,
    record,
    rows_of,
    write,
)
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.benchmark.record import Record
from tipl_bench.leaderboard.document import entries as entries_module
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.document.numbers import rounded
from tipl_bench.leaderboard.document.schema import read_document
from tipl_bench.leaderboard.store.evidence import RowStatus
from tipl_bench.utils.errors import ProtocolError


def test_the_document_has_the_fields_of_its_format(tmp_path):
    board = document_of(tmp_path, record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1))
    assert set(board) == {"format", "version", "protocols", "metrics", "boards", "rows", "overall"}
    assert board["format"] == 4
    assert board["protocols"] == {"1": json.loads(PROTOCOL.model_dump_json())}
    (about,) = board["boards"]
    assert about["id"] == "toy/ppo-v1@aaaaaaaaaaaa/p1"
    assert set(about) == {
        "id", "dataset", "digest", "environment", "repo", "commit", "published", "yanked", "superseded", "protocol",
        "trials", "ranked", "ranking", "headline", "phases", "trial_errors",
    }  # fmt: skip
    assert (about["trials"], about["ranked"], about["published"]) == (12, True, False)
    assert set(about["phases"]) == {"learning", "all"}
    assert set(about["phases"]["learning"]) == {"windows", "trials", "references", "positions"}
    references = about["phases"]["learning"]["references"]
    assert {name for name, of in references.items() if of["mean"] is not None} == {
        "oracle_skill", "wpe_persistence", "repw_persistence", "reset_noise",
    }  # fmt: skip
    assert references["oracle_skill"] == {"mean": pytest.approx(0.9), "by_horizon": pytest.approx([0.9] * 3)}
    row = rows_of(board)["tipl"]
    assert set(row) == {
        "id", "board", "method", "version", "consumes", "budget", "variant", "options", "device", "state",
        "reproduction", "greyed", "disputed", "evidence", "rank", "tied", "ranks", "above_ceiling", "phases", "layers",
        "positions", "trial_errors",
        "comparisons", "seeds", "seed_skills", "spread", "cost", "returns", "provenance", "commands",
    }  # fmt: skip
    assert [*row["phases"]["learning"]] == ["skill", "span_share", "wpe", "repw", "gain", "repw_moving"]
    assert all(set(series) == {"mean", "by_horizon"} for series in row["phases"]["learning"].values())
    assert set(row["provenance"][0]) == {
        "seed", "record", "commit", "dirty", "forecasts_sha256", "cpu", "gpu", "threads", "isolation", "python",
        "platform", "packages", "validation_runs", "code",
    }  # fmt: skip
    assert [origin["record"] for origin in row["provenance"]] == ["1.json", "2.json"]
    assert set(row["commands"]) == {"run", "verify", "reproduce"}


def test_the_numbers_of_a_row_are_those_of_its_records(tmp_path):
    runs = [record(seed=seed, noise=0.3) for seed in (0, 1)]
    (row,) = document_of(tmp_path, *runs)["rows"]
    metrics = row["phases"]["learning"]
    for horizon in (1, 2, 3):
        found = [run.result("learning", horizon) for run in runs]
        for name in ("skill", "repw", "wpe", "gain"):
            expected = np.mean([one[name].value for one in found])
            assert metrics[name]["by_horizon"][horizon - 1]["value"] == pytest.approx(expected, rel=1e-5)
        layer = np.mean([one.layers["layer0.weight"] for one in found])
        assert row["layers"]["learning"]["layer0.weight"][horizon - 1] == pytest.approx(layer, rel=1e-5)
    each = [np.mean([run.result("learning", h)["skill"].value for h in (1, 2, 3)]) for run in runs]
    assert metrics["skill"]["mean"]["value"] == pytest.approx(np.mean(each), rel=1e-5)
    assert row["seed_skills"] == pytest.approx(each, rel=1e-5)
    assert row["spread"] == pytest.approx(np.std(each, ddof=1), rel=1e-4)
    assert row["seeds"] == [0, 1]


def test_errors_by_trial_are_means_over_windows_horizons_and_seeds(tmp_path):
    runs = [record(seed=seed, noise=0.3, keep=1) for seed in (0, 1)]
    board = document_of(tmp_path, *runs)
    found = [result.by_trial for run in runs for result in run.of_phase("learning")]
    for column, errors in (("wpe", board["rows"][0]), ("wpe_persistence", board["boards"][0])):
        expected = np.sum([one[column] for one in found], axis=0) / np.sum([one["windows"] for one in found], axis=0)
        assert errors["trial_errors"] == pytest.approx(list(expected), rel=1e-5)


def test_the_interval_of_one_seed_at_one_horizon_is_its_records(tmp_path):
    run = record()
    (row,) = document_of(tmp_path, run)["rows"]
    for name in ("skill", "repw", "wpe"):
        theirs = run.result("learning", 2)[name]
        ours = row["phases"]["learning"][name]["by_horizon"][1]
        assert [ours["low"], ours["high"]] == pytest.approx([theirs.low, theirs.high], rel=1e-5)


def test_when_a_trial_has_fewer_windows_then_the_return_error_is_still_the_mean_over_windows(tmp_path):
    run = record(keep=1)
    (row,) = document_of(tmp_path, run)["rows"]
    mean = np.mean([result["repw"].value for result in run.of_phase("learning")])
    found = row["phases"]["learning"]["repw"]["mean"]
    assert found["value"] == pytest.approx(mean, rel=1e-5)
    assert found["low"] < found["value"] < found["high"]


def test_when_skills_differ_clearly_then_ranks_follow_them_and_rows_stand_best_first(tmp_path):
    board = document_of(tmp_path, record("mlp", 0.8), record("tipl", 0.5), record("linear", 1.4))
    assert [(row["method"], row["rank"], row["tied"]) for row in board["rows"]] == [
        ("tipl", 1, []),
        ("mlp", 2, []),
        ("linear", 3, []),
    ]
    first, second, _ = board["rows"]
    (comparison,) = [one for one in first["comparisons"] if one["row"] == second["id"]]
    assert comparison["difference"]["low"] > 0
    assert comparison["win_rate"]["value"] == 1.0
    assert all(len(row["comparisons"]) == 2 for row in board["rows"])


def test_ranks_and_ties_are_within_an_information_class(toys):
    plain = across(NAMES[:2], [("linear", 0.8), ("tipl", 0.5)], tilt=-0.2)
    more = across(NAMES[:2], [("optimizer", 0.3), ("equal", 0.5)], tilt=0.2, consumes="gradients")
    board = document_of(toys, *plain, *more)
    first = [row for row in board["rows"] if row["board"] == board["boards"][0]["id"]]
    for rows in (board["overall"][0]["rows"], first):
        assert {row["method"]: row["rank"] for row in rows} == {"optimizer": 1, "equal": 2, "tipl": 1, "linear": 2}
        assert [row["tied"] for row in rows] == [[]] * 4
    assert len(first[0]["comparisons"]) == 3
    together = document_of(
        toys / "together", *plain, *across(NAMES[:2], [("optimizer", 0.3), ("equal", 0.5)], tilt=0.2)
    )
    assert [len(row["tied"]) for row in together["overall"][0]["rows"]] == [0, 1, 1, 0]


def test_when_the_paired_interval_covers_zero_then_entries_share_a_rank(tmp_path):
    rows = rows_of(document_of(tmp_path, record("mlp", 0.5, tilt=0.2), record("tipl", 0.5, tilt=-0.2)))
    assert [row["rank"] for row in rows.values()] == [1, 1]
    assert rows["mlp"]["tied"] == [rows["tipl"]["id"]]
    assert rows["tipl"]["tied"] == [rows["mlp"]["id"]]


def test_when_trials_differ_more_than_predictors_then_pairing_still_tells_them_apart(tmp_path):
    rows = rows_of(document_of(tmp_path, record("mlp", 0.50, 0.01, tilt=0.2), record("tipl", 0.48, 0.01, tilt=0.2)))
    one, other = (rows[name]["phases"]["learning"]["skill"]["mean"] for name in ("mlp", "tipl"))
    assert one["low"] < other["value"] < one["high"]
    assert (rows["tipl"]["rank"], rows["mlp"]["rank"]) == (1, 2)


def test_when_there_are_too_few_trials_then_nothing_is_ranked_but_everything_is_measured(tmp_path):
    board = document_of(
        tmp_path, record("tipl", 0.2, trials=5), record("mlp", 0.8, trials=5), record("a", 0.5, 0.9, trials=5)
    )
    assert not board["boards"][0]["ranked"]
    assert {row["rank"] for row in board["rows"]} == {None}
    assert all(row["tied"] == [] and len(row["comparisons"]) == 2 for row in board["rows"])


def test_when_no_trial_is_learning_then_everything_there_is_decides(tmp_path):
    (about,) = document_of(tmp_path, record(phase="converged"))["boards"]
    assert set(about["phases"]) == {"converged", "all"}
    assert about["headline"] == "all"


def test_the_same_records_under_other_file_names_and_orders_give_the_same_numbers(tmp_path):
    records = [record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1)]
    one, other = document_of(tmp_path / "a", *records), document_of(tmp_path / "b", *reversed(records))
    for board in (one, other):
        for row in board["rows"]:
            row["commands"].pop("reproduce")  # it names the files
            for origin in row["provenance"]:
                origin.pop("record")
    assert json.dumps(one) == json.dumps(other)


def test_when_a_predictor_has_a_later_version_then_the_earlier_is_greyed_unranked_and_last(tmp_path):
    board = document_of(tmp_path, record("tipl", 0.4), record("tipl", 0.5, version=2), record("mlp", 0.8))
    assert [(row["method"], row["version"], row["rank"]) for row in board["rows"]] == [
        ("tipl", 2, 1),
        ("mlp", 1, 2),
        ("tipl", 1, None),
    ]
    assert board["rows"][-1]["greyed"] == "superseded by version 2"
    assert all(board["rows"][-1]["id"] not in row["tied"] for row in board["rows"])


@pytest.mark.parametrize(
    ("earlier", "later", "greyed"),
    [
        (("claimed", None), ("claimed", None), True),
        (("rescored", None), ("reproduced", None), True),
        (("rescored", None), ("claimed", None), False),
        (("reproduced", None), ("rescored", None), False),
        (("claimed", None), ("reproduced", "not its author's"), False),
        (("reproduced", "a copy"), ("claimed", None), True),
    ],
)
def test_a_row_is_superseded_only_by_one_that_is_as_well_attested(earlier, later, greyed, tmp_path, monkeypatch):
    states = {1: earlier, 2: later}
    monkeypatch.setattr(entries_module, "row_status", lambda path, one: RowStatus(*states[one.key.method.version], ()))
    board = document_of(tmp_path, record("tipl", 0.4), record("tipl", 0.5, version=2))
    found = {row["version"]: row["greyed"] for row in board["rows"]}
    assert found == {1: "superseded by version 2" if greyed else None, 2: None}


def test_when_the_dataset_is_yanked_then_its_rows_are_greyed_with_the_reason_and_its_board_is_last(toys, store):
    catalogue(store, env0={"yanked": "wrong seeds"})
    board = document_of(toys, *across(NAMES[:2]))
    assert [about["environment"] for about in board["boards"]] == ["env1", "env0"]
    assert board["boards"][1]["yanked"] == "wrong seeds"
    greyed = [row for row in board["rows"] if row["greyed"]]
    assert {row["board"] for row in greyed} == {board["boards"][1]["id"]}
    assert all("wrong seeds" in row["greyed"] and row["rank"] is None for row in greyed)


def test_when_the_catalog_has_other_bytes_under_the_name_then_the_board_is_superseded(toys):
    board = document_of(toys, *across(NAMES[:1], digest="c" * 64))
    assert board["boards"][0]["superseded"]
    assert not board["boards"][0]["published"]
    assert all("superseded" in row["greyed"] for row in board["rows"])


def test_evidence_and_disputes_of_a_record_stand_on_its_row(tmp_path, monkeypatch):
    standing = RowStatus("rescored", "the forecasts give 0.1 less", ({"kind": "rescore", "text": "by CI"},))
    monkeypatch.setattr(entries_module, "row_status", lambda path, one: standing)
    (row,) = document_of(tmp_path, record())["rows"]
    assert row["state"] == "rescored"
    assert row["disputed"] == "seed 0: the forecasts give 0.1 less"
    assert row["evidence"] == [{"seed": 0, "kind": "rescore", "text": "by CI"}]


def run_again(seed, grade="bitwise", cpu="c", platform="p"):
    return {"kind": "reproduced", "text": "run again", "grade": grade, "cpu": cpu, "platform": platform}


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([[run_again(0)], [run_again(1)]], "bitwise, on the same kind of machine (c)"),
        ([[run_again(0)], [run_again(1, "within tolerance")]], "within tolerance, on the same kind of machine (c)"),
        ([[run_again(0, cpu="d")], [run_again(1)]], "bitwise, some seeds on another kind of machine (c, d)"),
        ([[run_again(0, cpu="d")], [run_again(1, platform="q")]], "bitwise, on another kind of machine (c, d)"),
        (
            [[run_again(0), run_again(0, "within tolerance", "d")], [run_again(1), run_again(1, cpu="d")]],
            "within tolerance, on another kind of machine (d)",
        ),
    ],
)
def test_a_reproduced_row_says_how_it_came_out_and_whether_on_another_kind_of_machine(
    tmp_path, monkeypatch, pieces, said
):
    standings = [RowStatus("reproduced", None, tuple(found)) for found in pieces]
    monkeypatch.setattr(entries_module, "row_status", lambda path, one: standings[one.key.seed])
    (row,) = document_of(tmp_path, record(seed=0), record(seed=1))["rows"]
    assert row["reproduction"] == said
    claimed = RowStatus("claimed", None, ())
    monkeypatch.setattr(entries_module, "row_status", lambda path, one: [standings[0], claimed][one.key.seed])
    (row,) = document(tmp_path / "records").rows
    assert (row.state, row.reproduction) == ("claimed", None)


def test_when_a_record_was_edited_then_its_file_is_named(tmp_path):
    folder = write(tmp_path / "records", record())
    path = folder / "0.json"
    path.write_text(path.read_text().replace('"windows":', '"wins":', 1))
    with pytest.raises(ProtocolError, match=re.escape(str(path))):
        document(folder)


@given(st.floats())
def test_numbers_have_six_significant_digits_or_are_null(value):
    found = rounded(value)
    if math.isfinite(value):
        assert found == pytest.approx(value, rel=5.1e-6, abs=1e-300)
        assert len(f"{abs(found):e}".split("e")[0].rstrip("0").replace(".", "")) <= 6
        assert not (found == 0 and math.copysign(1, found) < 0)
    else:
        assert found is None


def test_a_row_that_is_significantly_above_the_span_ceiling_says_so(tmp_path):
    rows = rows_of(document_of(tmp_path, record("tipl", 0.05, 0.01), record("mlp", 0.5), record("linear", 0.1, 0.05)))
    assert {name: row["above_ceiling"] for name, row in rows.items()} == {"tipl": True, "mlp": False, "linear": False}
    assert rows["tipl"]["phases"]["learning"]["span_share"]["mean"]["low"] > 1


def test_where_records_have_no_sums_of_the_ceiling_its_median_is_what_counts(tmp_path):
    def without(one):
        results = [
            result.model_copy(
                update={
                    "estimates": {name: value for name, value in result.estimates.items() if name != "span_share"},
                    "by_trial": {name: sums for name, sums in result.by_trial.items() if name != "wpe_oracle"},
                }
            )
            for result in one.results
        ]
        return one.model_copy(update={"results": tuple(results)})

    rows = rows_of(document_of(tmp_path, without(record("tipl", 0.05, 0.01)), record("mlp", 0.5)))
    assert rows["tipl"]["phases"]["learning"]["span_share"]["mean"] == {"value": None, "low": None, "high": None}
    assert rows["mlp"]["phases"]["learning"]["span_share"]["mean"]["value"] is not None
    assert (rows["tipl"]["above_ceiling"], rows["mlp"]["above_ceiling"]) == (True, False)


def test_records_of_one_dataset_share_a_board_whichever_digest_they_state(tmp_path):
    def stating(one, **digests):
        identity = one.key.dataset.model_copy(update=digests)
        return one.model_copy(update={"key": one.key.model_copy(update={"dataset": identity})})

    former = stating(record("tipl", 0.5), digest_format=1)
    migrated = stating(record("mlp", 0.8, digest="b" * 64), former_digest="a" * 64)
    (about,) = document_of(tmp_path, former, migrated)["boards"]
    assert about["id"] == "toy/ppo-v1@aaaaaaaaaaaa/p1"
    forged = stating(record("linear", 0.6, digest="c" * 64), former_digest="a" * 64)
    with pytest.raises(ProtocolError, match="another digest"):
        document_of(tmp_path, former, migrated, forged)


def test_failed_runs_are_no_rows(tmp_path):
    failed = record("mlp", 0.8).model_dump(mode="json")
    failed |= {"status": {"state": "failed", "stage": "fit", "reason": "out of memory"}}
    failed |= {"results": [], "returns": [], "artifacts": {}}
    board = document_of(tmp_path, record("tipl", 0.5), Record.model_validate(failed))
    assert [row["method"] for row in board["rows"]] == ["tipl"]


def test_a_document_that_names_a_missing_row_or_has_another_field_is_refused_by_place(tmp_path):
    path = tmp_path / "leaderboard.json"
    good = document_of(tmp_path, record("mlp", 0.8), record("tipl", 0.5))
    for change, message in (
        ({"format": 1}, "format"),
        ({"extra": 1}, "extra"),
        ({"rows": [good["rows"][0]]}, "another row"),
        ({"boards": []}, "a board that is not there"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(ProtocolError, match=message):
            read_document(path)
