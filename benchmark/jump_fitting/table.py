"""The table of a fit for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ...utils.tables import ColumnGroup, FoldedTable
from ..intervals import Estimate
from ..table import interval, number
from .record import JUMP, JumpFitRecord

DIGITS = 3


def render(record: JumpFitRecord) -> RenderableType:
    """What was fitted, and what each configuration had on the tuning trials."""
    key, best = record.key, record.best
    other = "" if record.trained_with == key.method.label else f", trained with {record.trained_with}"
    head = Text.assemble(
        (f"{key.predictor} for jumps on {key.protocol.environment}", "bold"),
        (f"\nmethod: {key.method.label}", "dim"),
        (f"\nfitted on {record.fitted_trials} training trials of {record.dataset.name}{other}", "dim"),
    )
    table = FoldedTable(
        "tuning trials",
        [ColumnGroup(("AUC", "95% interval")), ColumnGroup(("more than without", "95% interval"))],
        justify="left",
    )
    table.add_row("without jumps", [_cells(record.plain.auc), ["", ""]])
    for one in record.tuned:
        label = " ".join(setting.removeprefix(f"{JUMP}.") for setting in one.settings)
        name = Text(f"{label} *", "bold") if one is best else label
        table.add_row(name, [_cells(one.auc), _cells(one.gain, sign=True)])
    worse = (best.gain.value or 0.0) <= 0 if best.gain else False
    foot = Text.assemble(
        ("None of these jumps is better than none on the tuning trials.\n" if worse else "", "yellow"),
        ("* kept: the highest AUC, which choosing flatters; the test trials tell\n", "dim"),
        (
            f"cost: {record.collected_steps:,} environment steps collected, {record.tuning_steps:,} of tuning, "
            f"{record.fit_seconds:.0f} s of fitting",
            "dim",
        ),
    )
    return Group(head, "", table, "", foot)


def _cells(estimate: Estimate | None, *, sign: bool = False) -> list[str]:
    if estimate is None:
        return ["", ""]
    return [number(estimate.value, DIGITS, sign=sign), interval(estimate, DIGITS)]
