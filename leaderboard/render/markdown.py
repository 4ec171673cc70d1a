"""The document as `LEADERBOARD.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ...benchmark import table
from ...benchmark.intervals import Estimate
from ..document.numbers import Json
from ..statistics.board import FEWEST_TRIALS
from ..verify.reproduce import TOLERANCE
from .markdown_text import escape

HORIZONS = (1, 2, 5, 10)
MOST_TIES = 5
"""Names of tied entries that a cell shows."""


def render(document: Json) -> str:
    """`LEADERBOARD.md`; every text is escaped, unless it is marked as made here."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        finalize=lambda value: value if isinstance(value, (Markup, int)) else escape(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("board.md.j2").render(
        boards=[_board(board, document["rows"]) for board in document["boards"]],
        overall=_overall(document),
        scope=document["overall_scope"],
        tolerance=Markup(TOLERANCE),
        reproductions=sorted({row["reproduction"] for row in document["rows"] if row["reproduction"]})[:MOST_TIES],
        horizons=HORIZONS,
    )


def number(value: float | None, digits: int) -> Markup:
    """A number, or a dash where it is undefined; needs no escaping."""
    return Markup(table.number(value, digits))


def interval(estimate: Json, digits: int) -> Markup:
    """An interval in brackets, or a dash; needs no escaping."""
    return Markup(table.interval(Estimate(**estimate), digits))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _at(series: Sequence[Any], horizon: int, otherwise: Any = None) -> Any:
    return series[horizon - 1] if horizon <= len(series) else otherwise


def _title(row: Json) -> str:
    consumes = "" if row["consumes"] == "weights" else f"({row['consumes']})"
    return " ".join(filter(None, (row["predictor"], row["variant"], consumes)))


def _ties(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_TIES]) + (f" and {len(names) - MOST_TIES} more" if len(names) > MOST_TIES else "")


def _board(board: Json, rows: Sequence[Json]) -> Json:
    about = board["phases"][board["headline"]]
    own = [row for row in rows if row["board"] == board["id"]]
    titles = {row["id"]: _title(row) for row in own}
    return board | {
        "digest": board["digest"][:12],
        "phase": board["headline"],
        "windows": about["windows"],
        "fewest": FEWEST_TRIALS,
        "ceilings": {horizon: number(_at(about["ceiling"], horizon), 2) for horizon in HORIZONS},
        "noise_floor": number(_mean(about["noise_floor"]), 1),
        "repw_persistence": number(_mean(about["repw_persistence"]), 1),
        "rows": [_row(row, board["headline"], titles) for row in own],
    }


def _row(row: Json, phase: str, titles: dict[str, str]) -> Json:
    metrics, cost = row["phases"][phase], row["cost"]
    skill, repw = metrics["skill"], metrics["repw"]
    nothing = {"value": None, "low": None, "high": None}
    by_horizon = {horizon: _at(metrics["skill_by_horizon"], horizon, nothing) for horizon in HORIZONS}
    return row | {
        "rank": row["rank"] if row["rank"] is not None else "-",
        "tied": _ties([titles[other] for other in row["tied"]]),
        "title": _title(row),
        "skill": number(skill["value"], 3),
        "skill_interval": interval(skill, 3),
        "by_horizon": {horizon: number(found["value"], 3) for horizon, found in by_horizon.items()},
        "spread": number(row["spread"], 3),
        "repw": number(repw["value"], 1),
        "repw_interval": interval(repw, 1),
        "fit_seconds": number(cost["fit_seconds"], 1),
        "parameters": Markup(f"{cost['parameters']:,}"),
    }


def _overall(document: Json) -> list[Json]:
    """The rows across environments, with the skill in each."""
    skills = {row["id"]: row["phases"] for row in document["rows"]}
    titles = {row["label"]: _title(row) for row in document["overall"]}
    return [
        row
        | {
            "title": _title(row),
            "tied": _ties([titles[other] for other in row["tied"]]),
            "interval": interval(row["skill"], 3),
            "skill": number(row["skill"]["value"], 3),
            "by_environment": [number(skills[name]["learning"]["skill"]["value"], 3) for name in row["rows"]],
        }
        for row in document["overall"]
    ]
