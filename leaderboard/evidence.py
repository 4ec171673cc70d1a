"""What is known of a record beyond its own claims, kept beside it, and the state of its row that follows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..benchmark.provenance import provenance
from ..benchmark.record import Finite, Record, Sha256, Text
from ..registry.canonical import strict_json
from ..registry.errors import ProtocolError
from ..registry.files import write_text
from .verification.reproduce import Reproduced
from .verification.rescore import Rescored

FOLDER = "evidence"
LIMIT = 1 << 20
State = Literal["claimed", "rescored", "reproduced"]


class Evidence(BaseModel):
    """One thing that was done with a record, and where.

    `kind` is "rescored" or "reproduced" (by this package), "disputed" or "settled" (by a maintainer).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["rescored", "reproduced", "disputed", "settled"]
    record: Sha256
    """`fingerprint` of the record that it is of: evidence of another record says nothing, but for a dispute, which is
    of the row."""
    text: Text
    grade: Literal["bitwise", "within tolerance", "drifted"] | None = None
    largest: Finite | None = None
    tipl_bench: Text
    git_commit: Text | None
    cpu: Text
    platform: Text


@dataclass(frozen=True)
class Standing:
    """The state of a row with its grounds.

    Parameters
    ----------
    state
        "claimed" (as received), "rescored" (recomputed from its forecasts) or "reproduced" (run again).
    disputed
        Why it is disputed, if it is.
    evidence
        Everything known, oldest first.
    """

    state: State
    disputed: str | None
    evidence: tuple[dict[str, Any], ...]


def fingerprint(record: Record) -> str:
    """The sha256 of a record without its timings."""
    return hashlib.sha256(record.without_cost().encode()).hexdigest()


def rescored(found: Rescored, record: Record) -> Evidence:
    """Evidence of a re-scoring that agreed, for the record as the board keeps it."""
    how = "to the last digit" if found.exact else "within the tolerances of another machine"
    return _evidence("rescored", record, f"{found.numbers:,} numbers recomputed from the forecasts, {how}")


def reproduced(found: Reproduced) -> Evidence:
    """Evidence of a reproduction."""
    text = f"run again: {found.grade}; largest difference of a skill {found.largest:.2g} ({found.where})"
    largest = min(found.largest, 1e9)
    return _evidence("reproduced", found.record, text, grade=found.grade, largest=largest)


def said(kind: Literal["disputed", "settled"], record: Record, reason: str) -> Evidence:
    """A maintainer's word."""
    return _evidence(kind, record, reason)


def _evidence(kind: str, record: Record, text: str, **facts: Any) -> Evidence:
    here = provenance("cpu", record.provenance.isolation)
    place = {name: getattr(here, name) for name in ("tipl_bench", "git_commit", "cpu", "platform")}
    try:
        return Evidence.model_validate({"kind": kind, "record": fingerprint(record), "text": text, **facts, **place})
    except ValidationError as error:
        first = error.errors()[0]
        raise ProtocolError(f"{kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def evidence_path(record_path: Path) -> Path:
    """Where the evidence of a record file is kept."""
    return record_path.parent / FOLDER / record_path.name


def read(record_path: Path, record: Record) -> list[Evidence]:
    """All evidence of this very record, and its row's disputes; raises `ProtocolError` if the file is not valid."""
    path = evidence_path(record_path)
    if not path.exists():
        return []
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"larger than {LIMIT} bytes")
        everything = TypeAdapter(list[Evidence]).validate_python(strict_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ProtocolError(f"{path}: not valid evidence ({str(error)[:200]}).") from None
    return [e for e in everything if e.record == fingerprint(record) or e.kind in ("disputed", "settled")]


def keep(record_path: Path, record: Record, evidence: Evidence) -> Path:
    """Add evidence to what is kept of a record; an older piece of the same kind and place is replaced."""
    path = evidence_path(record_path)
    place = (evidence.kind, evidence.cpu, evidence.tipl_bench)
    others = [e for e in read(record_path, record) if (e.kind, e.cpu, e.tipl_bench) != place]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = TypeAdapter(list[Evidence]).dump_json([*others, evidence], indent=1).decode()
    write_text(path, text + "\n")
    return path


def standing(record_path: Path, record: Record) -> Standing:
    """The state of a record that is kept at a path."""
    known = read(record_path, record)
    state: State = "claimed"
    disputed = None
    for evidence in known:
        if evidence.kind == "rescored" and state == "claimed":
            state = "rescored"
        elif evidence.kind == "reproduced" and evidence.grade == "drifted":
            disputed = f"a reproduction drifted: {evidence.text}"
        elif evidence.kind == "reproduced":
            state = "reproduced"
        elif evidence.kind == "disputed":
            disputed = evidence.text
        elif evidence.kind == "settled":
            disputed = None
    return Standing(state, disputed, tuple(e.model_dump(exclude={"record"}, exclude_none=True) for e in known))
