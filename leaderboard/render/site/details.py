"""What is read when a row is opened: its whole story, in chunks of neighbouring rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .escaping import script_call

CHUNK_BYTES = 256 * 1024
"""A chunk closes once it is this long: one opened row costs about this much to read."""
LISTENER = "tiplBoard"
"""The page's global function that every script of `board/` calls."""


def chunks(document: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Name, script and number of rows of every chunk, rows in the document's order."""
    place = {row["id"]: index for index, row in enumerate(document["rows"])}
    held: dict[str, Any] = {}
    size = number = 0
    for row in document["rows"]:
        held[row["id"]] = details = _details(row, place)
        size += _size(details)
        if size >= CHUNK_BYTES:
            yield _chunk(number, held)
            held, size, number = {}, 0, number + 1
    if held:
        yield _chunk(number, held)


def _chunk(number: int, rows: dict[str, Any]) -> tuple[str, str, int]:
    name = f"rows-{number:03d}"
    return name, script_call(LISTENER, name, rows), len(rows)


def _details(row: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    """A row without what the page already holds; other rows by their number."""
    kept = ("options", "evidence", "seeds", "seed_skills", "spread", "cost", "returns", "provenance", "commands")
    return {
        **{name: row[name] for name in kept},
        "tied": [place[other] for other in row["tied"]],
        "phases": {phase: _phase(table) for phase, table in row["phases"].items()},
        "comparisons": [
            [place[other["row"]], *_triple(other["difference"]), *_triple(other["win_rate"])]
            for other in row["comparisons"]
        ],
    }


def _phase(table: dict[str, Any]) -> dict[str, Any]:
    series = ("skill_by_horizon", "repw_by_horizon", "wpe_by_horizon", "gain_by_horizon")
    return {
        "skill": _triple(table["skill"]),
        "repw": _triple(table["repw"]),
        **{name.removesuffix("_by_horizon") + "_at": [_triple(value) for value in table[name]] for name in series},
        "layers": table["layers"],
    }


def _triple(estimate: dict[str, Any]) -> list[float | None]:
    return [estimate["value"], estimate["low"], estimate["high"]]


def _size(details: dict[str, Any]) -> int:
    """Roughly the bytes of a row: numbers of its parts that grow, at a dozen bytes each."""
    horizons = sum(12 * len(table["skill_at"]) for table in details["phases"].values())
    layers = sum(len(series) for table in details["phases"].values() for series in table["layers"].values())
    growing = 4 * len(details["returns"]) + 7 * len(details["comparisons"]) + horizons + layers
    return 12 * growing + 1000 * (1 + len(details["provenance"]))
