"""The document as `leaderboard/README.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ...benchmark import table
from ...benchmark.intervals import UNDEFINED, Estimate
from ..document.metric_values import BRANCHING
from ..document.schema import EnvironmentBoard, LeaderboardDocument, MetricInfo, Overall, OverallRow, Row
from ..statistics.board import MIN_TRIALS
from ..verify.reproduce import TOLERANCE
from .escaping import markdown_text

HORIZONS = (1, 2, 5, 10)
MAX_NAMES = 5
"""Names of tied rows that a cell shows."""
Cells = dict[str, Any]


def render(document: LeaderboardDocument) -> str:
    """`leaderboard/README.md`; every text is escaped, unless it is marked as made here."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        finalize=lambda value: value if isinstance(value, (Markup, int)) else markdown_text(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["listed"] = listed
    return environment.get_template("board.md.j2").render(
        boards=[_board(board, document) for board in document.boards],
        overall=[_overall(comparison, document) for comparison in document.overall],
        protocols=len(document.protocols),
        tolerance=Markup(TOLERANCE),
        reproductions=sorted({row.reproduction for row in document.rows if row.reproduction})[:MAX_NAMES],
        horizons=HORIZONS,
    )


def number(value: float | None, digits: int) -> Markup:
    """A number, or a dash where it is undefined; needs no escaping."""
    return Markup(table.number(value, digits))


def interval(estimate: Estimate, digits: int) -> Markup:
    """An interval in brackets, or a dash; needs no escaping."""
    return Markup(table.interval(estimate, digits))


def _at(series: Sequence[Any], horizon: int, otherwise: Any) -> Any:
    return series[horizon - 1] if horizon <= len(series) else otherwise


def title(row: Row | OverallRow) -> str:
    """A predictor with its options and, where it reads more than weights, its information class."""
    consumes = "" if row.consumes == "weights" else f"({row.consumes})"
    return " ".join(filter(None, (row.method, row.variant, consumes)))


def listed(names: Iterable[str], separator: str = ", ") -> Markup:
    """Names in a row, each escaped, and cut where it is too long, by itself."""
    return Markup(separator.join(map(markdown_text, names)))


def _names(names: Sequence[str]) -> Markup:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return listed(names[:MAX_NAMES]) + Markup(more)


def _board(board: EnvironmentBoard, document: LeaderboardDocument) -> Cells:
    headline = document.scores[0]
    about = board.phases[board.headline]
    own = [row for row in document.rows if row.board == board.id]
    titles = {row.id: title(row) for row in own}
    averaged = {metric.name for metric in document.scores if metric.averaged}
    metrics = [metric for metric in document.scores if any(_mean(row, metric, board).value is not None for row in own)]
    ceilings = next(metric for metric in document.references if metric.beside == headline.name)
    branching = about.references.get(BRANCHING)
    return {
        "about": board,
        "digest": board.digest[:12],
        "windows": about.windows,
        "min_trials": MIN_TRIALS,
        "ceilings": {
            h: number(_at(about.references[ceilings.name].by_horizon, h, None), 2) for h in HORIZONS
        },
        "branching": branching and {
            "mean": number(branching.mean, 2),
            "interval": interval(branching.interval or UNDEFINED, 2),
            "by_horizon": {h: number(_at(branching.by_horizon, h, None), 2) for h in HORIZONS},
        },
        "references": [
            (metric.label, number(about.references[metric.name].mean, metric.digits))
            for metric in document.references
            if metric.beside in averaged - {headline.name} and about.references[metric.name].mean is not None
        ],
        "metrics": metrics,
        "headline": headline,
        "confirmed": any(row.fresh_skill for row in own),
        "normalisers": any(row.forecasts_normaliser for row in own),
        "also_ranked": [metric for metric in metrics if any(metric.name in row.ranks for row in own)],
        "positions": _positions(own, board, document),
        "rows": [_row(row, board, metrics, titles) for row in own],
    }  # fmt: skip


def _positions(own: Sequence[Row], board: EnvironmentBoard, document: LeaderboardDocument) -> list[Cells]:
    """Tables of means over horizons by position within the PPO iteration: a metric, its references, and its rows."""
    phase, tables = board.headline, []
    references = board.phases[phase].positions
    for metric in document.scores:
        rows = [
            (title(row), row.positions[phase][metric.name].mean)
            for row in own
            if metric.name in row.positions.get(phase, {})
        ]
        if not rows or not metric.averaged:
            continue
        rows += [
            (one.label, references[one.name].mean)
            for one in document.references
            if one.beside == metric.name and one.name in references
        ]
        lines = [(name, [number(value, metric.digits) for value in values]) for name, values in rows]
        tables.append({"label": metric.label[0].upper() + metric.label[1:], "count": len(rows[0][1]), "rows": lines})
    return tables


def _mean(row: Row, metric: MetricInfo, board: EnvironmentBoard) -> Estimate:
    return row.phases[board.headline][metric.name].mean or UNDEFINED


def _row(row: Row, board: EnvironmentBoard, metrics: Sequence[MetricInfo], titles: dict[str, str]) -> Cells:
    headline = metrics[0] if metrics else None
    series = row.phases[board.headline][headline.name].by_horizon if headline else ()
    digits = headline.digits if headline else 0
    fresh, share = row.fresh_skill or UNDEFINED, row.branching_share or UNDEFINED
    return {
        "about": row,
        "rank": row.rank if row.rank is not None else "-",
        "tied": _names([titles[other] for other in row.tied]),
        "title": title(row),
        "means": {
            metric.name: (
                number(_mean(row, metric, board).value, metric.digits),
                interval(_mean(row, metric, board), metric.digits),
            )
            for metric in metrics
        },
        "by_horizon": {h: number(_at(series, h, UNDEFINED).value, digits) for h in HORIZONS},
        "ranks": {name: f"{place.rank}{'=' if place.tied else ''}" for name, place in row.ranks.items()},
        "branching_share": (number(share.value, digits), interval(share, digits)),
        "spread": number(row.spread, digits),
        "fresh": (number(fresh.value, digits), interval(fresh, digits)),
        "fit_seconds": number(row.cost.fit_seconds, 1),
        "parameters": Markup(f"{row.cost.parameters:,}"),
    }


def _overall(comparison: Overall, document: LeaderboardDocument) -> Cells:
    """A comparison across environments, its rows with the skill in each."""
    headline = document.scores[0]
    boards = {board.id: board for board in document.boards}
    rows = {row.id: row for row in document.rows}
    titles = {row.label: title(row) for row in comparison.rows}
    return {
        "about": comparison,
        "shares": any(row.share for row in comparison.rows),
        "branching_shares": any(row.branching_share for row in comparison.rows),
        "rows": [
            {
                "about": row,
                "title": titles[row.label],
                "tied": _names([titles[other] for other in row.tied]),
                "interval": interval(row.skill, headline.digits),
                "skill": number(row.skill.value, headline.digits),
                "share": number((row.share or UNDEFINED).value, headline.digits),
                "share_interval": interval(row.share or UNDEFINED, headline.digits),
                "branching_share": number((row.branching_share or UNDEFINED).value, headline.digits),
                "branching_share_interval": interval(row.branching_share or UNDEFINED, headline.digits),
                "error_ratio": number(row.error_ratio.value, headline.digits),
                "error_ratio_interval": interval(row.error_ratio, headline.digits),
                "by_environment": [
                    number(_mean(rows[name], headline, boards[rows[name].board]).value, headline.digits)
                    for name in row.rows
                ],
            }
            for row in comparison.rows
        ],
    }
