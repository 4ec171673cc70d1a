"""`docs/predictors.md`: every predictor of this package, from its class, with what the boards say of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from ...baselines import IN_TREE, predictor_type
from ...baselines.options import describe_options, option_text
from ...benchmark.intervals import UNDEFINED
from ..document.schema import LeaderboardDocument
from .escaping import markdown_text
from .markdown import interval, number
from .reference import lines

HEAD = """# Predictors

Every predictor of this package: its method and source, what it reads, its options and budgets, and its rows on the
boards that are current. `tipl-bench leaderboard build` writes this page from the classes and the records.

## What the rows teach

Of the bundled board under protocol 2, in skill; the numbers are below and on the board.

- `mean-trajectory` knows the training trials' mean update at the same place of the schedule, and has no skill: what
  the others forecast is a trial's own dynamics.
- `linear`, `dmd` and `holt` extrapolate a trial's own past. A plain line is far worse than standing still. With its
  constants fitted to other trials (`holt`) it is worth much, and most when its coefficients also depend on the place
  within the PPO iteration: that is `autoregression`.
- `introspection`, `farcasting`, `wnn`, `wnn-plus` and `nino` are the field's networks, trained on the same trials.
  They are not told that place, and lie between `dmd` and `autoregression`.
- `mlp` is told it: a network of one weight's past adds a little to the line. `adam-moments` adds nothing: as far as
  past weights show the moments of Adam, the line has taken it out of them.
- `ema` and `lawa` average past weights, which lie behind the origin. As forecasts they are far below standing still.
- `tipl` sees whole weight vectors in their own basis. At `quick` it is where the line is; trained thirty times as
  long it is above it.
- `tipl-neuron` sees every neuron among its neighbours, which is worth more than all of the above; `ensemble` averages
  three of them, and is not told apart from one.
- `continuation` runs the environment. What it has is a lower bound of what can be known without the trial's hidden
  state.
"""


def render(document: LeaderboardDocument) -> str:
    """The page as Markdown; the same package and records give the same text."""
    return "\n".join([HEAD, *(_predictor(name, document) for name in IN_TREE)])


def _predictor(name: str, document: LeaderboardDocument) -> str:
    kind = predictor_type(name)
    about = f"Version {kind.version}, reads `{kind.consumes}`{', transfers to other environments' * kind.transfers}."
    text = inspect.cleandoc(kind.__doc__ or "")
    parts = [f"## `{name}`", markdown_text(kind.summary), text, about, _options(kind), _results(name, document)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _options(kind: Any) -> str:
    """A table of the options, with a column for each budget that sets some."""
    options = describe_options(kind)
    budgets = {name: values for name, values in kind.budgets.items() if values}
    rows = [
        (
            f"`{option}`",
            option_text(info.default),
            *(option_text(values[option]) if option in values else "" for values in budgets.values()),
            info.description,
        )
        for option, info in options.items()
    ]
    return lines(("option", "default", *budgets, "meaning"), rows).rstrip() if rows else ""


def _results(name: str, document: LeaderboardDocument) -> str:
    """Its rows on the boards of the newest protocol of each dataset."""
    rows = list(_rows(name, document))
    headline = document.scores[0]
    head = ("board", "rank", "variant", headline.label, "interval", "REPW", "fit, s", "state")
    return lines(head, rows).rstrip() if rows else ""


def _rows(name: str, document: LeaderboardDocument) -> Iterator[tuple[str, ...]]:
    boards = {board.id: board for board in document.boards if not board.superseded}
    digits = {metric.name: metric.digits for metric in document.scores}
    for row in document.rows:
        if row.method != name or row.board not in boards:
            continue
        phase = row.phases[boards[row.board].headline]
        skill, repw = (phase[metric].mean or UNDEFINED for metric in ("skill", "repw"))
        yield (
            f"{boards[row.board].dataset}, protocol {boards[row.board].protocol}",
            f"{'-' if row.rank is None else row.rank}{'=' if row.tied else ''}",
            markdown_text(" ".join(filter(None, (row.budget, row.variant)))),
            number(skill.value, digits["skill"]),
            interval(skill, digits["skill"]),
            number(repw.value, digits["repw"]),
            number(row.cost.fit_seconds, 1),
            row.state,
        )
