"""The committed results as one frame, for analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ...benchmark.metrics import METRICS
from ...benchmark.record import Record, Result
from ...utils.canonical import canonical_json
from .evidence import row_status
from .records import load


def load_results(records: Path | str | None = None) -> pd.DataFrame:
    """The results of all records of a folder.

    Parameters
    ----------
    records
        Folder of records; the leaderboard's committed ones by default.

    Returns
    -------
    DataFrame
        One row per record, phase and horizon (or environment): what was run on what, the row's `state` and whether it
        is `disputed`, and each metric as three columns: its value, and `_low` and `_high`.

    Raises
    ------
    ProtocolError
        If there are no records, or one is not valid.
    """
    found = load(Path(records) if records else None)
    rows = [
        _of_record(path, record) | _of_result(result) for path, record in found.items() for result in record.results
    ]
    return pd.DataFrame(rows).astype({"horizon": "Int64"})


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


def _of_result(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"phase": result.phase, "horizon": result.horizon}
    if result.environment is not None:
        row["environment"] = result.environment
    row |= {"windows": result.windows, "trials": result.trials}
    names = dict.fromkeys([*(metric.name for metric in METRICS), *result.estimates])
    for name in names:
        estimate = result[name]
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row
