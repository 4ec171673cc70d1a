"""Boards of protocol 2: ranks by skill and by returns, corrected verdicts, results by position."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.board_records import PROTOCOL, PROTOCOL_2, RESULTS, document_of, record, rows_of
from tipl_bench.benchmark.record import read_record
from tipl_bench.leaderboard.document.entries import boards
from tipl_bench.leaderboard.document.ranking import ranked, rule


def test_a_board_of_a_newer_protocol_comes_first_and_that_of_the_older_stays_as_it_was(tmp_path):
    mine = [record("tipl", 0.5), record("mlp", 0.8)]
    other = record("tipl", 0.5, dataset="another/ppo-v1")
    before = document_of(tmp_path / "before", *mine, other)
    board = document_of(tmp_path, *mine, other, record("mlp", 0.8, protocol=PROTOCOL_2))
    places = [(about["id"].split("@")[0], about["protocol"], about["superseded"]) for about in board["boards"]]
    assert places == [
        ("another/ppo-v1", 1, None),
        ("toy/ppo-v1", 2, None),
        ("toy/ppo-v1", 1, "a newer protocol"),
    ]
    assert set(board["protocols"]) == {"1", "2"}

    def older(document):
        return {row["id"]: row for row in document["rows"] if row["board"].endswith("/p1")}

    assert older(board) == older(before)
    assert {row["greyed"] for row in board["rows"]} == {None}


def test_boards_of_protocol_2_are_ranked_by_skill_and_returns_with_corrected_verdicts(tmp_path):
    def seeds(name, ratio, **more):
        return [record(name, ratio, seed=seed, protocol=PROTOCOL_2, **more) for seed in (0, 1, 2)]

    board = document_of(
        tmp_path,
        *seeds("mlp", 0.5, noise=0.01),
        *seeds("tipl", 0.505, noise=0.01, repw=5.0),
        *seeds("linear", 1.4, noise=0.1),
    )
    assert board["boards"][0]["ranking"] == {
        "metrics": ["skill", "repw", "repw_moving"],
        "correction": "holm",
        "practical_tie": 0.01,
    }
    rows = rows_of(board)
    assert {name: row["rank"] for name, row in rows.items()} == {"mlp": 1, "tipl": 1, "linear": 3}
    for metric in ("repw", "repw_moving"):
        assert {name: row["ranks"][metric]["rank"] for name, row in rows.items()} == {"mlp": 2, "tipl": 1, "linear": 3}
    (pair,) = [one for one in rows["tipl"]["comparisons"] if one["row"] == rows["mlp"]["id"]]
    assert pair["difference"]["high"] < 0  # apart by its interval, but less than a practical tie
    assert pair["p"] < 0.05
    assert pair["verdict"] == "tied"
    assert rows["tipl"]["tied"] == [rows["mlp"]["id"]]
    repw = pair["others"]["repw"]
    means = [rows[name]["phases"]["learning"]["repw"]["mean"]["value"] for name in ("tipl", "mlp")]
    assert repw["difference"]["value"] == pytest.approx(means[0] - means[1], rel=1e-4)
    assert repw["verdict"] == "better"


def test_the_seeds_of_a_row_widen_its_interval_under_protocol_2_alone(tmp_path):
    widths = {}
    for protocol in (PROTOCOL, PROTOCOL_2):
        runs = [record("tipl", ratio, seed=seed, protocol=protocol) for seed, ratio in enumerate((0.4, 0.5, 0.6))]
        (row,) = document_of(tmp_path / str(protocol.version), *runs)["rows"]
        found = row["phases"]["learning"]["skill"]
        for one in (found["mean"], *found["by_horizon"]):
            assert one["low"] < one["value"] < one["high"]
            widths.setdefault(protocol.version, []).append(one["high"] - one["low"])
    spread = 0.1 / np.sqrt(3)
    assert all(2 * 1.96 * spread < width < 2 * 5 * spread for width in widths[2])
    assert all(width < spread for width in widths[1])
    one = record("tipl", 0.5, protocol=PROTOCOL_2)
    (row,) = document_of(tmp_path / "one", one)["rows"]
    theirs = one.result("learning", 2)["repw"]
    ours = row["phases"]["learning"]["repw"]["by_horizon"][1]
    assert [ours["low"], ours["high"]] == pytest.approx([theirs.low, theirs.high], rel=1e-5)


def test_a_board_of_too_few_trials_has_no_verdicts_and_one_seed_no_spread(tmp_path):
    board = document_of(
        tmp_path, *(record(name, ratio, trials=5, protocol=PROTOCOL_2) for name, ratio in (("tipl", 0.2), ("mlp", 0.8)))
    )
    for row in board["rows"]:
        assert (row["rank"], row["ranks"], row["spread"]) == (None, {}, None)
        assert [(one["verdict"], one["p"]) for one in row["comparisons"]] == [(None, None)]


def test_results_by_position_are_the_ratios_of_their_sums(tmp_path):
    runs = [record("tipl", 0.5, seed=seed, noise=0.3, protocol=PROTOCOL_2) for seed in (0, 1)]
    board = document_of(tmp_path, *runs)
    (row,) = board["rows"]
    (about,) = board["boards"]
    assert set(row["positions"]) == {"learning"}
    assert set(row["positions"]["learning"]) == {"skill", "repw"}
    assert set(about["phases"]["learning"]["positions"]) == {"oracle_skill", "repw_persistence", "repw_perfect"}
    for position in (0, 1):
        each = []
        for horizon in (1, 2, 3):
            sums = [run.result("learning", horizon).by_position for run in runs]
            skill = np.mean([1 - one["wpe"][position] / one["wpe_persistence"][position] for one in sums])
            found = row["positions"]["learning"]["skill"]
            assert found["by_horizon"][horizon - 1][position] == pytest.approx(skill, rel=1e-5)
            each.append(skill)
        assert found["mean"][position] == pytest.approx(np.mean(each), rel=1e-5)
    assert about["phases"]["learning"]["positions"]["repw_perfect"]["mean"] == [0.5, 0.5]


def test_the_paired_return_errors_of_the_committed_records_tell_tipl_from_mlp():
    pattern = "inverted-pendulum--ppo-head-v1__{}-*.json"
    paths = sorted(path for name in ("tipl", "mlp") for path in RESULTS.glob(pattern.format(name)))
    records = {path: read_record(path) for path in paths}
    (entries,) = boards({path: one for path, one in records.items() if one.key.protocol.version == 1}).values()
    found = ranked(entries, "learning", {}, rule(PROTOCOL_2))["repw"].pairs
    (tipl,) = [entry.id for entry in entries if entry.first.key.method.name == "tipl"]
    assert list(found.loc[tipl].iloc[0][["value", "low", "high"]]) == pytest.approx([-5.1, -8.2, -2.1], abs=0.1)
