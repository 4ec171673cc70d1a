"""`docs/reference.md`: every term, metric, field and column, from the tables and models that define them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from ...baselines.plugins.discovery import BUDGETS
from ...baselines.plugins.sources import MethodCode
from ...baselines.predictor import INFORMATION_CLASSES
from ...benchmark import metrics, protocol, provenance, record
from ...benchmark.forecast.scoring import COLUMNS, LAYER_PREFIX
from ...registry.views.index import INDEX_COLUMNS
from ..document import comparison_schema, schema
from ..document.metric_values import SHOWN
from ..store import confirmation, evidence
from ..verify.reproduce import TOLERANCE
from . import table
from .escaping import markdown_text

TERMS = {
    "trial": "one training run of a policy",
    "checkpoint": "one stored policy of a trial",
    "trajectory": "the sequence of a trial's weights",
    "context": "the past that a predictor is shown",
    "origin": "the index of the last checkpoint that it is shown",
    "horizon": "how many checkpoints ahead a forecast is, from 1 to H",
    "window": "context and targets at one origin",
    "phase": "learning, until the smoothed return has covered 95% of its rise, and converged from then on; protocol 1 "
    "goes by the training return, protocol 2 by J of the true policies",
    "J": "the mean return of a policy without exploration noise, on reset seeds that the protocol fixes",
    "WPE": "weight prediction error: the mean squared error of forecast weights",
    "REPW": "return error of predicted weights: the absolute error of a forecast policy's J",
    "persistence": "the forecast that weights stay as they are at the origin",
    "skill": "1 - WPE / WPE of persistence",
    "gain": "J of the forecast policy minus J of the policy at the origin",
    "span ceiling": "the skill of the best point in the affine span of the context; a forecast above it uses more than "
    "a combination of past checkpoints",
    "branching ceiling": "the skill of the best forecast that knows the whole training state at the origin, the "
    "current batch included, measured by continuations with fresh random streams; see ceilings.md",
    "reset noise": "the difference of a true policy's J on other reset seeds; REPW shares resets, so it is no floor",
    "perfect forecast": "the true weights, acting with the normaliser at the origin as a forecast does, unless its "
    "predictor forecasts the normaliser too; its REPW is the floor of those that do",
    "moving": "where the true J differs from the origin's by 2% of the trial's rise over training, or more",
    "interval": "a nominal 95% interval by bootstrap over test trials, from protocol 2 on wider by what seeds differ, "
    "see intervals.md",
    "record": "what a run writes down: what was run, what came out, where it was made",
    "row": "the seeds of one configuration of a predictor on one board",
    "board": "the rows of one dataset and protocol",
    "tied": "not told apart by the paired difference, corrected for all pairs of the board",
    "position": "the origin's place among the checkpoints of its PPO iteration, from the first to the last",
    "greyed": "not ranked: superseded, of a dataset that was withdrawn, or not confirmed",
    "fresh trials": "trials of the dataset's own configuration with secret seeds, collected to confirm rows",
    "fresh skill": "the skill on fresh trials, collected after the predictor was written",
    "disputed": "doubted by a maintainer or by a reproduction that drifted, until a maintainer resolves it",
}
GRADES = {
    "bitwise": "the same forecasts, bit for bit",
    "within tolerance": f"no skill differs by more than {TOLERANCE}",
    "drifted": "some skill does; the row is disputed",
}
RECORD = {
    "record": record.Record, "status": record.Status, "key": record.RunKey, "key.protocol": protocol.Protocol,
    "key.dataset": record.DatasetIdentity, "key.method": record.MethodIdentity, "results": record.Result,
    "returns": record.ReturnPair, "provenance": provenance.Provenance, "provenance.code": MethodCode,
    "cost": provenance.Cost,
}  # fmt: skip
DOCUMENT = {
    "leaderboard": schema.LeaderboardDocument, "metrics": schema.MetricInfo, "boards": schema.EnvironmentBoard,
    "boards.ranking": comparison_schema.BoardRanking, "boards.phases": schema.BoardPhase,
    "boards.phases.references": schema.ReferenceSeries, "boards.phases.positions": schema.PositionSeries,
    "rows": schema.Row, "rows.ranks": comparison_schema.Place, "rows.phases": schema.Series,
    "rows.positions": schema.PositionSeries, "rows.cost": schema.RowCost, "rows.provenance": schema.RowProvenance,
    "rows.commands": schema.Commands, "rows.comparisons": comparison_schema.Comparison,
    "rows.comparisons.others": comparison_schema.PairedDifference, "overall": schema.Overall,
    "overall.rows": schema.OverallRow, "overall.rows.comparisons": comparison_schema.OverallComparison,
    "evidence": evidence.Evidence,
    "evidence.confirmation": confirmation.Confirmation, "evidence.confirmation.skill": confirmation.FreshComparison,
    "evidence.confirmation.skill.public": confirmation.Measured,
}  # fmt: skip
TABLES = """Each table is a file of its own too, a line a row. `tables/board-*.csv` has these columns of a board's
headline phase, means over horizons, and the skill at each horizon as `skill_h1`, `skill_h1_low`, `skill_h1_high` and
so on. `tables/overall-*.csv` has the fields of `overall.rows`, and each environment's skill. `tables/training-*.csv`
has the fields of the training track's rows, their metrics, and what they have more than tuned Adam, the best plain
method and a forecast's control as `tuned_adam_*`, `best_plain_*` and `control_*`: differences, but of `steps_95` the
ratio, and of `better` the share of the trials with the higher AUC. `training.json` has the same with the mean learning
curves and the evidence.
"""
HEAD = """# Reference

Every term, metric, field and column. `tipl-bench leaderboard build` writes this page from the tables and models that
define them.
"""


def render() -> str:
    """The page as Markdown; the same package gives the same text."""
    seeds = ", ".join(map(str, protocol.ROW_SEEDS))
    return "\n".join(
        [
            HEAD,
            table_section("Terms", ("term", "meaning"), TERMS.items()),
            _metrics(),
            table_section("Information classes", ("`consumes`", "what forecasts rest on"), INFORMATION_CLASSES.items()),
            f"## Budgets and seeds\n\nBudgets: {', '.join(BUDGETS)}. The seeds of a row: {seeds}.\n",
            table_section("States of a row", ("`state`", "how far it was checked"), schema.STATES.items()),
            table_section("Grades of a reproduction", ("`grade`", "how it came out"), GRADES.items()),
            table_section(
                "Isolation",
                ("`isolation`", "what kept the predictor from the held-out trials"),
                provenance.ISOLATIONS.items(),
            ),
            models_section("The record, `record.json`", RECORD),
            _columns("The windows of a run, `windows.parquet`", _window_columns()),
            _columns("The leaderboard's table, `leaderboard.parquet` and `.csv`", _leaderboard_columns()),
            TABLES,
            models_section("The leaderboard's document, `leaderboard.json`", DOCUMENT),
            _columns("The index of a dataset, `index.parquet`", INDEX_COLUMNS),
        ]
    )


def descriptions(model: type[Any]) -> dict[str, str]:
    """The docstrings below a class's fields, by field; empty for a field without one."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found[node.target.id] = " ".join(str(after.value.value).split()) if documented else ""  # type: ignore[union-attr]
    return found


def _metrics() -> str:
    rows = []
    for metric in metrics.METRICS:
        ratio = f"{_sum(metric.numerator)} / {_sum(metric.denominator)}"
        formula = f"1 - {ratio}" if metric.complement else ratio
        better = metric.direction or "of the board, not of a row"
        rows.append((f"`{metric.name}`", metric.label, metric.unit, better, f"`{formula}`"))
    head = ("column", "metric", "unit", "better", "from sums over trials of columns of `windows.parquet`")
    return _rows("Metrics", head, rows)


def _sum(terms: Mapping[str, int]) -> str:
    signed = [f"{'- ' if factor < 0 else '+ '}{name}" for name, factor in terms.items()]
    text = " ".join(signed).removeprefix("+ ")
    return f"({text})" if len(terms) > 1 else text


def _window_columns() -> dict[str, tuple[Any, str]]:
    number = COLUMNS["wpe"][0]
    return COLUMNS | {f"{LAYER_PREFIX}LAYER": (number, "mean squared error of one parameter tensor's forecast weights")}


def _leaderboard_columns() -> dict[str, tuple[Any, str]]:
    of = {model: descriptions(model) for model in (schema.EnvironmentBoard, schema.Row, schema.BoardPhase, MethodCode)}
    of_code = {f"{table.CODE}{name}": f"Of the predictor's package. {text}" for name, text in of[MethodCode].items()}
    known = of_code | descriptions(schema.RowProvenance) | descriptions(schema.RowCost) | of[schema.EnvironmentBoard]
    known |= of[schema.BoardPhase] | of[schema.Row]
    known |= {
        "format": "The format of this table and of `leaderboard.json`.",
        "row": "The row's id.",
        "phase": "The phase that the numbers are of.",
        "horizon": "Checkpoints ahead, from 1; or mean: over all horizons.",
    }
    known |= {
        f"{name}_{bound}": f"The {bound} end of its interval." for name in table.ESTIMATES for bound in ("low", "high")
    }
    for name in table.ALSO_RANKED:
        known |= {f"rank_{name}": f"Its rank by {name}.", f"tied_{name}": "The rows not told apart from it by that."}
    for metric in SHOWN:
        known[metric.name] = f"{metric.label}, {metric.unit}."
        known |= {f"{metric.name}_{bound}": f"The {bound} end of its interval." for bound in ("low", "high")}
    return {field.name: (field.type, known[field.name]) for field in table.schema(SHOWN)}


def models_section(title: str, models: Mapping[str, type[Any]]) -> str:
    """The fields of models by their places, with what their docstrings say."""
    parts = [f"## {title}\n"]
    for place, model in models.items():
        fields = descriptions(model)
        parts.append(f"### `{place}`\n\n{lines(('field', 'meaning'), _coded(fields.items()))}")
    return "\n".join(parts)


def _columns(title: str, columns: Mapping[str, tuple[Any, str]]) -> str:
    rows = [(f"`{name}`", markdown_text(str(kind)), markdown_text(text)) for name, (kind, text) in columns.items()]
    return _rows(title, ("column", "type", "meaning"), rows)


def _coded(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"`{name}`", markdown_text(text)) for name, text in pairs]


def table_section(title: str, head: tuple[str, str], pairs: Iterable[tuple[str, str]]) -> str:
    """A section of terms with their meanings."""
    return _rows(title, head, _coded(pairs))


def _rows(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return f"## {title}\n\n{lines(head, rows)}"


def lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    names = [*head]
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
