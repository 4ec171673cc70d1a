"""Evidence of confirmations: what a row's state follows from, and what is refused when it is read."""

from __future__ import annotations

import json

import pytest
from helpers.attesting import confirmation, elsewhere, piece, rerun, state
from tipl_bench.leaderboard.store.confirmation import Confirmation
from tipl_bench.leaderboard.store.evidence import append, confirmed, evidence_path, maintainer_note, row_status
from tipl_bench.utils.errors import ProtocolError


def test_confirmed_stands_above_reproduced_whatever_comes_after_it(row, workspace):
    record = workspace.record
    append(row, record, piece(record))
    assert state(row, workspace) == ("confirmed", None)
    append(row, record, rerun(record))
    assert state(row, workspace) == ("confirmed", None)


@pytest.mark.parametrize(
    ("differences", "kind"),
    [
        ({}, "confirmed"),
        ({"skill": 0.4}, "confirmed"),
        ({"skill": -0.4}, "confirmed"),
        ({"skill": -0.4, "chance": 0.02}, "confirmed"),
        ({"skill": -0.4, "chance": 0.02, "rule": 1}, "not confirmed"),
        ({"skill": -0.4, "chance": 0.001}, "not confirmed"),
        ({"skill": -0.4, "chance": 0.001, "spread": 0.5}, "confirmed"),
        ({"skill": -0.019, "chance": 0.0}, "confirmed"),
        ({"skill": -0.021, "chance": 0.0}, "not confirmed"),
        ({"repw": 400.0, "chance": 0.0}, "confirmed"),
        ({"relative_repw": -0.4, "chance": 0.0}, "confirmed"),
        ({"relative_repw": 0.049, "chance": 0.0}, "confirmed"),
        ({"relative_repw": 0.051, "chance": 0.0}, "not confirmed"),
    ],
    ids=str,
)
def test_a_claim_is_refuted_by_what_is_worse_by_more_than_chance_and_two_machines(differences, kind, row, workspace):
    made = piece(workspace.record, **differences)
    append(row, workspace.record, made)
    assert (made.kind, state(row, workspace)[0]) == (kind, kind)


def test_a_refuted_claim_stays_refuted_until_it_is_resolved(row, workspace):
    record = workspace.record
    refuted = piece(record, skill=-0.4, chance=0.001)
    for later in (refuted, piece(record), rerun(record), elsewhere(piece(record))):
        append(row, record, later)
        assert state(row, workspace)[0] == "not confirmed"
    workspace.edit("key", "method", "options", "damping", to=0.5)
    other = workspace.record
    assert row_status(row, other).state == "not confirmed", "numbers of another record do not lift it"
    append(row, record, maintainer_note("resolved", record, "the set's trials were damaged"))
    assert row_status(row, record).state == "confirmed"
    append(row, record, refuted)
    assert row_status(row, record).state == "not confirmed"


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("kind",), "confirmed", "confirmed, where the numbers of its confirmation say not confirmed"),
        (("kind",), "reproduced", "reproduced, where"),
        (("confirmation",), None, "not confirmed, where the numbers of its confirmation say None"),
        (("confirmation", "skill", "fresh", "value"), 0.9, "difference is not fresh minus public"),
        (("confirmation", "skill", "difference", "low"), 0.9, "interval ends before it begins"),
        (("confirmation", "skill", "difference", "low"), "Infinity", "valid number"),
        (("confirmation", "skill", "fresh", "value"), 10**400, ""),
        (("confirmation", "repw", "chance"), 1.5, "less than or equal to 1"),
        (("confirmation", "repw", "chance"), "0", "valid number"),
        (("confirmation", "fresh_set"), "../x", "match pattern"),
        (("confirmation", "isolation"), "none", "isolation none does not keep the fresh trials secret"),
        (("confirmation", "code"), "d" * 64, "isolation landlock does not keep the fresh trials secret"),
        (("confirmation", "isolation"), "prayer", "Input should be"),
        (("confirmation", "trials"), 1, "greater than or equal to 2"),
        (("confirmation", "trials"), 10**9, "less than or equal to"),
        (("confirmation", "phase"), "converged", "Input should be"),
        (("confirmation", "rule"), 3, "Input should be"),
        (("confirmation", "seeds"), [1], "Extra inputs"),
        (("confirmation", "skill"), [], "valid"),
        (("text",), "x\u202e", "unseen character"),
    ],
    ids=str,
)
def test_evidence_that_is_none_is_refused_with_the_file(place, value, problem, row, workspace):
    append(row, workspace.record, piece(workspace.record, skill=-0.4, chance=0.0))
    path = evidence_path(row)
    pieces = json.loads(path.read_text())
    target = pieces[0]
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
    path.write_text(json.dumps(pieces))
    with pytest.raises(ProtocolError, match=f"not valid evidence.*{problem}|{path.name}") as caught:
        row_status(row, workspace.record)
    assert str(path) in str(caught.value)


def test_a_confirmation_of_other_numbers_than_the_records_is_refused(row, workspace):
    claim = confirmation(workspace.record)
    for part in ("public", "fresh"):
        claim["skill"][part] = {name: value + 0.2 for name, value in claim["skill"][part].items()}
    append(row, workspace.record, confirmed(Confirmation.model_validate(claim), workspace.record))
    with pytest.raises(ProtocolError, match="a confirmation of other numbers or code than the record's"):
        row_status(row, workspace.record)
