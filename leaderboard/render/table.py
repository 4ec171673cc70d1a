"""`leaderboard.parquet` and `leaderboard.csv`: the document's numbers as one flat table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...benchmark.intervals import UNDEFINED, Estimate
from ...utils.files import replace_atomically, write_text
from ..document.ranking import RANKED_BY
from ..document.schema import BoardPhase, EnvironmentBoard, LeaderboardDocument, MetricInfo, Overall, Row
from .escaping import csv_line

TEXT, WHOLE, NUMBER, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
OF_BOARD = {"dataset": TEXT, "digest": TEXT, "environment": TEXT, "protocol": WHOLE, "published": FLAG}
OF_ROW = {
    "method": TEXT, "version": WHOLE, "consumes": TEXT, "budget": TEXT, "variant": TEXT, "device": TEXT, "state": TEXT,
    "reproduction": TEXT, "confirmation": TEXT, "greyed": TEXT, "disputed": TEXT, "rank": WHOLE, "above_ceiling": FLAG,
    "spread": NUMBER,
}  # fmt: skip
BOUNDS = ("", "_low", "_high")
ESTIMATES = ("branching_share", "fresh_skill")
"""Of rows, each with columns of its bounds."""
OF_ESTIMATES = {f"{name}{bound}": NUMBER for name in ESTIMATES for bound in BOUNDS}
OF_SEEDS = {"seeds": pa.list_(WHOLE), "seed_skills": pa.list_(NUMBER), "tied": pa.list_(TEXT)}
ALSO_RANKED = RANKED_BY[1:]
"""Metrics beside the first that a row may be ranked by; each has a column of ranks and one of ties."""
OF_COST = {
    "fit_seconds": NUMBER, "forecast_seconds": NUMBER, "evaluation_seconds": NUMBER, "peak_memory_bytes": WHOLE,
    "parameters": WHOLE,
}  # fmt: skip
OF_PROVENANCE = {
    "record": TEXT, "commit": TEXT, "dirty": FLAG, "forecasts_sha256": TEXT, "cpu": TEXT, "gpu": TEXT,
    "isolation": TEXT, "validation_runs": WHOLE,
}  # fmt: skip
OF_CODE = {"distribution": TEXT, "version": TEXT, "url": TEXT, "repository": TEXT, "commit": TEXT, "paper": TEXT}
"""Of the package that the method is from, each with `CODE` before it."""
CODE = "code_"
OF_SEEDS_ONLY = [*OF_PROVENANCE, *(f"{CODE}{name}" for name in OF_CODE)]
"""The provenance of every seed."""
OF_OVERALL = (
    "label", "method", "version", "consumes", "budget", "variant", "state", "disputed", "environments", "rank", "tied",
    "rows",
)  # fmt: skip
OF_OVERALL_ESTIMATES = ("skill", "share", "branching_share", "error_ratio")
Line = dict[str, Any]


def schema(metrics: Sequence[MetricInfo]) -> pa.Schema:
    """The table's columns and their types, the same whatever the rows hold."""
    columns = {"format": WHOLE, "row": TEXT, "board": TEXT, **OF_BOARD, **OF_ROW, **OF_ESTIMATES}
    columns |= {f"rank_{name}": WHOLE for name in ALSO_RANKED}
    columns |= {"phase": TEXT, "windows": WHOLE, "trials": WHOLE, "horizon": TEXT}
    for metric in metrics:
        columns[metric.name] = NUMBER
        if metric.direction is not None:
            columns |= {f"{metric.name}_low": NUMBER, f"{metric.name}_high": NUMBER}
    by_seed = OF_PROVENANCE | {f"{CODE}{name}": kind for name, kind in OF_CODE.items()}
    columns |= (
        OF_SEEDS
        | {f"tied_{name}": pa.list_(TEXT) for name in ALSO_RANKED}
        | OF_COST
        | {name: pa.list_(kind) for name, kind in by_seed.items()}
    )
    return pa.schema(columns.items())


def flat(document: LeaderboardDocument) -> pa.Table:
    """One row per row of the leaderboard, phase and horizon ("1" to "H", and "mean").

    Each estimate is three columns, its value and `_low` and `_high`; what every seed has of its own (`seeds`,
    `seed_skills` and the provenance) is a list in the order of seeds.
    """
    boards = {board.id: board for board in document.boards}
    lines = [
        line
        for row in document.rows
        for line in _lines(
            row,
            boards[row.board],
            document,
            row.phases,
            range(document.protocols[str(boards[row.board].protocol)].horizon + 1),
        )
    ]
    return pa.Table.from_pylist(lines, schema=schema(document.metrics))


def write_parquet(document: LeaderboardDocument, path: Path) -> None:
    """Write the table as parquet."""
    found = flat(document)
    with replace_atomically(path) as temporary, pq.ParquetWriter(temporary, found.schema) as writer:
        if found.num_rows:  # `datasets` cannot read a row group of no rows
            writer.write_table(found)


def write_csv(document: LeaderboardDocument, path: Path) -> None:
    """Write the table as CSV: texts quoted, lists as JSON, undefined values as empty cells.

    The provenance of every seed, half of the bytes, is only in `leaderboard.json` and in the parquet file.
    """
    table = flat(document).drop_columns(OF_SEEDS_ONLY)
    write_text(path, _csv(table.column_names, (line.values() for line in table.to_pylist())))


def board_csv(document: LeaderboardDocument, board: EnvironmentBoard) -> str:
    """A board as its page shows it first: a line a row, best first, means over horizons of the headline phase.

    Columns are those of the whole table, without metrics that have no such mean, and the metric that ranks at each
    horizon, `skill_h1` and so on.
    """
    first, protocol = document.scores[0].name, document.protocols[str(board.protocol)]
    growing = {metric.name for metric in document.scores if not metric.averaged}
    growing |= {metric.name for metric in document.references if metric.beside in growing}
    left_out = {*OF_SEEDS_ONLY, "horizon"} | {f"{name}{bound}" for name in growing for bound in BOUNDS}
    names = [name for name in schema(document.metrics).names if name not in left_out]
    by_horizon = [f"{first}_h{h}{bound}" for h in range(1, protocol.horizon + 1) for bound in BOUNDS]
    lines = []
    for row in (row for row in document.rows if row.board == board.id):
        (means,) = _lines(row, board, document, [board.headline], [0])
        each = (number for one in row.phases[board.headline][first].by_horizon for number in _triple(one))
        lines.append([*(means[name] for name in names), *each])
    return _csv([*names, *by_horizon], lines)


def overall_csv(document: LeaderboardDocument, comparison: Overall) -> str:
    """A comparison across environments: a line a method, best first, with its mean skill in each environment."""
    first, rows = document.scores[0].name, {row.id: row for row in document.rows}
    boards = {board.id: board for board in document.boards}
    names = [f"{name}{bound}" for name in OF_OVERALL_ESTIMATES for bound in BOUNDS]
    environments = [f"{first} in {environment}" for environment in comparison.environments]
    lines = []
    for entry in comparison.rows:
        estimates = (number for name in OF_OVERALL_ESTIMATES for number in _triple(getattr(entry, name)))
        members = {boards[rows[name].board].environment: rows[name] for name in entry.rows}
        means = (
            _triple(members[one].phases[boards[members[one].board].headline][first].mean)[0] if one in members else None
            for one in comparison.environments
        )
        lines.append([comparison.protocol, *(getattr(entry, name) for name in OF_OVERALL), *estimates, *means])
    return _csv(["protocol", *OF_OVERALL, *names, *environments], lines)


def _csv(head: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    return "".join(map(csv_line, (head, *lines)))


def _triple(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    one = estimate or UNDEFINED
    return one.value, one.low, one.high


def _lines(
    row: Row,
    board: EnvironmentBoard,
    document: LeaderboardDocument,
    phases: Iterable[str],
    horizons: Iterable[int],
) -> Iterator[Line]:
    """A line for each phase and horizon, 0 being the mean over horizons."""
    head: Line = {"format": document.format, "row": row.id, "board": row.board}
    head |= {name: getattr(board, name) for name in OF_BOARD} | {name: getattr(row, name) for name in OF_ROW}
    numbers = (number for name in ESTIMATES for number in _triple(getattr(row, name)))
    head |= dict(zip(OF_ESTIMATES, numbers, strict=True))
    head |= {f"rank_{name}": row.ranks[name].rank if name in row.ranks else None for name in ALSO_RANKED}
    tail: Line = {name: getattr(row, name) for name in OF_SEEDS} | row.cost.model_dump()
    tail |= {f"tied_{name}": row.ranks[name].tied if name in row.ranks else None for name in ALSO_RANKED}
    tail |= {name: [getattr(origin, name) for origin in row.provenance] for name in OF_PROVENANCE}
    tail |= {f"{CODE}{name}": [getattr(origin.code, name, None) for origin in row.provenance] for name in OF_CODE}
    for phase in phases:
        about = board.phases[phase]
        for horizon in horizons:
            counts = {
                "phase": phase,
                "windows": about.windows,
                "trials": about.trials,
                "horizon": str(horizon or "mean"),
            }
            yield head | counts | _numbers(row, about, phase, horizon, document.metrics) | tail


def _numbers(row: Row, about: BoardPhase, phase: str, horizon: int, metrics: tuple[MetricInfo, ...]) -> Line:
    """All metrics and references at one horizon, or their means at 0."""
    found: Line = {}
    for metric in metrics:
        if metric.direction is None:
            reference = about.references.get(metric.name)
            if reference is None:  # the branching ceiling, where it is not known
                found[metric.name] = None
                continue
            # A mean is left out where that of the metric beside it is: both grow with the horizon.
            averaged = any(other.averaged for other in metrics if other.name == metric.beside)
            found[metric.name] = reference.by_horizon[horizon - 1] if horizon else reference.mean if averaged else None
            continue
        series = row.phases[phase][metric.name]
        estimate = series.by_horizon[horizon - 1] if horizon else series.mean
        found |= dict(zip((f"{metric.name}{bound}" for bound in BOUNDS), _triple(estimate), strict=True))
    return found
