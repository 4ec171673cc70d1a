"""What a row says of its entry apart from scores: method, cost, evidence, commands and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...benchmark.metrics import HEADLINE
from ...benchmark.record import Record, ReturnPair
from ..store.confirmation import DIGITS, LABELS
from .entries import Entry
from .numbers import estimate, mean, rounded
from .schema import RowCost, RowProvenance

SECONDS = ("fit_seconds", "forecast_seconds", "evaluation_seconds")


def describe_entry(entry: Entry) -> dict[str, Any]:
    """A row's fields that say what its method is, what it cost and where it comes from."""
    record = entry.first
    key, costs = record.key, [one.cost for one in entry.records.values()]
    return {
        "id": entry.id,
        "board": entry.board,
        "method": key.method.name,
        "version": key.method.version,
        "consumes": key.method.consumes,
        "budget": key.method.budget,
        "variant": entry.variant,
        "options": key.method.options,
        "device": key.device,
        "forecasts_normaliser": key.method.forecasts_normaliser,
        "state": entry.state,
        "disputed": entry.disputed,
        "reproduction": _reproduction(entry),
        **_confirmation(entry),
        "evidence": [
            {"seed": one.key.seed, **item}
            for one, standing in zip(entry.records.values(), entry.standings, strict=True)
            for item in standing.evidence
        ],
        "seeds": [one.key.seed for one in entry.records.values()],
        "cost": RowCost(
            **{name: rounded(mean([getattr(cost, name) for cost in costs])) for name in SECONDS},
            peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs),
            parameters=record.parameter_count,
        ),
        "returns": [
            ReturnPair(pair.phase, pair.horizon, rounded(pair.true) or 0.0, rounded(pair.forecast) or 0.0)
            for pair in record.returns
        ],
        "provenance": [_provenance(path, one) for path, one in entry.records.items()],
        "commands": entry.commands(),
    }


def _reproduction(entry: Entry) -> str | None:
    """How a reproduced entry came out, at the least of its seeds, and on what machines; a place must be all seeds'."""
    pieces = [
        (record.key.seed, (item["cpu"], item["platform"]) != (record.provenance.cpu, record.provenance.platform), item)
        for record, standing in zip(entry.records.values(), entry.standings, strict=True)
        for item in standing.evidence
        if item["kind"] == "reproduced" and item.get("grade") != "drifted"
    ]
    if {seed for seed, *_ in pieces} < {record.key.seed for record in entry.records.values()}:
        return None
    elsewhere = {seed for seed, other, _ in pieces if other}
    everywhere = len(elsewhere) == len(entry.records)
    counted = [item for _, other, item in pieces if other or not everywhere]
    grade = "bitwise" if all(item.get("grade") == "bitwise" for item in counted) else "within tolerance"
    where = "on another kind of machine" if everywhere else "on the same kind of machine"
    where = "some seeds on another kind of machine" if elsewhere and not everywhere else where
    return f"{grade}, {where} ({', '.join(sorted({item['cpu'] for item in counted}))})"


def _confirmation(entry: Entry) -> dict[str, Any]:
    """What runs on fresh trials found: the last one of each seed that has any."""
    pieces = [
        next((item["confirmation"] for item in reversed(standing.evidence) if "confirmation" in item), None)
        for standing in entry.standings
    ]
    found = [piece for piece in pieces if piece is not None]
    if not found:
        return {}

    def over_seeds(metric: str, sample: str) -> list[float | None]:
        return [mean([piece[metric][sample][part] for piece in found]) for part in ("value", "low", "high")]

    scores = [
        f"{LABELS[name]} {over_seeds(name, 'fresh')[0]:.{digits}f} on {found[0]['trials']} fresh trials, "
        f"{over_seeds(name, 'public')[0]:.{digits}f} on the public test trials"
        for name, digits in DIGITS.items()
    ]
    some = f" ({len(found)} of {len(pieces)} seeds)" if len(found) < len(pieces) else ""
    return {"confirmation": "; ".join(scores) + some, "fresh_skill": estimate(over_seeds(HEADLINE, "fresh"))}


def _provenance(path: Path, record: Record) -> RowProvenance:
    origin = record.provenance
    return RowProvenance(
        seed=record.key.seed,
        record=path.name,
        commit=origin.git_commit,
        dirty=origin.git_dirty,
        forecasts_sha256=record.forecasts_sha256,
        cpu=origin.cpu,
        gpu=origin.gpu,
        threads=origin.torch_threads,
        isolation=origin.isolation,
        python=origin.python,
        platform=origin.platform,
        packages={"tipl-bench": origin.tipl_bench, **origin.packages},
        validation_runs=origin.validation_runs,
        code=origin.code,
    )
