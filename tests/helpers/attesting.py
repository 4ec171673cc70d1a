"""Evidence of a row, as tests make it."""

from __future__ import annotations

import json
from dataclasses import replace

from tipl_bench.benchmark.record import read_record
from tipl_bench.leaderboard.store import evidence
from tipl_bench.leaderboard.store.evidence import row_status
from tipl_bench.leaderboard.verify.reproduce import grade


def state(row, workspace):
    found = row_status(row, workspace.record)
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
    for result in found["results"]:
        result["estimates"]["skill"]["value"] += by
    row.write_text(json.dumps(found))
    return read_record(row)
