"""The document as pages: what the templates of `LEADERBOARD.md` and `index.html` show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..benchmark import table
from ..benchmark.intervals import Estimate
from .markdown import escape
from .numbers import Json
from .statistics import FEWEST_TRIALS

HORIZONS = (1, 2, 5, 10)
MOST_TIES = 5
"""Names of tied entries that a cell shows."""


def render(document: Json, template: str) -> str:
    """A page of the document.

    Every text is escaped for the page's format, unless the view marks it as made here.
    """
    html = ".html" in template
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=html,
        finalize=None if html else _markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        boards=[_board(board, document["rows"]) for board in document["boards"]],
        overall=_overall(document),
        scope=document["overall_scope"],
        horizons=HORIZONS,
        version=document["version"],
    )


def _markdown(value: Any) -> Any:
    return value if isinstance(value, (Markup, int)) else escape(str(value))


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
    return f"{row['predictor']} {row['variant']}".strip()


def _ties(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_TIES]) + (f" and {len(names) - MOST_TIES} more" if len(names) > MOST_TIES else "")


def _board(board: Json, rows: Sequence[Json]) -> Json:
    about = board["phases"][board["headline"]]
    own = [row for row in rows if row["board"] == board["id"]]
    titles = {row["id"]: _title(row) for row in own}
    return board | {
        "anchor": board["id"].replace("/", "-").replace("@", "-"),
        "digest": board["digest"][:12],
        "phase": board["headline"],
        "windows": about["windows"],
        "fewest": FEWEST_TRIALS,
        "ceilings": {horizon: number(_at(about["ceiling"], horizon), 2) for horizon in HORIZONS},
        "ceiling": number(_mean(about["ceiling"]), 3),
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
        "verdict": _verdict(skill),
        "by_horizon": {
            horizon: {"value": number(found["value"], 3), "interval": interval(found, 3)}
            for horizon, found in by_horizon.items()
        },
        "spread": number(row["spread"], 3),
        "repw": number(repw["value"], 1),
        "repw_interval": interval(repw, 1),
        "fit_seconds": number(cost["fit_seconds"], 1),
        "parameters": Markup(f"{cost['parameters']:,}"),
        "memory": number(cost["peak_memory_bytes"] / 2**30, 2),
        "memory_sort": cost["peak_memory_bytes"],
        "options": ", ".join(f"{name}={value}" for name, value in row["options"].items()) or "none",
        "provenance": [_provenance(origin, row["device"]) for origin in row["provenance"]],
        "command": row["commands"]["run"],
    }


def _verdict(skill: Json) -> str:
    """Whether the interval excludes 0, for colour."""
    if skill["low"] is None or skill["high"] is None:
        return "open"
    return "better" if skill["low"] > 0 else "worse" if skill["high"] < 0 else "open"


def _provenance(origin: Json, device: str) -> Json:
    packages = ", ".join(f"{name} {version}" for name, version in origin["packages"].items())
    return {
        "seed": origin["seed"],
        "commit": (origin["commit"] or "wheel")[:12] + ("+dirty" if origin["dirty"] else ""),
        "forecasts": origin["forecasts_sha256"][:12],
        "machine": f"{device}: {origin['gpu'] or origin['cpu']}, {origin['threads']} threads",
        "versions": f"Python {origin['python']}, {packages}",
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
