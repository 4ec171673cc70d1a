"""Upgrade records of format 1 while they are read; nothing else knows that format.

Format 1 was of the forecast track alone: `metrics` had one field for each metric, `key.predictor` is now `key.method`,
`forecasts_sha256` is now `artifacts.forecasts`, and a dataset had one digest, of its format-1 manifest.
"""

from __future__ import annotations

from typing import Any

from ..registry.catalog import complete_identity

ESTIMATES = (
    "skill", "oracle_skill", "wpe", "wpe_persistence", "repw", "repw_persistence", "noise_floor", "gain",
)  # fmt: skip


def upgrade(document: Any) -> Any:
    """The document of format 2 that says the same as one of format 1.

    Whatever is not of format 1 comes back as it is, and unknown fields are left in place: reading refuses both.
    """
    if not isinstance(document, dict) or type(document.get("format")) is not int or document["format"] != 1:
        return document
    if document.keys() & {"track", "status", "artifacts", "results"}:
        return document
    upgraded = {
        "format": 2,
        "track": "forecast",
        "status": {"state": "finished"},
        **{name: value for name, value in document.items() if name not in ("format", "metrics", "forecasts_sha256")},
    }
    if "key" in document:
        upgraded["key"] = upgrade_key(document["key"])
    if "forecasts_sha256" in document:
        upgraded["artifacts"] = {"forecasts": document["forecasts_sha256"]}
    if "metrics" in document:
        metrics = document["metrics"]
        upgraded["results"] = [_result(metric) for metric in metrics] if isinstance(metrics, list) else metrics
    return upgraded


def upgrade_key(key: Any) -> Any:
    """The key of format 2 that says the same as one of format 1."""
    if not isinstance(key, dict) or "predictor" not in key or "method" in key:
        return key
    upgraded = {("method" if name == "predictor" else name): value for name, value in key.items()}
    match key.get("dataset"):
        case {"name": str(name), "digest": str(digest), **rest} if not rest.keys() - {"environment"}:
            upgraded["dataset"] = {"name": name, **complete_identity(name, digest)._asdict(), **rest}
        case {"digest_format": _} | {"former_digest": _}:
            return key
    return upgraded


def _result(metric: Any) -> Any:
    if not isinstance(metric, dict) or "estimates" in metric:
        return metric
    return {
        **{name: value for name, value in metric.items() if name not in ESTIMATES},
        "estimates": {name: metric[name] for name in ESTIMATES if name in metric},
    }
