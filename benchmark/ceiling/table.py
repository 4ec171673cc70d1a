"""The table of a branching ceiling for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ...utils.tables import ColumnGroup, FoldedTable
from ..forecast.windows import PHASES
from ..intervals import Estimate
from ..protocol import protocol
from ..table import interval, number
from .document import CeilingDocument
from .estimate import BranchingCeiling, estimate_ceiling

DIGITS = 3


def render(document: CeilingDocument) -> RenderableType:
    """The ceiling of each phase by horizon with intervals, and by position within the PPO iteration."""
    version = protocol(document.protocol)
    found = [ceiling for phase in PHASES if (ceiling := estimate_ceiling(document, phase, version))]
    drift = max((window.drift for window in document.windows), default=0.0)
    head = Text.assemble(
        (f"branching ceiling of {document.dataset}", "bold"),
        f", protocol {document.protocol}, {document.copies} continuations a window, seed {document.seed}\n",
        (f"dataset digest {document.digest[:12]}; trained again, its trials were off by at most {drift:.1g} of", "dim"),
        (" a checkpoint's step", "dim"),
    )
    about = "The skill of the best forecast that knows the whole training state, the current batch included."
    return Group(head, *(part for ceiling in found for part in _phase(ceiling)), "", Text(about, "dim"))


def _phase(ceiling: BranchingCeiling) -> list[RenderableType]:
    means, by_horizon = ceiling.positions
    places = [ColumnGroup((str(place + 1),), "position") for place in range(len(means))]
    table = FoldedTable("h", [ColumnGroup(("ceiling", "95% interval")), *places])
    for h, (estimate, at) in enumerate(zip(ceiling.by_horizon, by_horizon, strict=True), 1):
        last = h == len(by_horizon)
        table.add_row(str(h), [_cells(estimate), *((number(value, DIGITS),) for value in at)], end_section=last)
    table.add_row("mean", [_cells(ceiling.mean), *((number(value, DIGITS),) for value in means)])
    about = (
        f"{ceiling.phase} phase: {ceiling.windows} windows of {ceiling.trials} trials, also by the origin's position"
    )
    stored = f"Check: on the stored trials' own futures it is {' '.join(_cells(ceiling.stored))} (mean over h)."
    return ["", Text(f"{about} within the PPO iteration"), table, Text(stored, "dim")]


def _cells(estimate: Estimate) -> tuple[str, str]:
    return number(estimate.value, DIGITS), interval(estimate, DIGITS)
