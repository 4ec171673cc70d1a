"""One board of the document: what is said of it, and its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from ...benchmark.ceiling.document import published_ceiling
from ...benchmark.ceiling.estimate import BranchingCeiling, estimate_ceiling
from ...benchmark.forecast.windows import PHASES
from ...registry.catalog import CatalogEntry
from ...utils.canonical import canonical_json
from ..statistics.board import MIN_TRIALS, seed_skills, skills, win_rates
from .comparison_schema import Comparison
from .entries import Entry
from .metric_values import (
    ERROR,
    PERSISTENCE,
    board_phase,
    bootstrap_settings,
    branching_shares,
    headline_frame,
    headline_phase,
    is_above_ceiling,
    layers,
    positions,
    present_phases,
    row_values,
    trial_errors,
)
from .numbers import estimate, rounded
from .ranking import Ranked, ranked, rule
from .rows import describe_entry
from .schema import STATES, EnvironmentBoard, Row

Ceilings = Mapping[str, BranchingCeiling]
NEWER_PROTOCOL, OTHER_BYTES = "a newer protocol", "other bytes of the dataset under the same name"

REFUTED = "its claim does not hold on fresh trials"


def board_ceilings(entries: Sequence[Entry], listed: CatalogEntry | None) -> Ceilings:
    """By phase, the branching ceiling that is published for a board; none for other bytes than the catalog has."""
    key = entries[0].first.key
    if listed is not None and listed.identity.first_digest != key.dataset.first_digest:
        listed = None
    branched = published_ceiling(key.dataset.name, key.protocol.version, listed)
    if branched is None:
        return {}
    found = {phase: estimate_ceiling(branched, phase, key.protocol) for phase in PHASES}
    return {phase: ceiling for phase, ceiling in found.items() if ceiling}


def environment_board(
    name: str, entries: Sequence[Entry], listed: CatalogEntry | None, newest_protocol: int, ceilings: Ceilings
) -> EnvironmentBoard:
    """One dataset under one protocol.

    Parameters
    ----------
    name
        The board's id.
    entries
        Its entries.
    listed
        What the catalog has under the dataset's name.
    newest_protocol
        The newest protocol version of which the document has a board of this dataset.
    ceilings
        Its branching ceilings.
    """
    key, headline = entries[0].first.key, headline_phase(entries[0].first)
    superseded = NEWER_PROTOCOL if key.protocol.version < newest_protocol else None
    if listed is not None and listed.identity.first_digest != key.dataset.first_digest:
        listed, superseded = None, OTHER_BYTES
    about = {phase: board_phase(entries, phase, ceilings.get(phase)) for phase in present_phases(entries[0])}
    return EnvironmentBoard(
        id=name,
        dataset=key.dataset.name,
        digest=key.dataset.first_digest,
        environment=key.dataset.environment,
        repo=listed.repo if listed else None,
        commit=listed.commit if listed else None,
        published=bool(listed and (listed.bundled or listed.repo)),
        yanked=listed.yanked if listed else None,
        superseded=superseded,
        protocol=key.protocol.version,
        trials=about[headline].trials,
        ranked=about[headline].trials >= MIN_TRIALS,
        ranking=rule(key.protocol),
        headline=headline,
        phases=about,
        trial_errors=trial_errors(entries[:1], headline, PERSISTENCE)[entries[0].id],
        continuations=next((ceiling.copies for ceiling in ceilings.values()), None),
    )


def greyed_reason(board: EnvironmentBoard) -> str | None:
    """Why all rows of a board are greyed; one of an older protocol stays as it is, below the newer one's."""
    if board.yanked:
        return f"the dataset is yanked: {board.yanked}"
    return f"superseded by {board.superseded}" if board.superseded == OTHER_BYTES else None


def board_rows(board: EnvironmentBoard, entries: Sequence[Entry], ceilings: Ceilings) -> list[Row]:
    """The board's rows, best first, greyed ones last."""
    settings = bootstrap_settings(entries[0].first.key.protocol)
    table = headline_frame(entries, board.headline)
    skill = skills(table, **settings)
    wins = win_rates(table, level=settings["level"])
    greyed = {name: greyed_reason(board) or replaced for name, replaced in _replaced(entries).items()}
    refuted = [entry.id for entry in entries if entry.state == "not confirmed" and greyed[entry.id] is None]
    greyed |= dict.fromkeys(refuted, REFUTED)
    classes = {entry.id: entry.first.key.method.consumes for entry in entries}
    standing = {name: classes[name] for name in sorted(greyed) if board.ranked and greyed[name] is None}
    by_metric = ranked(entries, board.headline, standing, board.ranking)
    headline, *others = by_metric
    best, spread = skill["value"].fillna(-math.inf).to_dict(), skill["spread"].to_dict()
    by_seed: dict[str, list[float | None]] = {}
    per_seed = seed_skills(table)
    for name, value in zip(per_seed.index.get_level_values("entry"), per_seed.to_numpy(), strict=True):
        by_seed.setdefault(str(name), []).append(rounded(float(value)))
    seeds_are_a_level = board.ranking.correction != "none"
    values = {phase: row_values(entries, phase, seeds_are_a_level=seeds_are_a_level) for phase in board.phases}
    shares = branching_shares(
        entries, board.headline, ceilings.get(board.headline), seeds_are_a_level=seeds_are_a_level
    )
    errors = trial_errors(entries, board.headline, ERROR)
    rows = [
        Row(
            **describe_entry(entry),
            greyed=greyed[entry.id],
            **by_metric[headline].place(entry.id),
            ranks={name: by_metric[name].places[entry.id] for name in others if entry.id in standing},
            above_ceiling=is_above_ceiling(values[board.headline][entry.id], board.phases[board.headline]),
            branching_share=shares.get(entry.id),
            phases={phase: values[phase][entry.id] for phase in board.phases},
            positions={phase: found for phase in board.phases if (found := positions(entry.results(phase)))},
            trial_errors=errors[entry.id],
            layers={phase: layers(entry.results(phase)) for phase in board.phases},
            comparisons=_comparisons(entry.id, by_metric, wins) if len(entries) > 1 else (),
            seed_skills=by_seed[entry.id],
            spread=rounded(spread[entry.id]),
        )
        for entry in entries
    ]
    return sorted(rows, key=lambda row: (row.greyed is not None, -best[row.id], row.id))


def _replaced(entries: Sequence[Entry]) -> dict[str, str | None]:
    """By entry, whether the board holds a later version of its method in the same configuration.

    Only one at least as well attested counts: anybody may claim a version of another's method.
    """
    versions: dict[str, list[tuple[int, tuple[bool, int]]]] = {}
    own: dict[str, tuple[str, int, tuple[bool, int]]] = {}
    for entry in entries:
        key = entry.first.key
        same = canonical_json([key.method.model_dump(mode="json", exclude={"version"}), key.device])
        attested = (entry.disputed is None, [*STATES].index(entry.state))
        own[entry.id] = same, key.method.version, attested
        versions.setdefault(same, []).append((key.method.version, attested))
    reasons: dict[str, str | None] = {}
    for name, (same, version, attested) in own.items():
        newest = max(later for later, theirs in versions[same] if theirs >= attested)
        reasons[name] = f"superseded by version {newest}" if newest > version else None
    return reasons


def _comparisons(name: str, by_metric: Mapping[str, Ranked], wins: pd.DataFrame) -> tuple[Comparison, ...]:
    """An entry against every other one of its board."""
    first, *others = by_metric
    beside = {metric: by_metric[metric].comparisons(name) for metric in others}
    mine = wins.loc[name]
    rates = {str(other): estimate(each) for other, each in zip(mine.index, mine.to_numpy(), strict=True)}
    return tuple(
        Comparison(
            row=other,
            **vars(found),
            others={metric: pairs[other] for metric, pairs in beside.items()},
            win_rate=rates[other],
        )
        for other, found in by_metric[first].comparisons(name).items()
    )
