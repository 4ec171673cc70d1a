"""How the runs behind the training track's rows were checked, kept beside their records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ...benchmark.provenance import provenance
from ...benchmark.training.record import TrainingRecord
from ...benchmark.training.verify import TrainingCheck
from ...utils.errors import ProtocolError
from ...utils.fields import Document, Sha256, Text
from ..store.evidence import append_piece, evidence_path, read_pieces
from .store import find

State = Literal["replayed", "reproduced"]
"""Replayed: a block of the trials was trained again for some iterations, without which no run is added. Reproduced: all
trials were, to the end. Either gave the same curves bit for bit."""


class TrainingEvidence(Document):
    """One check of a run that agreed, and where it was made. What nobody kept of an early one is None."""

    kind: State
    """What was trained again."""
    curves: Sha256
    """The curves that came out; evidence of others says nothing of the record."""
    text: Text
    """What was done."""
    tipl_bench: Text | None
    """The version of tipl-bench."""
    git_commit: Text | None
    """The commit of tipl-bench."""
    cpu: Text | None
    """The processor."""
    platform: Text | None
    """The operating system."""


def of_check(found: TrainingCheck) -> TrainingEvidence:
    """Evidence of a check that agreed."""
    key, count = found.record.key, len(found.trials)
    whole = (count, found.iterations) == (key.trials, key.iterations)
    part = "to the end" if whole else f"for {found.iterations} of {key.iterations} iterations"
    here = provenance("cpu", "none")
    return TrainingEvidence(
        kind="reproduced" if whole else "replayed",
        curves=found.record.artifacts["curves"],
        text=f"{count} of {key.trials} trials trained again {part}, bit for bit; {found.numbers:,} numbers recomputed",
        tipl_bench=here.tipl_bench,
        git_commit=here.git_commit,
        cpu=here.cpu,
        platform=here.platform,
    )


def attest(found: TrainingCheck, records: Path) -> Path:
    """Keep a check that agreed as evidence of the row; returns the file of evidence.

    Raises
    ------
    ProtocolError
        If something differed, or the records have no such run, or another result of it.
    """
    if not found.agrees:
        raise ProtocolError(f"{found.record.key.label}: the check found a difference; nothing was kept.")
    return append_piece(evidence_path(find(found.record, records)), of_check(found), _stands)


def read(record_path: Path, record: TrainingRecord) -> tuple[TrainingEvidence, ...]:
    """All evidence of a record, oldest first; `ProtocolError` if the file is not valid."""
    known = read_pieces(evidence_path(record_path), TrainingEvidence)
    return tuple(one for one in known if one.curves == record.artifacts["curves"])


def state_of(known: Sequence[TrainingEvidence]) -> State:
    """The most that evidence says; of a record without any, that it was added after a replay."""
    return "reproduced" if any(one.kind == "reproduced" for one in known) else "replayed"


def _stands(evidence: TrainingEvidence, known: Sequence[TrainingEvidence]) -> bool:
    return evidence in known
