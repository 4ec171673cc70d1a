"""The run's table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .intervals import Estimate
from .record import Metric, Record

CONVERGED_HORIZONS = (1, 2, 5, 10)


def render(record: Record) -> RenderableType:
    """Skill by horizon with intervals, REPW with its noise floor, and the cost."""
    key, cost = record.key, record.cost
    options = ", ".join(f"{name}={value}" for name, value in key.predictor.options.items())
    head = Text.assemble(
        (f"{key.predictor.name} v{key.predictor.version}", "bold"),
        f" on {key.dataset.name} ({key.dataset.environment}), protocol {key.protocol.version}, seed {key.seed}\n",
        (f"budget {key.predictor.budget}{': ' + options if options else ''}\n", "dim"),
        (f"dataset digest {key.dataset.digest[:12]}, device {key.device}", "dim"),
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", padding=0)
    for title in ("h", "skill", "95% interval", "ceiling", "REPW", "95% interval", "persist.", "floor", "gain"):
        table.add_column(title, justify="right", no_wrap=True)
    sections = {
        "learning": [m for m in record.metrics if m.phase == "learning"],
        "converged": [m for m in record.metrics if m.phase == "converged" and m.horizon in CONVERGED_HORIZONS],
    }
    for phase, metrics in sections.items():
        for row, metric in enumerate(metrics):
            if row == 0:
                table.add_row("", Text(phase, "bold"))
            table.add_row(*_cells(metric), end_section=row == len(metrics) - 1)
    learning = next(iter(sections["learning"]), None)
    counts = ", ".join(
        f"{phase}: {rows[0].windows} windows of {rows[0].trials} trials" for phase, rows in sections.items() if rows
    )
    foot = Text.assemble(
        (f"{counts}. Skill is 1 - WPE / WPE of persistence. ", "dim"),
        ("Ceiling: the best in the context's span. REPW (with persistence's and the noise floor) and gain ", "dim"),
        ("are in units of return.\n", "dim"),
        f"cost: fit {cost.fit_seconds:.1f} s, forecast {cost.forecast_seconds:.1f} s, ",
        f"returns {cost.evaluation_seconds:.1f} s, peak memory {cost.peak_memory_bytes / 2**30:.2f} GiB, ",
        f"{record.parameter_count:,} learned parameters",
    )
    parts: list[RenderableType] = [head, "", table, "", foot]
    if learning is None:
        parts.append(Text("No test trial has a learning phase with a full context.", "yellow"))
    return Group(*parts)


def _cells(metric: Metric) -> list[RenderableType]:
    skill = metric.skill
    style = ""
    if skill.low is not None and skill.high is not None:
        style = "green" if skill.low > 0 else "red" if skill.high < 0 else ""
    return [
        str(metric.horizon),
        Text(number(skill.value, 3), style),
        interval(skill, 3),
        Text(number(metric.oracle_skill.value, 3), "dim"),
        number(metric.repw.value, 1),
        interval(metric.repw, 1),
        Text(number(metric.repw_persistence.value, 1), "dim"),
        Text(number(metric.noise_floor.value, 1), "dim"),
        number(metric.gain.value, 1, sign=True),
    ]


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """A number, or a dash where it is undefined."""
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def interval(estimate: Estimate, digits: int) -> str:
    """An interval in brackets, or a dash."""
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
