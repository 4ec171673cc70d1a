"""Evidence: what is known of a row beyond its own claims, and the state that follows."""

from __future__ import annotations

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.attesting import recomputed, rerun, state
from tipl_bench.leaderboard.store import evidence
from tipl_bench.leaderboard.store.evidence import append, fingerprint, maintainer_note, row_status
from tipl_bench.leaderboard.store.records import add, file_name, load
from tipl_bench.leaderboard.submission import examination
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.rescore import rescore
from tipl_bench.registry.store import cache_root
from tipl_bench.utils.errors import ProtocolError


def test_a_row_begins_as_claimed_and_rises_with_what_is_done(row, workspace):
    assert state(row, workspace) == ("claimed", None)
    result = workspace.typed("verify", workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 0, result.output
    assert f"kept in {workspace.records / 'evidence' / row.name}" in result.output
    assert state(row, workspace) == ("rescored", None)
    result = workspace.typed("reproduce", workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 0, result.output
    assert state(row, workspace) == ("reproduced", None)
    kinds = [piece["kind"] for piece in row_status(row, workspace.record).evidence]
    assert kinds == ["rescored", "reproduced"]


def test_added_runs_are_rescored_first_and_those_of_this_package_run_again(workspace):
    result = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records)
    assert result.exit_code == 0, result.output
    row = workspace.records / file_name(workspace.record)
    assert state(row, workspace) == ("reproduced", None)
    first, second = row_status(row, workspace.record).evidence
    assert "numbers recomputed from the forecasts, to the last digit" in first["text"]
    assert second["grade"] == "bitwise"


def test_evidence_rests_on_no_return_that_was_looked_up(workspace):
    run = (workspace.run, "--records", workspace.records)
    for command in (("leaderboard", "add", *run), ("verify", *run, "--attest")):
        assert workspace.typed("verify", workspace.run).exit_code == 0
        with sqlite3.connect(cache_root() / "returns.sqlite") as connection:
            connection.execute("UPDATE returns SET value = value + 1")
        connection.close()
        result = workspace.typed(*command)
        assert result.exit_code == 0, result.output
        assert "looked up" not in result.output
    assert state(workspace.records / file_name(workspace.record), workspace)[0] == "reproduced"


def test_when_runs_made_here_are_added_without_evaluating_again_then_their_evidence_says_so(workspace):
    records = ("--records", workspace.records)
    assert workspace.typed("verify", workspace.run).exit_code == 0
    result = workspace.typed("leaderboard", "add", workspace.run, workspace.run, "--no-fresh", *records)
    assert result.exit_code == 0, result.output
    assert "stays as it is; it was checked already" in result.output, "each of them is added in turn"
    row = workspace.records / file_name(workspace.record)
    assert state(row, workspace) == ("reproduced", None)
    text = row_status(row, workspace.record).evidence[0]["text"]
    assert re.search(r"to the last digit; [\d,]+ returns were evaluated on this machine before$", text)


def test_when_a_maintainers_run_is_added_without_a_rerun_then_it_is_rescored_until_it_is_run_again(
    workspace, monkeypatch
):
    command = ("leaderboard", "add", workspace.run, "--records", workspace.records)
    refused = workspace.typed(*command, "--no-rerun")
    assert refused.exit_code == 1
    assert "is not run again: only for a run of your own" in refused.output
    row = workspace.records / file_name(workspace.record)
    assert not row.exists()
    both = workspace.typed(*command, "--no-rerun", "--claimed")
    assert both.exit_code == 2
    assert "not both" in both.output
    with monkeypatch.context() as patch:
        patch.setattr(examination, "run_again", lambda *_: pytest.fail("run again"))
        for expected in ("added", "it was checked already"):
            result = workspace.typed(*command, "--no-rerun", "--reviewed")
            assert result.exit_code == 0, result.output
            assert expected in result.output
    assert state(row, workspace) == ("rescored", None)
    (piece,) = row_status(row, workspace.record).evidence
    assert piece["text"].endswith("; not run again: a maintainer says that it is this predictor's")
    result = workspace.typed(*command)
    assert result.exit_code == 0, result.output
    assert state(row, workspace) == ("reproduced", None)


def test_when_a_copy_is_added_without_a_rerun_then_the_row_that_it_copies_is_named(workspace):
    command = ("leaderboard", "add", workspace.run, "--records", workspace.records)
    assert workspace.typed(*command).exit_code == 0
    workspace.edit("key", "method", "name", to="persistence")
    workspace.edit("key", "method", "options", to={})
    result = workspace.typed(*command, "--no-rerun")
    assert result.exit_code == 1
    assert "nearly the forecasts of linear" in result.output


def test_when_a_reproduction_is_on_another_device_then_it_is_no_evidence(row, workspace):
    result = workspace.typed("reproduce", row, "--attest", "--device", "cuda", "--records", workspace.records)
    assert result.exit_code == 2
    assert "--attest needs the record's own device, cpu" in result.output


def test_added_runs_of_others_are_rescored_and_no_code_of_theirs_is_run(workspace):
    workspace.as_guest()
    row = add(workspace.record, workspace.records)
    append(row, workspace.record, rerun(workspace.record))  # which compares skills alone
    result = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records)
    assert result.exit_code == 0, result.output
    assert [piece["kind"] for piece in row_status(row, workspace.record).evidence] == ["reproduced", "rescored"]


def test_when_a_row_is_added_again_then_the_row_and_its_evidence_stay(workspace):
    for command in (("leaderboard", "add"), ("leaderboard", "add")):
        board = workspace.board()
        result = workspace.typed(*command, workspace.run, "--records", workspace.records)
        assert result.exit_code == 0, result.output
    assert "stays as it is; it was checked already" in result.output
    assert workspace.board() == board
    row = workspace.records / file_name(workspace.record)
    assert state(row, workspace) == ("reproduced", None)
    recomputed(row, by=1e-3)
    result = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records)
    assert result.exit_code == 0, result.output
    assert workspace.board()[str(row)] == board[str(row)], "numbers that its forecasts do not give are replaced"


def test_when_a_seed_joins_a_reproduced_row_then_its_fall_is_told(row, workspace):
    append(row, workspace.record, rerun(workspace.record))
    workspace.edit("key", "seed", to=1)
    result = workspace.check()
    assert result.exit_code == 1
    assert re.search(
        r"needs review: adds seed 1 to row \S+, whose skill goes (0\.\d+) -> \1 and whose state reproduced -> rescored",
        result.output,
    )


def test_when_another_machine_adds_an_attested_row_then_its_numbers_stay_and_only_the_rerun_is_new(row, workspace):
    kept = recomputed(row, by=1e-7)
    append(row, kept, evidence.rescored(rescore(open_run(workspace.run, workspace.dataset)), kept))
    board = workspace.board()
    assert workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records).exit_code == 0
    assert workspace.board()[str(row)] == board[str(row)]
    assert [piece["kind"] for piece in row_status(row, kept).evidence] == ["rescored", "reproduced"]


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
def test_when_a_reproduced_rows_claims_are_edited_then_check_and_add_name_the_field(place, to, row, workspace):
    append(row, workspace.record, rerun(workspace.record))
    board = workspace.board()
    workspace.edit(*place, to=to)
    for result in (
        workspace.check(),
        workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records),
    ):
        assert result.exit_code == 1
        assert re.search(rf"the board has these forecasts already .*another {'.'.join(place)} \(", result.output)
    assert workspace.board() == board


@pytest.mark.parametrize("what", ["wrong", "copied"])
def test_when_a_run_does_not_hold_then_add_takes_nothing(what, workspace):
    if what == "wrong":
        workspace.edit("results", 0, "estimates", "skill", "value", to=0.99)
    else:
        workspace.forge(forecasts=workspace.targets(), rescored=True)
    board = workspace.board()
    result = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records)
    assert result.exit_code == 1
    assert "the leaderboard is unchanged" in result.output
    assert workspace.board() == board


def test_when_a_row_is_not_the_boards_then_nothing_is_attested(workspace):
    board = workspace.board()
    result = workspace.typed("verify", workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 1
    assert "add the run first" in result.output
    assert workspace.board() == board


def test_when_a_number_differs_then_nothing_is_attested(row, workspace):
    workspace.edit("results", 0, "estimates", "skill", "value", to=0.99)
    result = workspace.typed("verify", workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 1
    assert not (workspace.records / "evidence" / row.name).exists()


def test_evidence_of_other_numbers_is_kept_beside_that_of_the_new_ones(row, workspace):
    append(row, workspace.record, rerun(workspace.record))
    record = recomputed(row, by=1e-3)
    append(row, record, rerun(record))
    assert len(json.loads((workspace.records / "evidence" / row.name).read_text())) == 2
    assert len(row_status(row, record).evidence) == 1


def test_when_there_is_more_evidence_than_can_be_read_then_nothing_is_added(row, workspace):
    piece = maintainer_note("disputed", workspace.record, "x").model_dump(mode="json")
    path = workspace.records / "evidence" / row.name
    pieces = [piece | {"text": f"{number:0500}"} for number in range(2000)]
    path.write_text(json.dumps(pieces[: evidence.LIMIT // (len(json.dumps(pieces[0])) + 2)]))
    before = path.read_bytes()
    with pytest.raises(ProtocolError, match="would be larger than 1048576 bytes; nothing was added"):
        append(row, workspace.record, maintainer_note("disputed", workspace.record, "one more"))
    assert path.read_bytes() == before


def test_evidence_of_another_record_says_nothing(row, workspace):
    record = workspace.record
    append(row, record, rerun(record))
    other = record.model_copy(update={"parameter_count": 99})
    assert fingerprint(other) != fingerprint(record)
    assert row_status(row, other).state == "claimed"
    assert row_status(row, other).evidence == ()


@pytest.mark.parametrize("command", ["verify", "reproduce"])
def test_when_the_board_has_recomputed_numbers_then_its_row_is_what_is_attested(command, row, workspace):
    kept = recomputed(row, by=1e-12)
    assert kept.without_cost() != workspace.record.without_cost()
    result = workspace.typed(command, workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 0, result.output
    assert row_status(row, kept).state == {"verify": "rescored", "reproduce": "reproduced"}[command]


def test_when_the_boards_row_has_other_numbers_then_verification_does_not_attest_it(row, workspace):
    recomputed(row, by=0.02)
    board = workspace.board()
    result = workspace.typed("verify", workspace.run, "--records", workspace.records, "--attest")
    assert result.exit_code == 1
    assert "row is not attested" in result.output
    assert workspace.board() == board


def test_when_a_row_is_not_the_boards_then_a_reproduction_does_not_begin(workspace):
    result = workspace.typed("reproduce", workspace.run, "--records", workspace.records, "--attest", "--out", "again")
    assert result.exit_code == 1
    assert "add the run first" in result.output
    assert not Path("again").exists()


def test_timings_are_not_part_of_what_evidence_is_of(row, workspace):
    record = workspace.record
    append(row, record, rerun(record))
    slower = record.model_copy(update={"cost": record.cost.model_copy(update={"fit_seconds": 99.0})})
    assert row_status(row, slower).state == "reproduced"


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
    "a number in quotes": broken(lambda found: found[0].update(largest="0.1")),
    "a truth value for a number": broken(lambda found: found[0].update(largest=True)),
    "bidirectional text": broken(lambda found: found[0].update(text="\u202e")),
    "oversized": lambda path: path.write_text("[" + " " * (1 << 20) + "]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_when_the_evidence_is_broken_then_its_file_is_named(kind, row, workspace):
    path = append(row, workspace.record, rerun(workspace.record))
    BREAKS[kind](path)
    with pytest.raises(ProtocolError, match=f"{row.stem}.json: not valid evidence"):
        row_status(row, workspace.record)
    with pytest.raises(ProtocolError):
        append(row, workspace.record, maintainer_note("disputed", workspace.record, "why"))


def test_what_several_add_at_once_is_all_kept(row, workspace):
    notes = [maintainer_note("disputed", workspace.record, f"reason {number}") for number in range(4)]
    with ThreadPoolExecutor(len(notes)) as pool:
        list(pool.map(lambda note: append(row, workspace.record, note), notes))
    assert sorted(piece["text"] for piece in row_status(row, workspace.record).evidence) == [one.text for one in notes]


def test_evidence_is_no_record_of_the_board(row, workspace):
    append(row, workspace.record, rerun(workspace.record))
    assert len(load(workspace.records)) == 2
    assert (
        workspace.typed("leaderboard", "build", "--records", workspace.records, "--out", workspace.submission).exit_code
        == 0
    )
