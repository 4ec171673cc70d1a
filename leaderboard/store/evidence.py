"""Evidence about a record, kept beside it, and the status of its row that follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import to_json

from ...benchmark.metrics import FORMER_NAMES
from ...benchmark.provenance import provenance
from ...benchmark.record import Record, read_record
from ...registry.store import exclusive
from ...utils.canonical import canonical_json, strict_json
from ...utils.errors import ProtocolError
from ...utils.fields import Document, Finite, Sha256, Text, later
from ...utils.files import write_text
from ...utils.text import first_error
from ..verify.reproduce import ReproductionResult
from ..verify.rescore import RescoreResult
from .confirmation import Confirmation

FOLDER = "evidence"
LIMIT = 1 << 20
State = Literal["not confirmed", "claimed", "rescored", "reproduced", "confirmed"]
Kind = Literal["rescored", "reproduced", "confirmed", "not confirmed", "disputed", "resolved"]
PieceT = TypeVar("PieceT", bound=Document)
ORDER = get_args(State)
"""From the least to the most that is known in favour of a row."""
_RESULT = {
    "phase": True,
    "horizon": True,
    "environment": True,
    "windows": True,
    "trials": True,
    "estimates": {"__all__": {"value", "low", "high"}},
    "layers": True,
    "by_trial": True,
}
COVERED: dict[int, dict[str, Any]] = {
    2: {
        "format": True,
        "track": True,
        "status": {"state", "stage", "reason"},
        "key": {
            "protocol": {
                "version",
                "context",
                "horizon",
                "origins_per_phase",
                "smoothing",
                "learned_fraction",
                "evaluation_seeds",
                "noise_seeds",
                "resamples",
                "confidence",
                "bootstrap_seed",
            },
            "method": {"name", "version", "consumes", "budget", "options"},
            "seed": True,
            "device": True,
        },
        "parameter_count": True,
        "artifacts": True,
        "results": {"__all__": _RESULT},
        "returns": True,
        "provenance": {
            "tipl_bench",
            "git_commit",
            "git_dirty",
            "python",
            "platform",
            "cpu",
            "gpu",
            "torch_threads",
            "isolation",
            "packages",
        },
    }
}
"""The fields that a fingerprint covers besides the dataset's identity, by record format. They are frozen: a field that
a record gains later changes no fingerprint, so that evidence of older records goes on to name them."""

FIRST_NAMES = {name: former for former, name in FORMER_NAMES.items()}
"""Metrics that were renamed, as fingerprints go on to spell them."""


def _current_kind(kind: Any) -> Any:
    """Evidence of format 1 called a resolved dispute settled."""
    return "resolved" if kind == "settled" else kind


class Evidence(Document):
    """One thing that was done with a record, and where."""

    kind: Annotated[Kind, BeforeValidator(_current_kind)]
    """rescored, reproduced, confirmed and not confirmed by this package, disputed and resolved by a maintainer."""
    record: Sha256
    """`fingerprint` of the record that it is of: evidence of another record says nothing, but for a dispute, a drift or
    a claim that was not confirmed, which is of the row until it is resolved."""
    text: Text
    """What came out, or why."""
    grade: Literal["bitwise", "within tolerance", "drifted"] | None = None
    """Of a reproduction: how it came out."""
    largest: Finite | None = None
    """Of a reproduction: the largest difference of a skill."""
    confirmation: Confirmation | None = later(None)
    """Of a run on fresh trials: what it found."""
    tipl_bench: Text
    """The version of tipl-bench."""
    git_commit: Text | None
    """The commit of tipl-bench."""
    cpu: Text
    """The processor."""
    platform: Text
    """The operating system."""

    @model_validator(mode="after")
    def _grounded(self) -> Self:
        found = self.confirmation.kind if self.confirmation else None
        if found != (self.kind if self.kind in ("confirmed", "not confirmed") else None):
            raise ValueError(f"{self.kind}, where the numbers of its confirmation say {found}")
        return self

    @property
    def of_row(self) -> bool:
        """Whether it opens or ends a doubt about the row, whatever its numbers were then."""
        return self.kind in ("disputed", "resolved", "not confirmed") or self.grade == "drifted"


@dataclass(frozen=True)
class RowStatus:
    """The state of a row with its grounds.

    Parameters
    ----------
    state
        "claimed" (as received), "rescored" (recomputed from its forecasts), "reproduced" (run again) or "confirmed"
        (run on fresh trials); "not confirmed" where those refuted it, until a maintainer resolves that.
    disputed
        Why it is disputed, if it is.
    evidence
        Everything known, oldest first.
    """

    state: State
    disputed: str | None
    evidence: tuple[dict[str, Any], ...]


def fingerprint(record: Record) -> str:
    """The sha256 of a record's `COVERED` fields: not of its timings, and the same in every digest format."""
    facts = record.model_dump(mode="json", include=COVERED[record.format])
    for result in facts["results"]:
        result["estimates"] = {FIRST_NAMES.get(name, name): value for name, value in result["estimates"].items()}
    facts["dataset"] = record.key.dataset.stable()
    if fitted_on := record.key.method.fitted_on:
        facts["fitted_on"] = fitted_on.stable()
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def former_fingerprint(document: dict[str, Any]) -> str:
    """The fingerprint by which evidence named a record of format 1: the sha256 of all but its cost."""
    rest = {name: value for name, value in document.items() if name != "cost"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def _names(record_path: Path, record: Record) -> set[str]:
    """The fingerprints by which evidence names a record: while its file is of format 1, that of the file too."""
    names = {fingerprint(record)}
    if record_path.exists():
        document = strict_json(record_path.read_text(encoding="utf-8"))
        if document["format"] == 1 and fingerprint(read_record(record_path)) in names:
            names.add(former_fingerprint(document))
    return names


def rescored(found: RescoreResult, record: Record, *, unknown: bool = False) -> Evidence:
    """Evidence of a re-scoring that agreed, for the record as the board keeps it.

    `unknown` is of a run under the name of a predictor of this package that was not run again.
    """
    how = "to the last digit" if found.exact else "within the tolerances of another machine"
    text = f"{found.numbers:,} numbers recomputed from the forecasts, {how}"
    if found.returns_looked_up:
        text += f"; {found.returns_looked_up:,} returns were evaluated on this machine before"
    if unknown:
        text += "; not run again: a maintainer says that it is this predictor's"
    return _evidence("rescored", record, text)


def reproduced(found: ReproductionResult) -> Evidence:
    """Evidence of a reproduction."""
    text = f"run again: {found.grade}; largest difference of a skill {found.largest:.2g} ({found.where})"
    largest = min(found.largest, 1e9)
    return _evidence("reproduced", found.record, text, grade=found.grade, largest=largest)


def confirmed(found: Confirmation, record: Record) -> Evidence:
    """Evidence of a run on fresh trials, for or against the record."""
    return _evidence(found.kind, record, found.spell(), confirmation=found)


def maintainer_note(kind: Literal["disputed", "resolved"], record: Record, reason: str) -> Evidence:
    """Evidence that a maintainer opened or resolved a dispute."""
    return _evidence(kind, record, reason)


def _evidence(kind: str, record: Record, text: str, **facts: Any) -> Evidence:
    here = provenance("cpu", record.provenance.isolation)
    place = {name: getattr(here, name) for name in ("tipl_bench", "git_commit", "cpu", "platform")}
    try:
        return Evidence.model_validate({"kind": kind, "record": fingerprint(record), "text": text, **facts, **place})
    except ValidationError as error:
        raise ProtocolError(f"{kind}: {first_error(error)}.") from None


def evidence_path(record_path: Path) -> Path:
    """Where the evidence of a record file is kept."""
    return record_path.parent / FOLDER / record_path.name


def read(record_path: Path, record: Record) -> list[Evidence]:
    """All evidence of this very record, and what its row is disputed for; `ProtocolError` if the file is not valid."""
    everything = read_pieces(evidence_path(record_path), Evidence)
    own = _names(record_path, record) if everything else set()
    for piece in everything:
        if piece.record in own and piece.confirmation and not piece.confirmation.is_of(record):
            raise ProtocolError(
                f"{evidence_path(record_path)}: a confirmation of other numbers or code than the record's."
            )
    return [piece for piece in everything if piece.record in own or piece.of_row]


def append(record_path: Path, record: Record, evidence: Evidence) -> Path:
    """Add evidence to what is kept of a record. Nothing is taken away, and what stands already is not repeated.

    Raises
    ------
    ProtocolError
        If what is kept is not valid, or would no longer be read.
    """
    return append_piece(evidence_path(record_path), evidence, _stands)


def append_piece(path: Path, piece: PieceT, stands: Callable[[PieceT, Sequence[PieceT]], bool]) -> Path:
    """Add a piece of evidence to a file unless it `stands` there already; raises as `append`."""
    place = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    with exclusive(f"evidence--{place}", wait=True, required=False):  # what another process adds must not be lost
        everything = read_pieces(path, type(piece))
        if stands(piece, everything):
            return path
        text = to_json([*everything, piece], indent=1).decode() + "\n"
        if len(text.encode()) > LIMIT:
            raise ProtocolError(f"{path}: would be larger than {LIMIT} bytes; nothing was added.")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def row_status(record_path: Path, record: Record) -> RowStatus:
    """The state of a record that is kept at a path; a dispute or a drift lasts until it is resolved."""
    known = read(record_path, record)
    state: State = "claimed"
    disputes: list[str] = []
    refuted = False
    for evidence in known:
        if evidence.grade == "drifted":
            disputes.append(f"a reproduction drifted: {evidence.text}")
        elif evidence.kind == "disputed":
            disputes.append(evidence.text)
        elif evidence.kind == "resolved":
            disputes.clear()
            refuted = False
        elif evidence.kind == "not confirmed":
            refuted = True
        else:
            state = max(state, evidence.kind, key=ORDER.index)
    disputed = "; ".join(dict.fromkeys(disputes)) or None
    shown = tuple(piece.model_dump(exclude={"record"}, exclude_none=True) for piece in known)
    return RowStatus("not confirmed" if refuted else state, disputed, shown)


def is_rescored(record_path: Path, record: Record) -> bool:
    """Whether a record's numbers were computed again from its forecasts; a reproduction compares its skills alone."""
    return any(piece.kind == "rescored" for piece in read(record_path, record))


def read_pieces(path: Path, kind: type[PieceT]) -> list[PieceT]:
    """What a file of evidence holds, of whatever records; `ProtocolError` if it is not valid."""
    if not path.exists():
        return []
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"larger than {LIMIT} bytes")
        found: list[PieceT] = TypeAdapter(list[kind]).validate_json(  # type: ignore[valid-type]
            canonical_json(strict_json(path.read_text(encoding="utf-8"))), strict=True
        )
    except (OSError, ValueError, ValidationError) as error:
        raise ProtocolError(f"{path}: not valid evidence ({str(error)[:200]}).") from None
    return found


def _stands(evidence: Evidence, everything: Sequence[Evidence]) -> bool:
    """Whether the same was stated already, and nothing since that it would answer."""
    statement = evidence.model_dump(exclude={"largest"})
    for piece in reversed(everything):
        if piece.model_dump(exclude={"largest"}) == statement:
            return True
        if evidence.of_row and piece.of_row and (piece.kind == "resolved") != (evidence.kind == "resolved"):
            return False
    return False
