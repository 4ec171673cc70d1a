"""`leaderboard.parquet`: the document's numbers as one flat table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ...utils.files import replace_atomically
from ..document.numbers import Json

OF_BOARD = ("dataset", "digest", "environment", "protocol", "published")
OF_ROW = (
    "predictor", "version", "consumes", "budget", "variant", "device", "state", "reproduction", "greyed",
    "disputed", "rank", "spread",
)  # fmt: skip
SERIES = ("skill", "repw", "wpe", "gain")
OF_PROVENANCE = ("record", "commit", "dirty", "forecasts_sha256", "cpu", "gpu", "isolation")


def flat(document: Json) -> pd.DataFrame:
    """One row per row of the board, phase and horizon ("1" to "H", and "mean").

    Each estimate is three columns, its value and `_low` and `_high`; what every seed has of its own (`seeds`,
    `seed_skills` and the provenance) is a list in the order of seeds.
    """
    boards = {board["id"]: board for board in document["boards"]}
    table = pd.DataFrame([line for row in document["rows"] for line in _lines(row, boards[row["board"]])])
    whole = dict.fromkeys(("version", "protocol", "rank", "windows", "trials", "parameters"), "Int64")
    texts = dict.fromkeys(("reproduction", "greyed", "disputed"), "string")
    return table.astype({**whole, **texts, **{name: "float64" for name in table if _is_number(str(name))}})


def write(document: Json, path: Path) -> None:
    """Write the table."""
    with replace_atomically(path) as temporary:
        flat(document).to_parquet(temporary, index=False)


def _is_number(name: str) -> bool:
    return name.removesuffix("_low").removesuffix("_high") in {*SERIES, "spread", "ceiling", "noise_floor"}


def _lines(row: Json, board: Json) -> Iterator[Json]:
    head: Json = {"row": row["id"], "board": row["board"]}
    head |= {name: board[name] for name in OF_BOARD} | {name: row[name] for name in OF_ROW}
    tail: Json = {"seeds": row["seeds"], "seed_skills": row["seed_skills"], "tied": row["tied"]} | row["cost"]
    tail |= {name: [origin[name] for origin in row["provenance"]] for name in OF_PROVENANCE}
    for phase, metrics in row["phases"].items():
        about = board["phases"][phase]
        counts = {"phase": phase, "windows": about["windows"], "trials": about["trials"]}
        for horizon in range(len(metrics["skill_by_horizon"]) + 1):
            numbers: Json = {}
            for name in SERIES:
                # Only skill and REPW have a mean over horizons: WPE and gain grow with the horizon.
                of = metrics[f"{name}_by_horizon"][horizon - 1] if horizon else metrics.get(name, {})
                numbers |= {name: of.get("value"), f"{name}_low": of.get("low"), f"{name}_high": of.get("high")}
            references = {name: about[name][horizon - 1] if horizon else None for name in ("ceiling", "noise_floor")}
            yield head | counts | {"horizon": str(horizon or "mean")} | numbers | references | tail
