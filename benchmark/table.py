"""A run's table for the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from ..baselines.options import as_settings
from ..utils.errors import ProtocolError
from ..utils.tables import Cell, ColumnGroup, FoldedTable
from .intervals import Estimate
from .metrics import BY_NAME, HEADLINE, METRICS, Metric
from .record import Record, Result

SHOWN_HORIZONS = (1, 2, 5, 10)


def render(record: Record) -> RenderableType:
    """Skill by horizon with intervals, REPW beside that of persistence and of a perfect forecast, and the cost."""
    key, cost, fitted_on = record.key, record.cost, record.key.method.fitted_on
    options = ", ".join(as_settings(key.method.options))
    head = Text.assemble(
        (f"{key.method.name} v{key.method.version}", "bold"),
        f" on {key.dataset.name} ({key.dataset.environment}), protocol {key.protocol.version}, seed {key.seed}\n",
        (f"budget {key.method.budget}{': ' + options if options else ''}\n", "dim"),
        (f"dataset digest {key.dataset.digest[:12]}, device {key.device}", "dim"),
        (f"\nfitted on {fitted_on.name} ({fitted_on.digest[:12]})", "dim") if fitted_on else "",
        ("\nforecasts the normaliser too: REPW and gain are of policies that act with it", "dim")
        if key.method.forecasts_normaliser
        else "",
        (f"\n{record.scope}: not for a leaderboard" if record.scope else "", "yellow"),
    )
    measured = {name for result in record.results for name in result.estimates}
    shown = [metric for metric in METRICS if metric.heading and metric.name in measured]
    table = FoldedTable("h", [_columns(metric, interval=metric.interval) for metric in shown])
    sections = {
        "learning": record.of_phase("learning"),
        "converged": [one for one in record.of_phase("converged") if one.horizon in SHOWN_HORIZONS],
    }
    for phase, results in sections.items():
        for row, result in enumerate(results):
            if row == 0:
                table.add_heading(phase)
            cells = [_cells(metric, result) for metric in shown]
            table.add_row(str(result.horizon), cells, end_section=row == len(results) - 1)
    learning = next(iter(sections["learning"]), None)
    counts = ", ".join(f"{phase}: {_spell_counts(rows[0])}" for phase, rows in sections.items() if rows)
    of_returns = " REPW (with persistence's), the reset noise and gain are in units of return."
    if "repw_perfect" in measured:
        of_returns += (
            " Perfect: the REPW of the true weights under the origin's normaliser, as most forecasts act. Moving: "
            "where the true return has moved."
        )
    foot = Text.assemble(
        (f"{counts}. Skill is 1 - WPE / WPE of persistence. Ceiling: the best in the context's span.", "dim"),
        (f"{of_returns if record.has_returns else ''}\n", "dim"),
        f"cost: fit {cost.fit_seconds:.1f} s, forecast {cost.forecast_seconds:.1f} s, ",
        f"returns {cost.evaluation_seconds:.1f} s, " if record.has_returns else "",
        f"peak memory {cost.peak_memory_bytes / 2**30:.2f} GiB, ",
        f"{record.parameter_count:,} learned parameters",
        (_spell_tuning(record.provenance.validation_runs), "dim"),
    )
    parts: list[RenderableType] = [head, "", table, *_by_position(record), "", foot]
    if learning is None:
        parts.append(Text(f"No {key.split} trial has a learning phase with a full context.", "yellow"))
    return Group(*parts)


def _by_position(record: Record) -> list[RenderableType]:
    """Skill in the learning phase at each position within the PPO iteration, if the record has it."""
    results = [one for one in record.of_phase("learning") if one.by_position and one.horizon in SHOWN_HORIZONS]
    if not results:
        return []
    skills = [result.at_positions(HEADLINE) for result in results]
    if len(skills[0]) == 1:
        return []
    table = FoldedTable("h", [ColumnGroup((str(position),), HEADLINE) for position in range(1, len(skills[0]) + 1)])
    for result, values in zip(results, skills, strict=True):
        cells: list[list[Cell]] = [[number(value, BY_NAME[HEADLINE].digits)] for value in values]
        table.add_row(str(result.horizon), cells)
    title = (
        "skill while learning, by the origin's position within its PPO iteration "
        f"({len(skills[0])}: the last checkpoint)"
    )
    return ["", Text(title, "dim"), table]


def _spell_counts(result: Result) -> str:
    windows = f"{result.windows} window{'s' if result.windows > 1 else ''}"
    return f"{windows} of {result.trials} trials" if result.trials > 1 else f"{windows} of 1 trial, hence no intervals"


def _spell_tuning(validation_runs: int | None) -> str:
    if not validation_runs:
        return ""
    return f"\nvalidation runs of this predictor before this run: {validation_runs:,}"


def render_seeds(records: Sequence[Record]) -> RenderableType:
    """Skill at each horizon of one predictor's runs with several seeds: a row a seed, their mean and their spread."""
    skills = _skills(records)
    table = _skill_table("seed", skills)
    for record, row in zip(records, skills.to_numpy(), strict=True):
        table.add_row(str(record.key.seed), _skill_cells(row))
    table.add_row("mean", _skill_cells(skills.mean(skipna=False).to_numpy()))
    table.add_row("spread", _skill_cells(skills.std(skipna=False).to_numpy()))
    return Group(Text(_spell_skills(records), "dim"), "", table, "", Text("spread: standard deviation of seeds", "dim"))


def render_sweep(sweep: Mapping[str, Sequence[Record]]) -> RenderableType:
    """Skill at each horizon of several configurations, by the mean over horizons: a row each, the mean of its seeds."""
    everything = [record for records in sweep.values() for record in records]
    means = _skills(everything)
    means.index = pd.Index([name for name, records in sweep.items() for _ in records])
    means = means.groupby(level=0, sort=False).agg(_mean).sort_values("mean", ascending=False, na_position="last")
    table = _skill_table("options", means)
    for name, row in zip(means.index, means.to_numpy(), strict=True):
        table.add_row(name, _skill_cells(row, means.max().to_numpy()))
    fewest, most = (choose(map(len, sweep.values())) for choose in (min, max))
    seeds = f"{fewest} to {most}" if fewest < most else f"{most}"
    foot = f"* the best at that horizon{f'; means of {seeds} seeds' if most > 1 else ''}"
    return Group(Text(_spell_skills(everything), "dim"), "", table, "", Text(foot, "dim"))


def _mean(skills: pd.Series[float]) -> float:
    """The mean; NaN where a skill is undefined."""
    return float(skills.mean(skipna=False))


def best_of_sweep(sweep: Mapping[str, Sequence[Record]]) -> str:
    """The configuration with the highest mean skill over horizons and seeds, of those of which most seeds finished."""
    phase = _common_phase([record for records in sweep.values() for record in records])
    most = max(map(len, sweep.values()))
    whole = {name: records for name, records in sweep.items() if len(records) == most}
    means = {name: _skills(records, phase)["mean"].mean(skipna=False) for name, records in whole.items()}
    return max(means, key=lambda name: float("-inf") if pd.isna(means[name]) else means[name])


def mean_skill(record: Record) -> float:
    """A run's mean skill over the horizons, by which a sweep is ranked; NaN where it is undefined."""
    return float(_skills([record])["mean"].iloc[0])


def _common_phase(records: Sequence[Record]) -> str:
    return "learning" if all(record.of_phase("learning") for record in records) else "all"


def _skills(records: Sequence[Record], phase: str | None = None) -> pd.DataFrame:
    """The skill of each record by horizon, and its mean over horizons; NaN where it is undefined."""
    phase = phase or _common_phase(records)
    rows = [{str(one.horizon): one[HEADLINE].value for one in record.of_phase(phase)} for record in records]
    found = pd.DataFrame(rows, dtype=float)
    return found.assign(mean=found.mean(axis=1, skipna=False))


def _spell_skills(records: Sequence[Record]) -> str:
    key, phase = records[0].key, _common_phase(records)
    scope = records[0].scope or "test trials"
    return f"{key.method.name} on {key.dataset.name}: skill at each horizon, {_spell_phase(phase)}, {scope}"


def _skill_table(key: str, skills: pd.DataFrame) -> FoldedTable:
    return FoldedTable(key, [ColumnGroup((str(name),), "skill") for name in skills])


def _skill_cells(values: Iterable[float], best: Iterable[float] = ()) -> list[list[Cell]]:
    """Skills, one a column; those that are the `best` of their column are marked, if any is given."""
    digits = BY_NAME[HEADLINE].digits
    cells: list[list[Cell]] = []
    for value, most in itertools.zip_longest(values, best):
        mark = "" if most is None else "*" if value == most else " "
        cells.append([Text(number(None if pd.isna(value) else value, digits) + mark, "green" * (mark == "*"))])
    return cells


def render_comparison(differences: pd.DataFrame, phase: str) -> RenderableType:
    """Differences of runs in one phase (`compare.compare`): a table a pair, a row a horizon, a column a metric.

    Of three runs and more, a summary by the headline metric stands below the tables.

    Raises
    ------
    ProtocolError
        If the runs have no windows in that phase.
    """
    chosen = differences[differences["phase"] == phase]
    if chosen.empty:
        others = " or ".join(f'`phase="{name}"`' for name in differences["phase"].unique())
        raise ProtocolError(f"No trial of these runs has a window in the {phase} phase; choose {others}.")
    parts: list[RenderableType] = []
    for (run, other), pair in chosen.groupby(["run", "other"], sort=False):
        shown = [metric for metric in METRICS if metric.name in set(pair["metric"]) and metric.heading]
        table = FoldedTable("h", [_columns(metric, interval=True) for metric in shown])
        for horizon, rows in pair.groupby("horizon", sort=False, dropna=False):
            by_name = {row["metric"]: row for row in rows.to_dict("records")}
            cells = [_difference_cells(metric, by_name[metric.name]) for metric in shown]
            table.add_row("mean" if pd.isna(horizon) else str(horizon), cells)
        trials = pair["trials"].iloc[0]
        parts += [
            Text(f"{run} minus {other}, {_spell_phase(phase)}, paired over {trials} trials", "bold"),
            "",
            table,
            "",
        ]
    parts.append(Text("* the interval excludes 0: green if the first run is better, red if it is worse.", "dim"))
    names = list(dict.fromkeys([*chosen["run"], *chosen["other"]]))
    if len(names) > 2:
        parts += ["", Text(f"Summary by mean {HEADLINE}, {_spell_phase(phase)}, best first", "bold"), ""]
        parts.append(_summary(names, chosen[(chosen["metric"] == HEADLINE) & chosen["horizon"].isna()]))
    return Group(*parts)


def _summary(names: list[str], means: pd.DataFrame) -> RenderableType:
    """How many runs each is better than, worse than and not separated from, and its difference to the best."""
    found: dict[tuple[str, str], Estimate] = {}
    for row in means.to_dict("records"):
        value, low, high = (None if pd.isna(row[name]) else float(row[name]) for name in ("difference", "low", "high"))
        found[row["run"], row["other"]] = Estimate(value, low, high)
        found[row["other"], row["run"]] = Estimate(*(None if end is None else -end for end in (value, high, low)))
    best_first = sorted(names, key=lambda name: -sum(found[name, other].value or 0 for other in names if other != name))
    table = FoldedTable(
        "run",
        [ColumnGroup(("better than", "tied with", "worse than")), ColumnGroup(("minus the best", "95% interval"))],
    )
    digits = BY_NAME[HEADLINE].digits
    for name in best_first:
        others = [found[name, other] for other in names if other != name]
        better = sum(one.low is not None and one.low > 0 for one in others)
        worse = sum(one.high is not None and one.high < 0 for one in others)
        counts: list[Cell] = [str(count) for count in (better, len(others) - better - worse, worse)]
        gap = found.get((name, best_first[0]), Estimate(None, None, None))
        table.add_row(name, [counts, [number(gap.value, digits, sign=True), interval(gap, digits)]])
    return table


def _columns(metric: Metric, *, interval: bool) -> ColumnGroup:
    """A metric's columns; metrics of one unit and of the same windows stay together where the terminal is narrow."""
    titles = (metric.heading, "95% interval") if interval else (metric.heading,)
    return ColumnGroup(titles, topic=f"{metric.unit} by {' '.join(metric.denominator)}")


def _spell_phase(phase: str) -> str:
    return "all phases" if phase == "all" else f"{phase} phase"


def _difference_cells(metric: Metric, row: dict[Any, Any]) -> list[Cell]:
    """A difference with its interval, coloured where the interval excludes 0."""
    value, low, high = (None if pd.isna(row[name]) else float(row[name]) for name in ("difference", "low", "high"))
    style, mark = "", " "
    if low is not None and high is not None and (low > 0 or high < 0):
        style, mark = "green" if (low > 0) == (metric.direction == "higher") else "red", "*"
    return [
        Text(number(value, metric.digits, sign=True) + mark, style),
        interval(Estimate(value, low, high), metric.digits),
    ]


def _cells(metric: Metric, result: Result) -> list[Cell]:
    """A metric's value, and its interval where that is shown; references are dim, the headline is coloured."""
    estimate = result[metric.name]
    style = "" if metric.direction else "dim"
    if metric.name == HEADLINE and estimate.low is not None and estimate.high is not None:
        style = "green" if estimate.low > 0 else "red" if estimate.high < 0 else ""
    value = Text(number(estimate.value, metric.digits, sign=metric.signed), style)
    return [value, interval(estimate, metric.digits)] if metric.interval else [value]


def number(value: float | None, digits: int, *, sign: bool = False, thousands: bool = False) -> str:
    """A number, or a dash where it is undefined."""
    if value is None:
        return "-"
    value = round(value, digits) + 0.0  # no negative zero
    return f"{value:{'+' if sign else ''}{',' if thousands else ''}.{digits}f}"


def interval(estimate: Estimate, digits: int, *, thousands: bool = False) -> str:
    """An interval in brackets, or a dash."""
    if estimate.low is None or estimate.high is None:
        return "-"
    spec = f"{',' if thousands else ''}.{digits}f"
    return f"[{estimate.low:{spec}}, {estimate.high:{spec}}]"
