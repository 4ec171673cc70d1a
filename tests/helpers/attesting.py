"""Evidence of a row, as tests make it."""

from __future__ import annotations

import json
from dataclasses import replace

from tipl_bench.benchmark.record import read_record
from tipl_bench.leaderboard.store import evidence
from tipl_bench.leaderboard.store.confirmation import Confirmation
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


def confirmation(record, skill=0.0, repw=0.0, relative_repw=0.0, chance=0.5, spread=0.01, rule=2):
    """A confirmation in which fresh trials differ by so much from what a record claims."""

    def mean(name):
        return sum(result[name].value for result in record.of_phase("learning")) / record.key.protocol.horizon

    def compared(public, by):
        around = {"public": public, "fresh": public + by, "difference": by}
        around = {part: {"value": v, "low": v - spread, "high": v + spread} for part, v in around.items()}
        return around | {"chance": chance}

    return {
        "fresh_set": "a" * 64,
        "dataset_digest": "b" * 64,
        "forecasts": "c" * 64,
        "code": None,
        "isolation": "landlock",
        "trials": 15,
        "phase": "learning",
        "skill": compared(mean("skill"), skill),
        "repw": compared(mean("repw"), repw),
        "relative_repw": compared(0.8, relative_repw),
        "rule": rule,
    }


def piece(record, **differences):
    """The evidence of it."""
    return evidence.confirmed(Confirmation.model_validate(confirmation(record, **differences)), record)
