"""Disputes and drifts: opened by anyone's evidence, ended by a maintainer's word only."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner
from helpers.attesting import elsewhere, recomputed, rerun, state
from helpers.board_records import RESULTS
from tipl_bench.benchmark.record import read_record
from tipl_bench.cli import main
from tipl_bench.leaderboard.store import evidence
from tipl_bench.leaderboard.store.evidence import append, maintainer_note, row_status
from tipl_bench.leaderboard.store.records import add, file_name
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.rescore import rescore


def test_when_a_reproduction_drifts_then_the_row_is_disputed_until_that_is_settled(row, workspace):
    record = workspace.record
    append(row, record, evidence.rescored(rescore(open_run(workspace.run, workspace.dataset)), record))
    append(row, record, rerun(record, "drifted"))
    found = row_status(row, record)
    assert found.state == "rescored"
    assert found.disputed.startswith("a reproduction drifted: run again: drifted; largest difference of a skill 0.2")
    append(row, record, elsewhere(rerun(record)))
    assert row_status(row, record).state == "reproduced"
    assert row_status(row, record).disputed, "one machine's success does not settle another's drift"
    result = workspace.typed("leaderboard", "dispute", row, "--reason", "its GPU", "--resolve")
    assert result.exit_code == 0, result.output
    assert state(row, workspace) == ("reproduced", None)


def test_when_a_claimed_row_has_other_numbers_than_a_reproduction_then_it_is_disputed(workspace):
    for number, metric in enumerate(workspace.record.results):
        workspace.edit("results", number, "estimates", "skill", "value", to=metric["skill"].value + 0.02)
    add(workspace.record, workspace.records)
    result = workspace.typed("reproduce", workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 1
    assert result.stdout.startswith("drifted: the largest difference of a skill is 0.02 (")
    found = row_status(workspace.records / file_name(workspace.record), workspace.record)
    assert found.state == "claimed"
    assert found.disputed.startswith("a reproduction drifted")


@pytest.mark.parametrize("place", [lambda piece: piece, elsewhere], ids=["here", "elsewhere"])
def test_when_it_is_reproduced_after_a_drift_then_both_are_kept_and_the_drift_lasts(place, row, workspace):
    append(row, workspace.record, rerun(workspace.record, "drifted"))
    append(row, workspace.record, place(rerun(workspace.record)))
    found = row_status(row, workspace.record)
    assert [piece["grade"] for piece in found.evidence] == ["drifted", "bitwise"]
    assert found.state == "reproduced"
    assert found.disputed.startswith("a reproduction drifted")
    recomputed(row, by=1e-3)
    assert row_status(row, read_record(row)).disputed.startswith("a reproduction drifted"), "it is of the row"


def test_when_it_is_disputed_twice_then_both_reasons_stand_until_they_are_settled(row, workspace):
    for reason in ("too good", "no code", "too good"):
        append(row, workspace.record, maintainer_note("disputed", workspace.record, reason))
    found = row_status(row, workspace.record)
    assert found.disputed == "too good; no code"
    assert len(found.evidence) == 2, "the same is not said twice"
    append(row, workspace.record, maintainer_note("resolved", workspace.record, "explained"))
    assert state(row, workspace) == ("claimed", None)
    append(row, workspace.record, maintainer_note("disputed", workspace.record, "too good"))
    assert state(row, workspace) == ("claimed", "too good"), "the same again after it was settled is a new dispute"
    append(row, workspace.record, maintainer_note("resolved", workspace.record, "explained"))
    assert state(row, workspace) == ("claimed", None)


def test_a_dispute_can_be_opened_settled_and_opened_again(row, workspace):
    for options, disputed in (
        (("--reason", "too good"), "too good"),
        (("--reason", "explained", "--resolve"), None),
        (("--reason", "not after all"), "not after all"),
    ):
        result = workspace.typed("leaderboard", "dispute", row, *options)
        assert result.exit_code == 0, result.output
        assert state(row, workspace) == ("claimed", disputed)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nosuch", None),
        ("linear-quick", "toy-pendulum--synthetic-v1__linear-quick-"),
        ("other__seed9.json", "other__seed2"),
    ],
)
def test_when_there_is_no_such_record_then_dispute_names_where_they_stand_and_the_nearest(name, near, row, workspace):
    board = workspace.board()
    result = workspace.typed("leaderboard", "dispute", workspace.records / name, "--reason", "why")
    assert result.exit_code == 1
    assert f"There is no record {workspace.records / name}" in result.output
    assert str(workspace.records / "DATASET__PREDICTOR-BUDGET-CONFIGURATION__seed0.json") in result.output
    assert near is None or f"the nearest: {near}" in result.output
    assert workspace.board() == board


def test_when_no_record_is_near_then_dispute_names_the_clones_own(store, monkeypatch):
    monkeypatch.chdir(RESULTS.parents[1])
    result = CliRunner().invoke(main, ["leaderboard", "dispute", "hopper-linear", "--reason", "why"])
    assert result.exit_code == 1
    nearest = r"files like \S+/leaderboard/results/.*; the nearest: hopper--ppo-mini-v\d__linear"
    assert re.search(nearest, result.output)


@pytest.mark.parametrize("reason", ["a\u202eb", "line\nbreak", "x" * 501])
def test_when_a_reason_is_no_line_then_it_is_refused(reason, row, workspace):
    board = workspace.board()
    result = workspace.typed("leaderboard", "dispute", row, "--reason", reason)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "disputed: text: " in result.output
    assert workspace.board() == board


def test_when_a_rows_numbers_are_recomputed_then_it_stays_disputed(row, workspace):
    append(row, workspace.record, maintainer_note("disputed", workspace.record, "too good"))
    record = recomputed(row, by=1e-12)
    assert row_status(row, record).disputed == "too good"
    append(row, record, rerun(record))
    assert (row_status(row, record).state, row_status(row, record).disputed) == ("reproduced", "too good")
