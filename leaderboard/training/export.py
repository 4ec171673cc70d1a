"""The training track's tables as the page takes them, and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...benchmark.intervals import UNDEFINED, Estimate
from ...benchmark.training.metrics import METRICS
from ..render.escaping import csv_line
from .evidence import TrainingEvidence
from .presentation import INTRODUCTION, LEVEL, across, presented
from .table import COMPARISON_METRICS, TrainingComparison, TrainingRow, TrainingTable

REFERENCES = ("tuned adam", "best plain", "control")
OF_ROW = (
    "id", "method", "role", "configurations", "rests_on", "fitted_steps", "forecast", "diverged",
    "seconds_per_million", "state_bytes", "state", "halfway",
)  # fmt: skip
BETTER = {"label": "share of the trials with the higher AUC", "digits": 2, "direction": "higher", "ratio": False}
"""How the page shows the share of trials that are better."""


def page_data(tables: Sequence[TrainingTable]) -> dict[str, Any]:
    """What the page holds of the track: each table's cells as text, and its rows' numbers, curves and comparisons."""
    metrics = {
        metric.name: {
            "label": metric.heading,
            "digits": metric.digits,
            "direction": metric.direction,
            "ratio": metric.ratio,
        }
        for metric in METRICS
    }
    return {
        "introduction": INTRODUCTION,
        "across": [one.model_dump() for one in across(tables)],
        "metrics": metrics | {"better": BETTER},
        "tables": [_page_table(table) for table in tables],
    }


def to_csv(table: TrainingTable) -> str:
    """A line a row: its fields, its metrics and its differences to each reference, each with its interval."""
    of_table = {"environment": table.environment, "protocol": table.protocol, "trials": table.trials}
    lines = [dict(_cells(of_table, row)) for row in table.rows]
    return "".join(csv_line(line) for line in ([*lines[0]], *(line.values() for line in lines)))


def _page_table(table: TrainingTable) -> dict[str, Any]:
    rows, *beside = (part.model_dump() for part in presented(table))
    return {
        **rows,
        "environment": table.environment,
        "beside": beside,
        "references": table.references,
        "steps": next((row.curve.steps for row in table.rows if row.curve), ()),
        "details": [_details(row) for row in table.rows],
    }


def _details(row: TrainingRow) -> dict[str, Any]:
    curve = row.curve
    return {
        "id": row.id,
        "method": row.method,
        "state": row.state,
        "evidence": [_spell(one) for one in row.evidence],
        "estimates": {name: _triple(one) for name, one in row.estimates.items()},
        "curve": curve and [curve.mean, curve.low, curve.high],
        "against": {reference: _against(one) for reference, one in row.against.items()},
    }


def _spell(evidence: TrainingEvidence) -> str:
    where = [evidence.tipl_bench and f"tipl-bench {evidence.tipl_bench}", evidence.cpu, evidence.platform]
    return f"{evidence.text} ({', '.join(filter(None, where)) or 'machine not recorded'})"


def _against(found: TrainingComparison) -> dict[str, Any]:
    difference = found.estimates["auc"].value or 0.0
    verdict = "tied" if found.p >= LEVEL else "better" if difference > 0 else "worse"
    estimates = {name: _triple(found.estimates[name]) for name in COMPARISON_METRICS if name in found.estimates}
    return {"other": found.other, "p": float(f"{found.p:.3g}"), "verdict": verdict, "estimates": estimates}


def _triple(estimate: Estimate) -> list[float | None]:
    return [
        value if value is None else float(f"{value:.6g}") for value in (estimate.value, estimate.low, estimate.high)
    ]


def _cells(of_table: dict[str, Any], row: TrainingRow) -> Iterator[tuple[str, Any]]:
    yield from of_table.items()
    yield from ((name, getattr(row, name)) for name in OF_ROW)
    for metric in METRICS:
        yield from _columns(metric.name, row.estimates.get(metric.name, UNDEFINED))
    for reference in REFERENCES:
        found, name = row.against.get(reference), reference.replace(" ", "_")
        yield f"{name}_row", found and found.other
        yield f"{name}_p", found and found.p
        for metric_name in COMPARISON_METRICS:
            yield from _columns(f"{name}_{metric_name}", found.estimates[metric_name] if found else UNDEFINED)


def _columns(name: str, estimate: Estimate) -> list[tuple[str, float | None]]:
    return [(name, estimate.value), (f"{name}_low", estimate.low), (f"{name}_high", estimate.high)]
