"""What the page holds: a summary of every row, and in parts each phase's numbers and each row's details."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ....benchmark.intervals import UNDEFINED, Estimate
from ...document.metric_values import PHASES
from ...document.ranking import RANKED_BY
from ...document.schema import LeaderboardDocument, Overall, OverallRow, Row, Series

PART_BYTES = 256 * 1024
"""A part of rows' details closes once it is this long."""
TEXTS = (
    "method", "version", "consumes", "budget", "device", "state", "reproduction", "confirmation", "greyed",
    "disputed",
)  # fmt: skip
DETAILS = (
    "options",
    "evidence",
    "seeds",
    "seed_skills",
    "spread",
    "cost",
    "returns",
    "provenance",
    "commands",
    "layers",
    "positions",
    "trial_errors",
)
Json = dict[str, Any]


def summary(document: LeaderboardDocument) -> Json:
    """What lists, sorts, filters and plots every row: boards, rows by column, the headline's numbers, overall rows.

    Texts of a column are numbered, as most repeat.
    """
    rows = document.rows
    place = {row.id: index for index, row in enumerate(rows)}
    return {
        "version": document.version,
        "metrics": [metric.model_dump() for metric in document.metrics],
        "boards": [board.model_dump() for board in document.boards],
        "phases": present_phases(document),
        "horizons": horizons(document),
        "rows": {
            "id": [row.id for row in rows],
            "board": _numbered(row.board for row in rows),
            **{name: _numbered(getattr(row, name) for row in rows) for name in TEXTS},
            "variant": _numbered(map(_variant, rows)),
            "rank": [row.rank for row in rows],
            "ties": [len(row.tied) for row in rows],
            "ranks": _ranks(rows),
            "seeds": [len(row.seeds) for row in rows],
            "above": [int(row.above_ceiling) for row in rows],
            "branching": [_triple(row.branching_share or UNDEFINED) for row in rows],
            "spread": [row.spread for row in rows],
            "fresh": [_triple(row.fresh_skill or UNDEFINED) for row in rows],
            "fit": [row.cost.fit_seconds for row in rows],
            "parameters": [row.cost.parameters for row in rows],
        },
        "positions": _positions(document),
        "headline": _headline(document),
        "overall": [_comparison(comparison, document, place) for comparison in document.overall],
    }


def parts(document: LeaderboardDocument) -> Iterator[tuple[str, Json, int]]:
    """Name, value and number of detailed rows of each part: what is read when a phase is chosen or a row opened."""
    place = {row.id: index for index, row in enumerate(document.rows)}
    held: Json = {}
    size = number = 0
    for row in document.rows:
        held[row.id] = details = _details(row, place)
        size += _size(details)
        if size >= PART_BYTES:
            yield f"rows-{number:03d}", held, len(held)
            held, size, number = {}, 0, number + 1
    if held:
        yield f"rows-{number:03d}", held, len(held)
    for phase in present_phases(document):
        yield f"values-{phase}", _values(document, phase), 0


def horizons(document: LeaderboardDocument) -> int:
    """H, the most horizons that any board has."""
    return max((protocol.horizon for protocol in document.protocols.values()), default=0)


def present_phases(document: LeaderboardDocument) -> list[str]:
    """The phases that some row has, headline first."""
    return [phase for phase in PHASES if any(phase in row.phases for row in document.rows)]


def _ranks(rows: Sequence[Row]) -> Json:
    """By metric beside the first by which some row is ranked, columns of ranks and of numbers of ties."""
    places = {name: [row.ranks.get(name) for row in rows] for name in RANKED_BY[1:]}
    return {
        name: {
            "rank": [place and place.rank for place in column],
            "ties": [place and len(place.tied) for place in column],
        }
        for name, column in places.items()
        if any(column)
    }


def _variant(row: Row) -> str:
    """What a row's predictor differs by, and whether it forecasts the normaliser."""
    return " ".join(filter(None, (row.variant, "(forecasts the normaliser)" * row.forecasts_normaliser)))


def _positions(document: LeaderboardDocument) -> list[Sequence[float | None] | None]:
    """Each row's first metric by position within the PPO iteration, the mean over horizons in its board's phase."""
    first, boards = document.scores[0].name, {board.id: board for board in document.boards}
    found = [row.positions.get(boards[row.board].headline, {}).get(first) for row in document.rows]
    return [series.mean if series else None for series in found]


def _values(document: LeaderboardDocument, phase: str) -> Json:
    """A phase's numbers by metric: columns of its mean, if it has one, and of each horizon."""
    found: Json = {}
    for metric in document.scores:
        series = _series(document, phase, metric.name)
        found[metric.name] = {
            "mean": _columns(one.mean if one else None for one in series) if metric.averaged else None,
            "by_horizon": [_columns(_at(one, h) for one in series) for h in range(horizons(document))],
        }
    return found


def _headline(document: LeaderboardDocument) -> Json:
    """The first view's numbers: each row's means of its board's headline phase, and the first metric's by horizon."""
    headline = {board.id: board.headline for board in document.boards}

    def of(metric: str) -> list[Series]:
        return [row.phases[headline[row.board]][metric] for row in document.rows]

    first = of(document.scores[0].name)
    return {
        "metrics": {
            metric.name: _columns(one.mean for one in of(metric.name)) for metric in document.scores if metric.averaged
        },
        "by_horizon": [[_at(one, h).value for one in first] for h in range(horizons(document))],
    }


def _series(document: LeaderboardDocument, phase: str, metric: str) -> list[Series | None]:
    return [row.phases[phase][metric] if phase in row.phases else None for row in document.rows]


def _at(series: Series | None, index: int) -> Estimate:
    """The estimate at a place of a series; undefined where the row has no such phase or horizon."""
    return series.by_horizon[index] if series and index < len(series.by_horizon) else UNDEFINED


def _columns(values: Iterable[Estimate | None]) -> list[list[float | None]]:
    """Estimates as three columns: value, low, high."""
    columns = zip(*(_triple(value or UNDEFINED) for value in values), strict=True)
    return [list(column) for column in columns] or [[], [], []]


def _details(row: Row, place: Mapping[str, int]) -> Json:
    """A row without what the summary or the phases hold; other rows by their number."""
    return {
        **row.model_dump(include={*DETAILS}),
        "tied": [place[other] for other in row.tied],
        "comparisons": [
            {
                "row": place[other.row],
                "verdict": other.verdict,
                "difference": _triple(other.difference),
                "p": other.p,
                "wins": _triple(other.win_rate),
                "others": {
                    name: {"verdict": pair.verdict, "p": pair.p, "difference": _triple(pair.difference)}
                    for name, pair in other.others.items()
                },
            }
            for other in row.comparisons
        ],
    }


def _triple(estimate: Estimate) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high]


def _size(details: Json) -> int:
    """Roughly the bytes of a row: numbers of its lists that grow, at a dozen bytes each."""
    layers = sum(len(series) for table in details["layers"].values() for series in table.values())
    growing = 4 * len(details["returns"]) + 16 * len(details["comparisons"]) + layers
    return 12 * growing + 1000 * (1 + len(details["provenance"]))


def _numbered(values: Iterable[Any]) -> Json:
    """A column of few different values: the values, and each row's number among them."""
    numbers: dict[Any, int] = {}
    index = [numbers.setdefault(value, len(numbers)) for value in values]
    return {"values": list(numbers), "index": index}


def _comparison(comparison: Overall, document: LeaderboardDocument, place: Mapping[str, int]) -> Json:
    """A comparison across environments with its rows as the page takes them."""
    suffix = document.protocols[str(comparison.protocol)].suffix
    rows = [_overall_row(entry, suffix, place) for entry in comparison.rows]
    return {**comparison.model_dump(exclude={"rows"}), "rows": rows}


def _overall_row(entry: OverallRow, suffix: str, place: Mapping[str, int]) -> Json:
    """An overall row with its rows by number and a name that stays when others come."""
    identity: Sequence[Any] = [entry.method, entry.version, entry.consumes, entry.budget, entry.variant]
    return {
        **entry.model_dump(),
        "skill": _triple(entry.skill),
        "share": _triple(entry.share or UNDEFINED),
        "branching_share": _triple(entry.branching_share or UNDEFINED),
        "error_ratio": _triple(entry.error_ratio),
        "comparisons": [
            {
                "label": other.label,
                "verdict": other.verdict,
                "p": other.p,
                "difference": _triple(other.difference),
                "share": _triple(other.share or UNDEFINED),
                "error_ratio": _triple(other.error_ratio),
            }
            for other in entry.comparisons
        ],
        "id": "overall-" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:10] + suffix,
        "rows": [place[row] for row in entry.rows],
    }
