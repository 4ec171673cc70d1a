"""How the runs behind the training track's rows were checked, kept beside their records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from ...benchmark.provenance import provenance
from ...benchmark.training.record import TrainingRecord
from ...benchmark.training.verify import TrainingCheck
from ...utils.errors import ProtocolError
from ...utils.fields import Document, Sha256, Text
from ..store.evidence import append_piece, evidence_path, read_pieces
from .store import find

Check = Literal["replayed", "reproduced"]
"""Replayed: a block of the trials was trained again for some iterations. Reproduced: all trials were, to the end.
Either gave the same curves bit for bit."""
State = Literal["claimed", Check]
"""The most that a run was checked by; claimed: no check of it is known."""


class TrainingEvidence(Document):
    """One check of a run that agreed, and where it was made. None where that is not recorded."""

    kind: Check
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
    """Evidence of a check that agreed; of one on a cluster it names no machine, as each block may be another's."""
    key, count = found.record.key, len(found.trials)
    whole = (count, found.iterations) == (key.trials, key.iterations)
    part = "to the end" if whole else f"for {found.iterations} of {key.iterations} iterations"
    where = " on a cluster" if found.on_cluster else ""
    here = provenance("cpu", "none")
    return TrainingEvidence(
        kind="reproduced" if whole else "replayed",
        curves=found.record.artifacts["curves"],
        text=f"{count} of {key.trials} trials trained again {part}{where}, bit for bit; {found.numbers:,} numbers "
        "recomputed",
        tipl_bench=here.tipl_bench,
        git_commit=here.git_commit,
        cpu=None if found.on_cluster else here.cpu,
        platform=None if found.on_cluster else here.platform,
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
    """The most that evidence says."""
    return max((one.kind for one in known), key=get_args(Check).index, default="claimed")


def _stands(evidence: TrainingEvidence, known: Sequence[TrainingEvidence]) -> bool:
    return evidence in known
