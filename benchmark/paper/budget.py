"""docs/paper-budget.md: the published model after all of the paper's updates, from the rows that are kept of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...baselines.plugins.discovery import SEES_THE_FUTURE
from ...utils.files import write_text
from ..intervals import Estimate, bootstrap
from ..protocol import CURRENT
from .page import HORIZONS, Series, draw_presentation, number, series, small
from .templating import templates

KEY = ["trial", "origin", "horizon"]
CURVE_NAME, FIT_NAME = "validation.csv", "fit.json"


@dataclass(frozen=True)
class PaperBudget:
    """A presentation of the published model, whose training took a GPU, read from the folder that keeps it.

    Parameters
    ----------
    folder
        Of `present`: `key.json`, the fitted model, and the rows of the published model and of persistence; beside them
        `validation.csv` (`updates` and `skill`, logged as it trained) and `fit.json` (device, seconds, updates).
    """

    folder: Path

    def rows(self, model: str) -> pd.DataFrame:
        """A model's rows, as `present` makes them."""
        return pd.read_parquet(self.folder / f"{model}.parquet")

    def values(self) -> dict[str, Any]:
        """What the page says."""
        published, still = self.rows(SEES_THE_FUTURE), self.rows("persistence")
        curve = pd.read_csv(self.folder / CURVE_NAME)
        return {
            "key": json.loads((self.folder / "key.json").read_text("utf-8")),
            "fit": json.loads((self.folder / FIT_NAME).read_text("utf-8")),
            "series": self.series(),
            "windows": len(still[still["horizon"] == 1]),
            "trials": still["trial"].nunique(),
            "decide": int(((still.set_index(KEY)["repw"] != 0) | (published.set_index(KEY)["repw"] != 0)).sum()),
            "pairs": len(still),
            "difference": repw_difference(published, still),
            "curve": _thinned(curve),
        }

    def series(self) -> Sequence[Series]:
        """The published model's and persistence's."""
        still = self.rows("persistence")
        return [series(self.rows(model), still, model) for model in (SEES_THE_FUTURE, "persistence")]


def repw_difference(rows: pd.DataFrame, baseline: pd.DataFrame) -> Estimate:
    """The mean REPW of rows less that of others of the same windows, with its interval over trials."""
    both = rows.set_index(KEY)["repw"] - baseline.set_index(KEY)["repw"]
    trials = both.groupby("trial").mean().to_numpy()
    return bootstrap(lambda index: trials[index].mean(-1), len(trials), CURRENT)


def render(kept: PaperBudget, environment: str, folder: Path) -> Path:
    """Write the page into a folder, and its figure into `reproduction/` there."""
    frames = {model: kept.rows(model) for model in (SEES_THE_FUTURE, "persistence")}
    values = kept.values()
    title = f"{environment}, the paper's presentation\n{values['fit']['updates']:,} updates"
    draw_presentation(frames, folder / "reproduction" / "paper-budget.png", title)
    engine = templates()
    engine.filters |= {"small": small, "number": number}
    path = folder / "paper-budget.md"
    text = engine.get_template("paper-budget.md.j2").render(values, environment=environment, horizons=HORIZONS)
    write_text(path, text)
    return path


def _thinned(curve: pd.DataFrame) -> list[tuple[int, float]]:
    """The logged points nearest to every tenth of the training."""
    updates, skills = curve["updates"].to_numpy(), curve["skill"].to_numpy()
    nearest = [int(np.abs(updates - updates.max() * tenth / 10).argmin()) for tenth in range(1, 11)]
    return [(int(updates[at]), float(skills[at])) for at in nearest]
