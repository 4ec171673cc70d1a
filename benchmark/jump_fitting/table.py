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
    head = Text.assemble(
        (f"{key.predictor} for jumps on {key.method.label}", "bold"),
        f", {key.protocol.environment}\n",
        (
            f"fitted on {record.fitted_trials} training trials of {record.dataset.name} (digest "
            f"{record.dataset.digest[:12]}), trained with {record.trained_with}",
            "dim",
        ),
    )
    table = FoldedTable(
        "tuning trials",
        [ColumnGroup(("AUC", "95% interval")), ColumnGroup(("more than without", "95% interval"))],
    )
    table.add_row("without jumps", [_cells(record.plain.auc), ["", ""]], end_section=True)
    for one in record.tuned:
        style = "bold" if one is best else ""
        label = " ".join(setting.removeprefix(f"{JUMP}.") for setting in one.settings)
        cells = [_cells(one.auc), _cells(one.gain, sign=True)]
        table.add_row(Text(f"{label}{' *' if one is best else ''}", style), cells)
    foot = Text(
        f"* kept: the highest AUC of {len(record.tuned)} configurations, which flatters it; the test trials tell.\n"
        f"cost: {record.collected_steps:,} environment steps collected, {record.fit_seconds:.0f} s of fitting, "
        f"{record.tuning_steps:,} steps of tuning",
        "dim",
    )
    return Group(head, "", table, "", foot)


def _cells(estimate: Estimate | None, *, sign: bool = False) -> list[str]:
    if estimate is None:
        return ["", ""]
    return [number(estimate.value, DIGITS, sign=sign), interval(estimate, DIGITS)]
