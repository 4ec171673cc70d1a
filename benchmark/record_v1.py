"""Upgrade older records while they are read: those of format 1, which nothing else knows, and former metric names.

Format 1 was of the forecast track alone: `metrics` had one field for each metric, `key.predictor` is now `key.method`,
`forecasts_sha256` is now `artifacts.forecasts`, and a dataset had one digest, of its format-1 manifest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..registry.catalog import complete_identity
from .metrics import FORMER_NAMES

ESTIMATES = (
    "skill", "oracle_skill", "wpe", "wpe_persistence", "repw", "repw_persistence", "noise_floor", "gain",
)  # fmt: skip


class _Form(BaseModel):
    """Which fields format 1 has; what they hold is validated as format 2, after upgrading."""

    model_config = ConfigDict(extra="forbid")


class _Dataset(_Form):
    name: str
    digest: str
    environment: Any


class _Key(_Form):
    protocol: Any
    dataset: _Dataset
    predictor: Any
    seed: Any
    device: Any


class _Metric(_Form):
    phase: Any
    horizon: Any
    windows: Any
    trials: Any
    skill: Any
    oracle_skill: Any
    wpe: Any
    wpe_persistence: Any
    repw: Any
    repw_persistence: Any
    noise_floor: Any
    gain: Any
    layers: Any
    by_trial: Any


class _Record(_Form):
    format: Literal[1]
    key: _Key
    parameter_count: Any
    forecasts_sha256: Any
    provenance: Any
    cost: Any
    metrics: Annotated[list[_Metric], Field(min_length=1)]
    returns: Any


def upgrade(document: Any) -> Any:
    """The document of format 2 with today's names that says the same; whatever is no record comes back as it is.

    Raises
    ------
    ValidationError
        If a document of format 1 has a field that format 1 had not, or lacks one.
    """
    if not isinstance(document, dict) or type(document.get("format")) is not int or document["format"] != 1:
        return _renamed(document)
    former = _Record.model_validate(document)
    return {
        "format": 2,
        "track": "forecast",
        "status": {"state": "finished"},
        "key": _upgraded_key(former.key),
        "parameter_count": former.parameter_count,
        "artifacts": {"forecasts": former.forecasts_sha256},
        "results": [_upgraded_result(metric) for metric in former.metrics],
        "returns": former.returns,
        "provenance": former.provenance,
        "cost": former.cost,
    }


def upgrade_key(key: Any) -> Any:
    """The key of format 2 that says the same as one of format 1, as `upgrade` does of a record."""
    return _upgraded_key(_Key.model_validate(key)) if isinstance(key, dict) and "predictor" in key else key


def _upgraded_key(key: _Key) -> dict[str, Any]:
    identity = complete_identity(key.dataset.name, key.dataset.digest)._asdict()
    return {
        "protocol": key.protocol,
        "dataset": {"name": key.dataset.name, **identity, "environment": key.dataset.environment},
        "method": key.predictor,
        "seed": key.seed,
        "device": key.device,
    }


def _upgraded_result(metric: _Metric) -> dict[str, Any]:
    fields = dict(metric)
    estimates = {FORMER_NAMES.get(name, name): fields.pop(name) for name in ESTIMATES}
    return {"estimates": estimates, **fields}


def _renamed(document: Any) -> Any:
    """A record with today's names of its metrics; one that has a metric under both names keeps both."""
    results = document.get("results") if isinstance(document, dict) else None
    for result in results if isinstance(results, list) else ():
        estimates = result.get("estimates") if isinstance(result, dict) else None
        if isinstance(estimates, dict) and not {*FORMER_NAMES.values()} & estimates.keys():
            result["estimates"] = {FORMER_NAMES.get(name, name): value for name, value in estimates.items()}
    return document
