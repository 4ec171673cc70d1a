"""docs/paper-budget.md: the published model after all of the paper's updates, from the files that are kept of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...baselines.plugins.discovery import SEES_THE_FUTURE
from ...registry.dataset import Dataset
from ...utils.errors import DatasetError
from ...utils.files import write_text
from ..intervals import Estimate, bootstrap
from ..protocol import CURRENT
from .page import HORIZONS, draw_presentation, series
from .presentation import HORIZON, Presentation, present
from .templating import templates

BUDGET = "paper"
MODELS = (SEES_THE_FUTURE, "persistence")
LOG_NAME = "fit.log"
LOG_EVERY = 10.0
"""Seconds between two lines of the log."""
LINE = re.compile(r"([\d.]+) fit \S+ (\d+) \d+ (?:validation skill \S+ last (\S+))?$")
"""A line of the log: seconds, updates, and the skill at the last look at the validation trials."""
KEY = ["trial", "origin", "horizon"]


def make(dataset: Dataset, folder: Path, device: str) -> None:
    """Fit and present the published model with the paper's budget; what is in the folder is not made again.

    Parameters
    ----------
    dataset
        Of whole trajectories.
    folder
        For the presentation's files (`present`) and `fit.log`: the device's name, then a line every ten seconds with
        seconds, updates and the skill on the validation trials.
    device
        A CUDA device, such as `cuda`.
    """
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    folder.mkdir(parents=True, exist_ok=True)
    started, logged = time.monotonic(), float("-inf")
    with (folder / LOG_NAME).open("a", encoding="utf-8") as log:

        def note(stage: str, done: int, total: int, word: str) -> None:
            nonlocal logged
            now = time.monotonic()
            if stage.startswith("fit") and (now - logged >= LOG_EVERY or done == total):
                if logged < started:  # nothing is logged by a call that has nothing to fit, or is refused
                    print(f"{name} {torch.__version__}", file=log)
                logged = now
                print(f"{now - started:.1f} {stage} {done} {total} {word}", file=log, flush=True)

        present(Presentation(dataset, folder, BUDGET, device=device), note, MODELS)


def render(folder: Path, out: Path) -> Path:
    """Write the page into `out` from what `make` left in a folder, and its figure into `reproduction/` there."""
    needed = (*(f"{model}.parquet" for model in MODELS), "key.json", LOG_NAME)
    if lacking := [name for name in needed if not (folder / name).exists()]:
        raise DatasetError(f"{folder} lacks {', '.join(lacking)}, which the page is made of; make them with a dataset.")
    rows = {model: pd.read_parquet(folder / f"{model}.parquet") for model in MODELS}
    key = json.loads((folder / "key.json").read_text("utf-8"))
    values = training(folder / LOG_NAME, key["options"]["validate_every"]) | compared(rows)
    draw_presentation(rows, out / "reproduction" / "paper-budget.png", f"{values['updates']:,} updates")
    values |= {"key": key, "horizons": HORIZONS, "steps": HORIZON, "confidence": CURRENT.confidence}
    path = out / "paper-budget.md"
    write_text(path, templates().get_template("paper-budget.md.j2").render(values))
    return path


def training(log: Path, validate_every: int) -> dict[str, Any]:
    """What a log says of the training; of what was made again after an interruption, the later part counts."""
    lines = log.read_text("utf-8").splitlines()
    starts = [at for at, line in enumerate(lines) if not LINE.match(line)]
    parts = []
    for start, end in pairwise([*starts, len(lines)]):
        found = [match.groups() for match in map(LINE.match, lines[start:end]) if match]
        parts.append(pd.DataFrame(found, columns=["seconds", "updates", "skill"]).astype(float))
    resumed = [int(part["updates"].iloc[0]) for part in parts[1:]]
    curve = pd.concat([part[part["updates"] <= end] for part, end in zip(parts, [*resumed, np.inf], strict=True)])
    updates, skills = (curve.dropna()[name].to_numpy() for name in ("updates", "skill"))
    steps = pd.concat([part.diff().iloc[1:] for part in parts])
    tenths = [int(np.abs(updates - updates.max() * tenth / 10).argmin()) for tenth in range(1, 11)]
    return {
        "device": lines[0].rpartition(" ")[0],
        "updates": int(updates.max()),
        "resumed": resumed,
        "rate": float((steps["updates"] / steps["seconds"]).median()),
        "looks": [(int(updates[at]) // validate_every * validate_every, float(skills[at])) for at in tenths],
    }


def compared(rows: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """How the published model's errors stand to persistence's, and on how many windows that rests."""
    published, still = (rows[model] for model in MODELS)
    difference = paired(published, still)
    windows = difference.groupby(["trial", "origin"]).mean()
    wrong = (return_errors(published) + return_errors(still)).groupby(["trial", "origin"]).sum() > 0
    origins = windows.index.get_level_values("origin")
    rest = windows.drop(windows.abs().idxmax())
    return {
        "series": [series(rows[model], still, model) for model in MODELS],
        "windows": len(windows),
        "trials": still["trial"].nunique(),
        "learning": float((still["phase"] == "learning").mean()),
        "wrong": int(wrong.sum()),
        "wrong_first": int((wrong.to_numpy() & (origins == origins.min())).sum()),
        "difference": interval(difference),
        "rest": float(rest.mean()),
    }


def return_errors(rows: pd.DataFrame) -> pd.Series[float]:
    """REPW by trial, origin and step."""
    return rows.set_index(KEY)["repw"].sort_index()


def paired(rows: pd.DataFrame, baseline: pd.DataFrame) -> pd.Series[float]:
    """REPW less that of a baseline, by trial, origin and step; raises `ValueError` if they have other windows."""
    one, other = return_errors(rows), return_errors(baseline)
    if not one.index.equals(other.index):
        raise ValueError("the rows that are compared are of different windows.")
    return one - other


def interval(difference: pd.Series[float]) -> Estimate:
    """The mean of a difference with its interval over trials."""
    trials = difference.groupby("trial").mean().to_numpy()
    return bootstrap(lambda index: trials[index].mean(-1), len(trials), CURRENT)
