"""The best rows of both tracks, as the clone's README shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..benchmark.intervals import UNDEFINED
from ..benchmark.table import interval, number
from ..utils.files import write_text
from .document.schema import LeaderboardDocument, Row
from .render.escaping import markdown_text
from .render.markdown import title
from .training.table import TrainingTable

FIRST, LAST = "<!-- leaderboard: written by `tipl-bench leaderboard build` -->", "<!-- end of leaderboard -->"
BEST = 5
"""Rows of the forecast track, beside persistence."""


def write_excerpt(readme: Path, document: LeaderboardDocument, training: Sequence[TrainingTable]) -> list[Path]:
    """Put the tables between the two marks of a README; returns the file, or none where there is no such README."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, first, rest = text.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not (first and last and document.boards):
        return []
    tables = "\n".join((*_forecast(document), *_training(training)))
    write_text(readme, f"{before}{FIRST}\n\n{tables}\n\n{LAST}{after}")
    return [readme]


def _forecast(document: LeaderboardDocument) -> Iterator[str]:
    """The best row of each predictor in each information class on the first board, and persistence."""
    board = document.boards[0]
    best: dict[tuple[str, str], Row] = {}
    for row in document.rows:
        if row.board == board.id and row.greyed is None:
            best.setdefault((row.method, row.consumes), row)
    persistence = best.pop(("persistence", "weights"), None)
    rows = [*best.values()][:BEST] + ([persistence] if persistence else [])
    skill, repw = (next(metric for metric in document.scores if metric.name == name) for name in ("skill", "repw"))
    yield f"| forecast track: {board.environment} | budget | {skill.label} | 95% interval | {repw.label} | state |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        means = row.phases[board.headline]
        mean, error = means[skill.name].mean or UNDEFINED, means[repw.name].mean or UNDEFINED
        numbers = (number(mean.value, skill.digits), interval(mean, skill.digits), number(error.value, repw.digits))
        yield f"| {markdown_text(title(row))} | {row.budget} | {' | '.join(numbers)} | {row.state} |"


def _training(tables: Sequence[TrainingTable]) -> Iterator[str]:
    """Of each environment the best row, the best without a forecast, and tuned Adam."""
    if tables:
        yield ""
        yield "| training track | method | AUC | solved | steps to 95%, of tuned Adam's | 95% interval |"
        yield "|---|---|---|---|---|---|"
    for table in tables:
        shown = {table.rows[0].id, table.references["best plain"], table.references["tuned adam"]}
        for row in table.rows:
            if row.id in shown:
                against = row.against.get("tuned adam")
                steps = against.estimates["steps_95"] if against else UNDEFINED
                cells = (table.environment, row.method)
                auc, solved = row.estimates["auc"], row.estimates["solved"]
                numbers = (
                    number(auc.value, 3), number(solved.value, 2), number(steps.value, 2), interval(steps, 2)
                )  # fmt: skip
                yield f"| {' | '.join(map(markdown_text, cells))} | {' | '.join(numbers)} |"
