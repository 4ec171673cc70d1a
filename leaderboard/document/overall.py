"""The document's rows across environments: which boards and predictors are compared, and how they do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ...benchmark.protocol import CURRENT
from ...registry.catalog import catalog
from ..statistics.across import overall
from .entries import STATES, Entry, frame
from .numbers import Json, estimate

Identity = tuple[str, int, str, str, str]
FIELDS = ("predictor", "version", "consumes", "budget", "variant")
PHASE = "learning"


def overall_rows(
    boards: Sequence[Json], rows: Sequence[Json], entries: Mapping[str, Sequence[Entry]]
) -> tuple[list[Json], Json]:
    """Predictors across environments, best first, and what the comparison is of.

    Each environment is represented by the board of its default dataset under the current protocol, where that is
    ranked. Compared are the predictors that stand, not greyed, on all of these boards; where fewer than two do, the
    boards are the largest set that has two in common. One environment alone is no comparison across environments: then
    there are no rows.

    Parameters
    ----------
    boards, rows
        The document's.
    entries
        The entries of each board, by its id.

    Returns
    -------
    list of dict, dict
        The rows, and the scope: `environments`, those `left_out` of the ranked ones, and what is `resampled` ("trials"
        or "environments"; None without rows).
    """
    represented = {board["environment"]: board["id"] for board in boards if _represents(board)}
    present = {environment: _present(board, rows) for environment, board in represented.items()}
    environments = common_environments(present)
    scope = {"environments": environments, "left_out": sorted({*present} - {*environments}), "resampled": None}
    if len(environments) < 2:
        return [], scope
    names = {label(identity): identity for identity in _common(present, environments)}
    parts = []
    for environment in environments:
        chosen = {present[environment][identity]: name for name, identity in names.items()}
        part = frame([entry for entry in entries[represented[environment]] if entry.id in chosen], PHASE)
        parts.append(part.assign(entry=part["entry"].map(chosen), environment=environment))
    found = overall(
        pd.concat(parts),
        {name: consumes for name, (_, _, consumes, _, _) in names.items()},
        resamples=CURRENT.resamples,
        level=CURRENT.confidence,
        seed=CURRENT.bootstrap_seed,
    )
    rank, tied = (dict(found.ranks[column].items()) for column in ("rank", "tied"))
    known = {row["id"]: row for row in rows}
    skill = {str(name): estimate(row) for name, row in zip(found.skills.index, found.skills.to_numpy(), strict=True)}
    made = [
        dict(zip(FIELDS, identity, strict=True))
        | {
            "label": name,
            "environments": environments,
            "skill": skill[name],
            "rank": rank[name],
            "tied": tied[name],
            **_members([known[present[environment][identity]] for environment in environments], environments),
        }
        for name, identity in names.items()
    ]
    best = found.skills["value"].fillna(-math.inf).to_dict()
    return sorted(made, key=lambda row: (-best[row["label"]], row["label"])), scope | {"resampled": found.resampled}


def _members(rows: Sequence[Json], environments: Sequence[str]) -> Json:
    """The rows that an overall one stands for, the lowest of their states, and what disputes any."""
    disputes = [f"{name}: {row['disputed']}" for name, row in zip(environments, rows, strict=True) if row["disputed"]]
    return {
        "rows": [row["id"] for row in rows],
        "state": min((row["state"] for row in rows), key=STATES.index),
        "disputed": "; ".join(disputes) or None,
    }


def label(identity: Identity) -> str:
    """A predictor's label, unique among those compared."""
    name, version, consumes, budget, variant = identity
    return " ".join(filter(None, (name, f"v{version}", budget, variant, "" if consumes == "weights" else consumes)))


def common_environments(present: Mapping[str, Iterable[Identity]]) -> list[str]:
    """The largest set of environments that have two predictors in common; of equal ones, that with more of these."""
    environments = sorted(present)
    if len(_common(present, environments)) > 1:
        return environments
    where: dict[Identity, frozenset[str]] = {
        identity: frozenset(environment for environment in environments if identity in present[environment])
        for identity in sorted({identity for found in present.values() for identity in found})
    }
    sets = {one & other for one, other in itertools.combinations(where.values(), 2)}
    return min((sorted(found) for found in sets), key=lambda e: (-len(e), -len(_common(present, e)), e), default=[])


def _common(present: Mapping[str, Iterable[Identity]], environments: Iterable[str]) -> list[Identity]:
    found = [set(present[environment]) for environment in environments]
    return sorted(set.intersection(*found)) if found else []


def _represents(board: Json) -> bool:
    """Whether a board is its environment's in the overall comparison."""
    listed = catalog().get(board["dataset"])
    default = listed is not None and listed.default and listed.environment == board["environment"]
    greyed = board["superseded"] or board["yanked"]
    return bool(default and board["ranked"] and board["headline"] == PHASE and not greyed)


def _present(board: str, rows: Sequence[Json]) -> dict[Identity, str]:
    """The ids of a board's rows that stand, by what they are; of several devices the CPU's, else the first by name."""
    found: dict[Identity, str] = {}
    standing = [row for row in rows if row["board"] == board and row["greyed"] is None]
    for row in sorted(standing, key=lambda row: (row["device"] != "cpu", row["device"], row["id"])):
        name, version, consumes, budget, variant = (row[field] for field in FIELDS)
        found.setdefault((name, version, consumes, budget, variant), row["id"])
    return found
