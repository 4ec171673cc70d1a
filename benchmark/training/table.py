"""Tables of training runs for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from ...utils.tables import Cell, ColumnGroup, FoldedTable
from ..intervals import Estimate
from ..table import interval, number
from .metrics import METRICS, TrainingMetric
from .record import TrainingRecord

COMPARISON_METRICS = ("auc", "steps_50", "steps_95", "final", "kept")
"""Metrics of the table of a comparison."""


def render(record: TrainingRecord) -> RenderableType:
    """Every metric with its interval, and the cost."""
    key, cost = record.key, record.cost
    whole = key.protocol
    steps = key.iterations * whole.iteration_steps
    head = Text.assemble(
        (key.label, "bold"),
        f" on {whole.environment}, training protocol {whole.version}\n",
        (f"{key.trials} {key.split} trials of {steps:,} environment steps ({key.iterations} PPO iterations)", "dim"),
        (f"\n{key.scope}: not for the table of the track" if key.scope else "", "yellow"),
        (f"\n{record.diverged} trials diverged and count as their initialisation from there on", "red")
        if record.diverged
        else "",
    )
    table = FoldedTable("metric", [ColumnGroup(("value", "95% interval", ""))], justify="left")
    for metric in METRICS:
        estimate = record[metric.name]
        value = number(estimate.value, metric.digits, thousands=True)
        between = interval(estimate, metric.digits, thousands=True)
        table.add_row(metric.heading, [[value, between, Text(metric.meaning, "dim")]])
    millions = key.trials * steps / 1e6
    foot = Text(
        f"normalised return: 0 is J = {whole.initial_return:g}, 1 is J = {whole.reference_return:g}\n"
        f"cost: {cost.training_seconds / millions:.1f} CPU s of training a million steps, "
        f"{cost.evaluation_seconds:.0f} CPU s of evaluation, {cost.wall_seconds:.0f} s of wall time, "
        f"{cost.state_bytes:,} bytes of state a trial",
        "dim",
    )
    return Group(head, "", table, "", foot)


def render_comparison(found: Mapping[str, Mapping[str, Estimate]], other: str, trials: int) -> RenderableType:
    """What runs (by label) have more than another one on the same trials; see `metrics.paired`."""
    shown = [metric for metric in METRICS if metric.name in COMPARISON_METRICS]
    groups = [ColumnGroup((metric.heading, "95% interval")) for metric in shown]
    table = FoldedTable("run", [*groups, ColumnGroup(("better in", "95% interval"))])
    for label, estimates in found.items():
        cells = [_difference(metric, estimates[metric.name]) for metric in shown]
        share = estimates["better"]
        table.add_row(label, [*cells, [number(share.value, 2), interval(share, 2)]])
    foot = "Steps are ratios, the others differences. Better in: the share of trials with the higher AUC, ties half."
    return Group(
        Text(f"against {other}, paired over {trials} trials", "bold"),
        "",
        table,
        "",
        Text(f"{foot} * the interval excludes no difference: green if better, red if worse.", "dim"),
    )


def _difference(metric: TrainingMetric, estimate: Estimate) -> list[Cell]:
    """A difference or ratio with its interval, coloured where the interval excludes that there is none."""
    digits, none, style, mark = (2, 1.0, "", " ") if metric.ratio else (metric.digits, 0.0, "", " ")
    if estimate.low is not None and estimate.high is not None and (estimate.low > none or estimate.high < none):
        style, mark = "green" if (estimate.low > none) == (metric.direction == "higher") else "red", "*"
    value = number(estimate.value, digits, sign=not metric.ratio)
    return [Text(value + mark, style), interval(estimate, digits)]
