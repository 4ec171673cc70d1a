"""Evidence: what is known of a row beyond its own claims, and the state that follows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tipl_bench.benchmark.record import read_record
from tipl_bench.cli import main
from tipl_bench.leaderboard import evidence
from tipl_bench.leaderboard.evidence import fingerprint, keep, said, standing
from tipl_bench.leaderboard.records import RECORDS, file_name, load
from tipl_bench.leaderboard.verification.folder import open_run
from tipl_bench.leaderboard.verification.reproduce import grade
from tipl_bench.leaderboard.verification.rescore import rescore
from tipl_bench.registry.errors import ProtocolError


@pytest.fixture
def row(desk):
    """The good run's record among the board's, as it was received."""
    result = desk.typed("leaderboard", "add", desk.run, "--records", desk.records, "--claimed")
    assert result.exit_code == 0, result.output
    return desk.records / file_name(desk.record)


def state(row, desk):
    found = standing(row, desk.record)
    return found.state, found.disputed


def rerun(record, grade_word="bitwise"):
    """A reproduction with a grade of one's choosing."""
    return evidence.reproduced(replace(grade(record, record), grade=grade_word, largest=0.2, where="all, h = 1"))


def elsewhere(piece):
    """The same from another machine."""
    return piece.model_copy(update={"cpu": "Another processor"})


def recomputed(row, by):
    """The board's record after another machine's re-scoring, whose skills differ by so much."""
    found = json.loads(row.read_text())
    for metric in found["metrics"]:
        metric["skill"]["value"] += by
    row.write_text(json.dumps(found))
    return read_record(row)


def test_a_row_begins_as_claimed_and_rises_with_what_is_done(row, desk):
    assert state(row, desk) == ("claimed", None)
    result = desk.typed("verify", desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 0, result.output
    assert f"kept in {desk.records / 'evidence' / row.name}" in result.output
    assert state(row, desk) == ("rescored", None)
    result = desk.typed("reproduce", desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 0, result.output
    assert state(row, desk) == ("reproduced", None)
    kinds = [piece["kind"] for piece in standing(row, desk.record).evidence]
    assert kinds == ["rescored", "reproduced"]


def test_added_runs_are_rescored_first(desk):
    result = desk.typed("leaderboard", "add", desk.run, "--records", desk.records)
    assert result.exit_code == 0, result.output
    row = desk.records / file_name(desk.record)
    assert state(row, desk) == ("rescored", None)
    (piece,) = standing(row, desk.record).evidence
    assert "numbers recomputed from the forecasts, to the last digit" in piece["text"]


def test_when_a_row_is_added_again_then_the_row_and_its_evidence_stay(desk):
    for command in (("leaderboard", "add"), ("reproduce", "--attest"), ("leaderboard", "add")):
        board = desk.board()
        result = desk.typed(*command, desk.run, "--records", desk.records)
        assert result.exit_code == 0, result.output
    assert "stays as it is; it was rescored already" in result.output
    assert desk.board() == board
    row = desk.records / file_name(desk.record)
    assert state(row, desk) == ("reproduced", None)
    recomputed(row, by=1e-3)
    result = desk.typed("leaderboard", "add", desk.run, "--records", desk.records)
    assert result.exit_code == 0, result.output
    assert desk.board()[str(row)] == board[str(row)], "numbers that its forecasts do not give are replaced"


def test_when_a_seed_joins_a_reproduced_row_then_its_fall_is_told(desk):
    for command in (("leaderboard", "add"), ("reproduce", "--attest")):
        assert desk.typed(*command, desk.run, "--records", desk.records).exit_code == 0
    desk.edit("key", "seed", to=1)
    result = desk.check()
    assert result.exit_code == 1
    assert re.search(
        r"doubtful: adds seed 1 to row \S+, whose skill goes (0\.\d+) -> \1 and whose state reproduced -> rescored",
        result.output,
    )


def test_when_another_machine_rescores_an_attested_row_then_its_numbers_and_evidence_stay(row, desk):
    kept = recomputed(row, by=1e-7)
    keep(row, kept, evidence.rescored(rescore(open_run(desk.run, desk.dataset)), kept))
    board = desk.board()
    assert desk.typed("leaderboard", "add", desk.run, "--records", desk.records).exit_code == 0
    assert desk.board() == board


@pytest.mark.parametrize(
    ("place", "to"),
    [
        (("cost", "fit_seconds"), 0.0),
        (("parameter_count",), 1),
        (("provenance", "gpu"), "someone else's"),
        (("provenance", "cpu"), "Another processor"),
    ],
    ids=lambda value: str(value),
)
def test_when_a_reproduced_rows_claims_are_edited_then_check_and_add_name_the_field(place, to, desk):
    for command in (("leaderboard", "add"), ("reproduce", "--attest")):
        assert desk.typed(*command, desk.run, "--records", desk.records).exit_code == 0
    board = desk.board()
    desk.edit(*place, to=to)
    for result in (desk.check(), desk.typed("leaderboard", "add", desk.run, "--records", desk.records)):
        assert result.exit_code == 1
        assert re.search(rf"the board has these forecasts already .*another {'.'.join(place)} \(", result.output)
    assert desk.board() == board


@pytest.mark.parametrize("what", ["wrong", "copied"])
def test_when_a_run_does_not_hold_then_add_takes_nothing(what, desk):
    if what == "wrong":
        desk.edit("metrics", 0, "skill", "value", to=0.99)
    else:
        desk.forge(forecasts=desk.targets(), rescored=True)
    board = desk.board()
    result = desk.typed("leaderboard", "add", desk.run, "--records", desk.records)
    assert result.exit_code == 1
    assert "nothing was changed" in result.output
    assert desk.board() == board


def test_when_a_row_is_not_the_boards_then_nothing_is_attested(desk):
    board = desk.board()
    result = desk.typed("verify", desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 1
    assert "add the run first" in result.output
    assert desk.board() == board


def test_when_a_number_differs_then_nothing_is_attested(row, desk):
    desk.edit("metrics", 0, "skill", "value", to=0.99)
    result = desk.typed("verify", desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 1
    assert not (desk.records / "evidence" / row.name).exists()


def test_when_a_reproduction_drifts_then_the_row_is_disputed_until_that_is_settled(row, desk):
    record = desk.record
    keep(row, record, evidence.rescored(rescore(open_run(desk.run, desk.dataset)), record))
    keep(row, record, rerun(record, "drifted"))
    found = standing(row, record)
    assert found.state == "rescored"
    assert found.disputed.startswith("a reproduction drifted: run again: drifted; largest difference of a skill 0.2")
    keep(row, record, elsewhere(rerun(record)))
    assert standing(row, record).state == "reproduced"
    assert standing(row, record).disputed, "one machine's success does not settle another's drift"
    result = desk.typed("leaderboard", "dispute", row, "--reason", "its GPU", "--settle")
    assert result.exit_code == 0, result.output
    assert state(row, desk) == ("reproduced", None)


def test_when_a_claimed_row_has_other_numbers_than_a_reproduction_then_it_is_disputed(desk):
    for number, metric in enumerate(desk.record.metrics):
        desk.edit("metrics", number, "skill", "value", to=metric.skill.value + 0.02)
    assert desk.typed("leaderboard", "add", desk.run, "--records", desk.records, "--claimed").exit_code == 0
    result = desk.typed("reproduce", desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 1
    assert result.output.startswith("drifted: the largest difference of a skill is 0.02 (")
    found = standing(desk.records / file_name(desk.record), desk.record)
    assert found.state == "claimed"
    assert found.disputed.startswith("a reproduction drifted")


@pytest.mark.parametrize("place", [lambda piece: piece, elsewhere], ids=["here", "elsewhere"])
def test_when_it_is_reproduced_after_a_drift_then_both_are_kept_and_the_drift_lasts(place, row, desk):
    keep(row, desk.record, rerun(desk.record, "drifted"))
    keep(row, desk.record, place(rerun(desk.record)))
    found = standing(row, desk.record)
    assert [piece["grade"] for piece in found.evidence] == ["drifted", "bitwise"]
    assert found.state == "reproduced"
    assert found.disputed.startswith("a reproduction drifted")
    recomputed(row, by=1e-3)
    assert standing(row, read_record(row)).disputed.startswith("a reproduction drifted"), "it is of the row"


def test_when_it_is_disputed_twice_then_both_reasons_stand_until_they_are_settled(row, desk):
    for reason in ("too good", "no code", "too good"):
        keep(row, desk.record, said("disputed", desk.record, reason))
    found = standing(row, desk.record)
    assert found.disputed == "too good; no code"
    assert len(found.evidence) == 2, "the same is not said twice"
    keep(row, desk.record, said("settled", desk.record, "explained"))
    assert state(row, desk) == ("claimed", None)
    keep(row, desk.record, said("disputed", desk.record, "too good"))
    assert state(row, desk) == ("claimed", "too good"), "the same again after it was settled is a new dispute"
    keep(row, desk.record, said("settled", desk.record, "explained"))
    assert state(row, desk) == ("claimed", None)


def test_evidence_of_other_numbers_is_kept_beside_that_of_the_new_ones(row, desk):
    keep(row, desk.record, rerun(desk.record))
    record = recomputed(row, by=1e-3)
    keep(row, record, rerun(record))
    assert len(json.loads((desk.records / "evidence" / row.name).read_text())) == 2
    assert len(standing(row, record).evidence) == 1


def test_when_there_is_more_evidence_than_can_be_read_then_nothing_is_added(row, desk):
    piece = said("disputed", desk.record, "x").model_dump(mode="json")
    path = desk.records / "evidence" / row.name
    pieces = [piece | {"text": f"{number:0500}"} for number in range(2000)]
    path.write_text(json.dumps(pieces[: evidence.LIMIT // (len(json.dumps(pieces[0])) + 2)]))
    before = path.read_bytes()
    with pytest.raises(ProtocolError, match="would be larger than 1048576 bytes; nothing was added"):
        keep(row, desk.record, said("disputed", desk.record, "one more"))
    assert path.read_bytes() == before


def test_a_dispute_can_be_opened_settled_and_opened_again(row, desk):
    for options, disputed in (
        (("--reason", "too good"), "too good"),
        (("--reason", "explained", "--settle"), None),
        (("--reason", "not after all"), "not after all"),
    ):
        result = desk.typed("leaderboard", "dispute", row, *options)
        assert result.exit_code == 0, result.output
        assert state(row, desk) == ("claimed", disputed)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nosuch", None),
        ("linear-quick", "toy-pendulum--synthetic-v1__linear-quick-"),
        ("other__seed8.json", "other__seed7"),
    ],
)
def test_when_there_is_no_such_record_then_dispute_names_where_they_stand_and_the_nearest(name, near, row, desk):
    board = desk.board()
    result = desk.typed("leaderboard", "dispute", desk.records / name, "--reason", "why")
    assert result.exit_code == 1
    assert f"There is no record {desk.records / name}" in result.output
    assert str(desk.records / "DATASET__PREDICTOR-BUDGET-CONFIGURATION__seed0.json") in result.output
    assert near is None or f"the nearest: {near}" in result.output
    assert desk.board() == board


def test_when_no_record_is_near_then_dispute_names_the_packages_own(store):
    result = CliRunner().invoke(main, ["leaderboard", "dispute", "hopper-linear", "--reason", "why"])
    assert result.exit_code == 1
    assert re.search(
        rf"files like {re.escape(str(RECORDS))}.*; the nearest: hopper--ppo-mini-v1__linear", result.output
    )


@pytest.mark.parametrize("reason", ["a\u202eb", "line\nbreak", "x" * 501])
def test_when_a_reason_is_no_line_then_it_is_refused(reason, row, desk):
    board = desk.board()
    result = desk.typed("leaderboard", "dispute", row, "--reason", reason)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "disputed: text: " in result.output
    assert desk.board() == board


def test_evidence_of_another_record_says_nothing(row, desk):
    record = desk.record
    keep(row, record, rerun(record))
    other = record.model_copy(update={"parameter_count": 99})
    assert fingerprint(other) != fingerprint(record)
    assert standing(row, other).state == "claimed"
    assert standing(row, other).evidence == ()


def test_when_a_rows_numbers_are_recomputed_then_it_stays_disputed(row, desk):
    keep(row, desk.record, said("disputed", desk.record, "too good"))
    record = recomputed(row, by=1e-12)
    assert standing(row, record).disputed == "too good"
    keep(row, record, rerun(record))
    assert (standing(row, record).state, standing(row, record).disputed) == ("reproduced", "too good")


@pytest.mark.parametrize("command", ["verify", "reproduce"])
def test_when_the_board_has_recomputed_numbers_then_its_row_is_what_is_attested(command, row, desk):
    kept = recomputed(row, by=1e-12)
    assert kept.without_cost() != desk.record.without_cost()
    result = desk.typed(command, desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 0, result.output
    assert standing(row, kept).state == {"verify": "rescored", "reproduce": "reproduced"}[command]


def test_when_the_boards_row_has_other_numbers_then_verification_does_not_attest_it(row, desk):
    recomputed(row, by=0.02)
    board = desk.board()
    result = desk.typed("verify", desk.run, "--records", desk.records, "--attest")
    assert result.exit_code == 1
    assert "row is not attested" in result.output
    assert desk.board() == board


def test_when_a_row_is_not_the_boards_then_a_reproduction_does_not_begin(desk):
    result = desk.typed("reproduce", desk.run, "--records", desk.records, "--attest", "--out", "again")
    assert result.exit_code == 1
    assert "add the run first" in result.output
    assert not Path("again").exists()


def test_timings_are_not_part_of_what_evidence_is_of(row, desk):
    record = desk.record
    keep(row, record, rerun(record))
    slower = record.model_copy(update={"cost": record.cost.model_copy(update={"fit_seconds": 99.0})})
    assert standing(row, slower).state == "reproduced"


def broken(change):
    def edit(path):
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return edit


BREAKS = {
    "not JSON": lambda path: path.write_text("["),
    "not UTF-8": lambda path: path.write_bytes(b"\xff"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "an object": lambda path: path.write_text("{}"),
    "an unknown kind": broken(lambda found: found[0].update(kind="proven")),
    "an unknown grade": broken(lambda found: found[0].update(grade="perfect")),
    "an unknown field": broken(lambda found: found[0].update(by="me")),
    "no fingerprint": broken(lambda found: found[0].update(record="all")),
    "bidirectional text": broken(lambda found: found[0].update(text="\u202e")),
    "oversized": lambda path: path.write_text("[" + " " * (1 << 20) + "]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_when_the_evidence_is_broken_then_its_file_is_named(kind, row, desk):
    path = keep(row, desk.record, rerun(desk.record))
    BREAKS[kind](path)
    with pytest.raises(ProtocolError, match=f"{row.stem}.json: not valid evidence"):
        standing(row, desk.record)
    with pytest.raises(ProtocolError):
        keep(row, desk.record, said("disputed", desk.record, "why"))


def test_evidence_is_no_record_of_the_board(row, desk):
    keep(row, desk.record, rerun(desk.record))
    assert len(load(desk.records)) == 2
    assert desk.typed("leaderboard", "build", "--records", desk.records, "--out", desk.submission).exit_code == 0
