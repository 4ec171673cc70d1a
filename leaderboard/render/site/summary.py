"""What the page holds of every row from the start: enough to list, sort, filter and plot it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

HEADLINE = "learning"
PHASES = ("learning", "converged", "all")
Document = dict[str, Any]


def summary(document: Document) -> Document:
    """The page's own data: boards, rows by column, the headline phase's numbers, the overall table.

    Texts of a column are numbered, as most repeat; numbers are rounded to what the table shows.
    """
    rows = document["rows"]
    place = {row["id"]: index for index, row in enumerate(rows)}
    return {
        "version": document["version"],
        "protocols": document["protocols"],
        "boards": document["boards"],
        "phases": present_phases(document),
        "horizons": horizons(document),
        "rows": {
            "id": [row["id"] for row in rows],
            "board": _numbered(row["board"] for row in rows),
            **{name: _numbered(row[name] for row in rows) for name in TEXTS},
            "rank": [row["rank"] for row in rows],
            "ties": [len(row["tied"]) for row in rows],
            "seeds": [len(row["seeds"]) for row in rows],
            "spread": [short(row["spread"]) for row in rows],
            "fit": [short(row["cost"]["fit_seconds"]) for row in rows],
            "parameters": [row["cost"]["parameters"] for row in rows],
        },
        "headline": phase_columns(rows, HEADLINE, horizons(document)),
        "overall": [_overall(entry, place) for entry in document["overall"]],
    }


TEXTS = (
    "predictor",
    "version",
    "consumes",
    "budget",
    "variant",
    "device",
    "state",
    "reproduction",
    "greyed",
    "disputed",
)


def horizons(document: Document) -> int:
    """H, the most horizons that any row has."""
    series = (phase["skill_by_horizon"] for row in document["rows"] for phase in row["phases"].values())
    return max(map(len, series), default=0)


def present_phases(document: Document) -> list[str]:
    """The phases that some row has, headline first."""
    return [phase for phase in PHASES if any(phase in row["phases"] for row in document["rows"])]


def phase_columns(rows: Sequence[Document], phase: str, count: int) -> Document:
    """One phase's columns: mean skill and REPW with intervals, skill at every horizon."""
    tables = [row["phases"].get(phase) for row in rows]
    return {
        "skill": _estimates(table and table["skill"] for table in tables),
        "repw": _estimates(table and table["repw"] for table in tables),
        "at": [
            [short(_at(table, "skill_by_horizon", horizon).get("value")) for table in tables]
            for horizon in range(count)
        ],
    }


def horizon_columns(rows: Sequence[Document], phase: str, horizon: int) -> Document:
    """One horizon's columns (counted from 1): skill and REPW with intervals."""
    tables = [row["phases"].get(phase) for row in rows]
    return {
        "skill": _estimates(_at(table, "skill_by_horizon", horizon - 1) for table in tables),
        "repw": _estimates(_at(table, "repw_by_horizon", horizon - 1) for table in tables),
    }


def _at(table: Document | None, name: str, index: int) -> Document:
    """The estimate at a place of a series; empty where the row has no such phase or horizon."""
    series: Sequence[Document] = table[name] if table else ()
    return series[index] if index < len(series) else {}


def _estimates(values: Iterable[Document | None]) -> list[list[float | None]]:
    """Estimates as three columns: value, low, high."""
    columns: list[list[float | None]] = [[], [], []]
    for value in values:
        for column, name in zip(columns, ("value", "low", "high"), strict=True):
            column.append(short((value or {}).get(name)))
    return columns


def _numbered(values: Iterable[Any]) -> Document:
    """A column of few different values: the values, and each row's number among them."""
    numbers: dict[Any, int] = {}
    index = [numbers.setdefault(value, len(numbers)) for value in values]
    return {"values": list(numbers), "index": index}


def _overall(entry: Document, place: dict[str, int]) -> Document:
    """An overall entry with its rows by number, ties counted, and a name that stays when others come."""
    identity = [entry[name] for name in ("predictor", "version", "consumes", "budget", "variant")]
    return {
        **entry,
        "id": "overall-" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:10],
        "rows": [place[row] for row in entry["rows"]],
    }


def short(value: float | None) -> float | int | None:
    """A number with no more characters than it needs; not rounded, which twice may end otherwise than once."""
    return int(value) if value is not None and value == int(value) else value
