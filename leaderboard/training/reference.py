"""The training track's part of `docs/reference.md`: its metrics, its record and its document."""

from __future__ import annotations

from ...benchmark.training.metrics import METRICS
from ...benchmark.training.protocol import TrainingProtocol
from ...benchmark.training.record import RuleIdentity, TrainingCost, TrainingKey, TrainingRecord
from ..render.reference import models_section, table_section
from .curves import MeanCurve
from .evidence import TrainingEvidence
from .table import TrainingComparison, TrainingRow, TrainingTable

RECORD = {
    "record": TrainingRecord,
    "key": TrainingKey,
    "key.protocol": TrainingProtocol,
    "key.optimizer": RuleIdentity,
    "cost": TrainingCost,
}
DOCUMENT = {
    "tables": TrainingTable,
    "rows": TrainingRow,
    "rows.against": TrainingComparison,
    "rows.evidence": TrainingEvidence,
    "rows.curve": MeanCurve,
}


def render() -> str:
    """The sections as Markdown; the same package gives the same text."""
    metrics = [(one.name, f"{one.heading}: {one.meaning}; {one.direction} is better.") for one in METRICS]
    return "\n".join(
        [
            table_section("Metrics of the training track", ("metric", "meaning"), metrics),
            models_section("The training track's record, `record.json`", RECORD),
            models_section("The training track's document, `training.json`", DOCUMENT),
        ]
    )
