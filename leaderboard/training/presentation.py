"""The training track's tables as people read them: titles, headings and cells of text, for Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence

from ...benchmark.intervals import UNDEFINED, Estimate, averaged
from ...benchmark.table import interval, number
from ...utils.fields import Document, Text
from ..render.escaping import markdown_text
from .table import TrainingComparison, TrainingRow, TrainingTable

LEVEL = 0.05
STAR = "*"
"""After a difference that the correction leaves significant."""
HEADINGS = (
    "method",
    "role",
    "tried",
    "AUC",
    "95% interval",
    "minus tuned Adam",
    "95% interval",
    "steps to 50%",
    "halfway",
    "steps to 95%",
    "of tuned Adam's",
    "95% interval",
    "solved",
    "final J",
    "worst quarter",
    "kept",
    "better than tuned Adam in",
    "95% interval",
    "CPU s / M steps",
    "state, bytes",
    "rests on",
    "pretraining, M steps",
    "checked",
)
FORECAST_HEADINGS = (
    "forecast",
    "against",
    "AUC, difference",
    "95% interval",
    "steps to 95%, ratio",
    "95% interval",
    "final J, difference",
    "kept, difference",
)
INTRODUCTION = (
    "Methods act inside PPO and are scored by return per environment step. AUC is the normalised return, mean over "
    "the environment steps. Halfway and solved: the shares of the trials that reach 50% and 95% of it; the others "
    "count as all steps of the training. Kept: of the trials that are solved. Differences are paired by trial; "
    f"{STAR} marks those whose p-value (of the difference in AUC, by a paired t-test) is below {LEVEL} after Holm's "
    "correction over the table's rows. Better: the share of trials with the higher AUC, the probability of "
    "improvement, with Wilson's interval. Tried: how many configurations of the method ran on the tuning trials. "
    "Tuned: the one that was best there, by AUC. Control: with the settings of a forecast's jump, along the last "
    "iteration's change exactly as far as the predictor forecasts there, on its own path. Pretraining: environment "
    "steps, in millions, of the datasets or the meta-training that a method rests on. Checked: reproduced, where all "
    "trials were trained again to the end with the same curves bit for bit; replayed, where that was done with one "
    "block of trials for ten iterations; claimed, where neither is known."
)


class Presented(Document):
    """A table as text."""

    title: Text
    about: Text
    headings: tuple[Text, ...]
    rows: tuple[tuple[Text, ...], ...]


def presented(table: TrainingTable) -> tuple[Presented, ...]:
    """The rows of an environment; and, if some rest on a forecast, these beside what a forecast has to beat."""
    titles = {row.id: row.method for row in table.rows}
    without = ", ".join(titles[one] for one in table.untuned)
    warning = f" Higher, but not run on the tuning trials, so never chosen: {without}." if without else ""
    rows = Presented(
        title=f"{table.environment}, training protocol {table.protocol}",
        about=f"{table.trials} test trials of {table.environment_steps:,} environment steps. Best plain method "
        f"(without a forecast, by the tuning trials): {titles[table.references['best plain']]}.{warning}",
        headings=HEADINGS,
        rows=tuple(map(_cells, table.rows)),
    )
    forecasts = [
        _compared(row, reference, row.against[reference])
        for row in table.rows
        for reference in ("best plain", "control")
        if row.forecast and reference in row.against
    ]
    if not forecasts:
        return (rows,)
    alone = ", ".join(row.method for row in table.rows if row.forecast and "control" not in row.against)
    beside = Presented(
        title=f"{table.environment}: forecasts",
        about="Beside the best plain method, and beside their own controls."
        + (f" Without a control, so that the length of its steps may be all that helps: {alone}." if alone else ""),
        headings=FORECAST_HEADINGS,
        rows=tuple(forecasts),
    )
    return rows, beside


def across(tables: Sequence[TrainingTable]) -> tuple[Presented, ...]:
    """Methods at their default that were run in all of several environments, beside each environment's tuned Adam."""
    rows = []
    for method in sorted({row.method for table in tables for row in table.rows if "default" in row.role.split(", ")}):
        found = [row.against.get("tuned adam") for table in tables for row in table.rows if row.method == method]
        estimates = [one.estimates["auc"] for one in found if one is not None]
        if len(estimates) == len(tables) > 1:
            shown = [number(one.value, 3, sign=True) for one in estimates]
            rows.append((method, *_pair(averaged(estimates), 3, sign=True), *shown))
    if not rows:
        return ()
    overall = Presented(
        title="Across environments",
        about="Methods at their default settings that were run in all environments: AUC less that of each "
        "environment's tuned Adam. The interval of the mean takes those of the environments as independent, and is of "
        "these environments.",
        headings=("method", "mean", "95% interval", *(table.environment for table in tables)),
        rows=tuple(rows),
    )
    return (overall,)


def markdown(tables: Sequence[TrainingTable]) -> str:
    """The section of `leaderboard/README.md`; empty without tables."""
    if not tables:
        return ""
    lines = ["# Training track", "", markdown_text(INTRODUCTION, longest=2000), ""]
    lines += ["[docs/training-track.md](../docs/training-track.md) explains protocol and metrics.", ""]
    for one in (*across(tables), *(part for table in tables for part in presented(table))):
        cells = (
            one.headings,
            ["---"] * len(one.headings),
            *([markdown_text(cell) for cell in row] for row in one.rows),
        )
        lines += [f"## {markdown_text(one.title)}", "", markdown_text(one.about, longest=1000), ""]
        lines += [*(f"| {' | '.join(row)} |" for row in cells), ""]
    return "\n".join(lines)


def _cells(row: TrainingRow) -> tuple[str, ...]:
    against = row.against.get("tuned adam")
    found = against.estimates if against else {}
    auc = row.estimates["auc"]
    return (
        row.method + (f" ({row.diverged} diverged)" if row.diverged else ""),
        row.role,
        str(row.configurations) if row.configurations else "-",
        number(auc.value, 3),
        interval(auc, 3),
        *_pair(found.get("auc", UNDEFINED), 3, sign=True, mark=against),
        number(row.estimates["steps_50"].value, 0),
        number(row.halfway, 2),
        number(row.estimates["steps_95"].value, 0),
        *_pair(found.get("steps_95", UNDEFINED), 2),
        number(row.estimates["solved"].value, 2),
        number(row.estimates["final"].value, 1),
        number(row.estimates["worst_quarter"].value, 1),
        number(row.estimates["kept"].value, 3),
        *_pair(found.get("better", UNDEFINED), 2),
        number(row.seconds_per_million, 1),
        f"{row.state_bytes:,}",
        row.rests_on,
        "?" if row.fitted_steps is None else f"{row.fitted_steps / 1e6:.0f}",
        row.state,
    )


def _compared(row: TrainingRow, reference: str, found: TrainingComparison) -> tuple[str, ...]:
    one = found.estimates
    return (
        row.method,
        reference,
        *_pair(one["auc"], 3, sign=True, mark=found),
        *_pair(one["steps_95"], 2),
        number(one["final"].value, 1, sign=True),
        number(one["kept"].value, 3, sign=True),
    )


def _pair(estimate: Estimate, digits: int, *, sign: bool = False, mark: TrainingComparison | None = None) -> list[str]:
    star = STAR if mark is not None and mark.p < LEVEL else ""
    return [number(estimate.value, digits, sign=sign) + star, interval(estimate, digits)]
