"""The document's rows across environments: which boards and methods are compared, and how they do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...registry.catalog import catalog
from ...registry.reference import family, version_number
from ..statistics.across import MIN_ENVIRONMENTS_TO_RESAMPLE
from .across import PHASE, EnvironmentEntries, error_ratio, mean_branching_share, mean_share, mean_skill
from .comparison_schema import BoardRanking, OverallComparison
from .entries import Entry
from .environment_board import greyed_reason
from .ranking import rule
from .schema import STATES, EnvironmentBoard, Overall, OverallRow, Row

Identity = tuple[str, int, str, str, str]
FIELDS = ("method", "version", "consumes", "budget", "variant")


def comparisons_across(
    boards: Sequence[EnvironmentBoard], rows: Sequence[Row], entries: Mapping[str, Sequence[Entry]]
) -> list[Overall]:
    """The comparisons across environments, one a protocol, the newest first.

    Each environment is represented by the ranked board of its default dataset under that protocol, or of the newest
    earlier version of that dataset which has one: a new version leaves older comparisons as they are. Compared are the
    methods that stand, not greyed, on all of these boards; where fewer than two do, the boards are the largest set that
    has two in common. One environment alone is no comparison across environments: such a protocol has none.

    Parameters
    ----------
    boards, rows
        The document's.
    entries
        The entries of each board, by its id.
    """
    known = {row.id: row for row in rows}
    found = []
    for protocol, represented in sorted(_represented(boards).items(), reverse=True):
        present = {environment: _present(board, rows) for environment, board in represented.items()}
        environments = common_environments(present)
        if len(environments) < 2:
            continue
        names = {label(identity): identity for identity in _common(present, environments)}
        parts = []
        for environment in environments:
            labels = {present[environment][identity]: name for name, identity in names.items()}
            chosen = [entry for entry in entries[represented[environment]] if entry.id in labels]
            parts.append(EnvironmentEntries(environment, chosen, labels))
        members = {name: [known[present[at][identity]] for at in environments] for name, identity in names.items()}
        ranking = rule(parts[0].entries[0].first.key.protocol)
        found.append(
            Overall(
                protocol=protocol,
                environments=environments,
                left_out=sorted({*present} - {*environments}),
                resampled="trials" if len(environments) < MIN_ENVIRONMENTS_TO_RESAMPLE else "environments",
                ranking=ranking,
                rows=_overall_rows(parts, names, members, ranking),
            )
        )
    return found


def _overall_rows(
    parts: Sequence[EnvironmentEntries],
    names: Mapping[str, Identity],
    members: Mapping[str, Sequence[Row]],
    ranking: BoardRanking,
) -> list[OverallRow]:
    """Methods by label across environments, best first; `members` are their rows, one an environment."""
    environments = [part.environment for part in parts]
    skill = mean_skill(parts, {name: identity[2] for name, identity in names.items()}, ranking)
    share, ratio = mean_share(parts), error_ratio(parts)
    found = [
        OverallRow(
            **dict(zip(FIELDS, identity, strict=True)),
            label=name,
            environments=environments,
            skill=skill.values[name],
            share=share.values[name] if share else None,
            branching_share=mean_branching_share(members[name]),
            error_ratio=ratio.values[name],
            **skill.ranked.place(name),
            comparisons=[
                OverallComparison(
                    label=other,
                    **vars(pair),
                    share=share.pairs[name][other].difference if share else None,
                    error_ratio=ratio.pairs[name][other].difference,
                )
                for other, pair in skill.pairs[name].items()
            ],
            **_members(members[name], environments),
        )
        for name, identity in names.items()
    ]
    best = {name: -math.inf if value.value is None else value.value for name, value in skill.values.items()}
    return sorted(found, key=lambda row: (-best[row.label], row.label))


def _members(rows: Sequence[Row], environments: Sequence[str]) -> dict[str, Any]:
    """The rows that an overall one stands for, the lowest of their states, and what disputes any."""
    disputes = [f"{name}: {row.disputed}" for name, row in zip(environments, rows, strict=True) if row.disputed]
    return {
        "rows": [row.id for row in rows],
        "state": min((row.state for row in rows), key=[*STATES].index),
        "disputed": "; ".join(disputes) or None,
    }


def label(identity: Identity) -> str:
    """A method's label, unique among those compared."""
    name, version, consumes, budget, variant = identity
    return " ".join(filter(None, (name, f"v{version}", budget, variant, "" if consumes == "weights" else consumes)))


def common_environments(present: Mapping[str, Iterable[Identity]]) -> list[str]:
    """The largest set of environments that have two methods in common; of equal ones, that with more of these."""
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


def _represented(boards: Sequence[EnvironmentBoard]) -> dict[int, dict[str, str]]:
    """By protocol, the board that represents each environment: of its default dataset, else of an earlier version."""
    listed = catalog()
    defaults = {entry.environment: name for name, entry in listed.items() if entry.default}
    found: dict[int, dict[str, str]] = {}
    for board in sorted(boards, key=lambda board: version_number(board.dataset)):
        default, entry = defaults.get(board.environment), listed.get(board.dataset)
        if default is None or entry is None or entry.environment != board.environment:
            continue
        is_version = family(board.dataset) == family(default) and version_number(board.dataset) <= version_number(
            default
        )
        if is_version and board.ranked and board.headline == PHASE and greyed_reason(board) is None:
            found.setdefault(board.protocol, {})[board.environment] = board.id
    return found


def _present(board: str, rows: Sequence[Row]) -> dict[Identity, str]:
    """The ids of a board's rows that stand, by what they are; of several devices the CPU's, else the first by name."""
    found: dict[Identity, str] = {}
    standing = [row for row in rows if row.board == board and row.greyed is None]
    for row in sorted(standing, key=lambda row: (row.device != "cpu", row.device, row.id)):
        found.setdefault((row.method, row.version, row.consumes, row.budget, row.variant), row.id)
    return found
