"""The committed results as one frame, for analysis."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ...benchmark.metrics import METRICS
from ...benchmark.record import Record, Result
from ...utils.canonical import canonical_json
from .evidence import row_status
from .records import load

COLUMNS = (
    "record", "track", "dataset", "digest", "protocol", "method", "version", "consumes", "budget", "options", "seed",
    "device", "state", "disputed", "environment", "phase", "horizon", "windows", "trials",
)  # fmt: skip
"""The columns that are not metrics."""
BOUNDS = ("low", "high")


def load_results(records: Path | str | None = None) -> pd.DataFrame:
    """The results of all records of a folder.

    Parameters
    ----------
    records
        Folder of records; the leaderboard's committed ones by default.

    Returns
    -------
    DataFrame
        One row per record, phase and horizon: what was run on what, the row's `state` and whether it is
        `disputed`, and each metric as three columns: its value, and `_low` and `_high`. Failed runs have no rows.

    Raises
    ------
    ProtocolError
        If there are no records, or one is not valid.
    """
    found = load(Path(records) if records else None)
    names = [metric.name for metric in METRICS]
    rows = []
    for path, record in found.items():
        common = _of_record(path, record)
        rows += [common | _of_result(result, names) for result in record.results]
    metrics = [column for name in names for column in (name, *(f"{name}_{bound}" for bound in BOUNDS))]
    return pd.DataFrame(rows, columns=[*COLUMNS, *metrics]).astype({"horizon": "Int64"})


def _of_record(path: Path, record: Record) -> dict[str, Any]:
    key, method, status = record.key, record.key.method, row_status(path, record)
    return {
        "record": path.name,
        "track": record.track,
        "dataset": key.dataset.name,
        "digest": key.dataset.digest,
        "protocol": key.protocol.version,
        "method": method.name,
        "version": method.version,
        "consumes": method.consumes,
        "budget": method.budget,
        "options": canonical_json(method.options),
        "seed": key.seed,
        "device": key.device,
        "state": status.state,
        "disputed": status.disputed is not None,
        "environment": key.dataset.environment,
    }


def _of_result(result: Result, names: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(result, name) for name in ("phase", "horizon", "windows", "trials")}
    for name in names:
        estimate = result[name]
        row |= {name: estimate.value, **{f"{name}_{bound}": getattr(estimate, bound) for bound in BOUNDS}}
    return row
