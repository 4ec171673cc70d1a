"""One board of the document: what is said of it, and its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...benchmark.protocol import CURRENT, Protocol
from ...benchmark.record import Result
from ...registry.catalog import CatalogEntry
from ...utils.canonical import canonical_json
from ..statistics.board import (
    FEWEST_TRIALS,
    board_sums,
    class_ranks,
    differences,
    estimates,
    seed_skills,
    skills,
    win_rates,
)
from .entries import STATES, Entry, frame
from .numbers import Json, estimate, rounded
from .rows import describe_entry

PHASES = ("learning", "converged", "all")


class Board:
    """One dataset under one protocol: its entries, and what the document says of both."""

    def __init__(self, name: str, entries: list[Entry], listed: CatalogEntry | None) -> None:
        key = entries[0].first.key
        self.id, self.entries, self.key = name, entries, key
        self.protocol: Protocol = key.protocol
        self.settings: Json = {
            "resamples": self.protocol.resamples,
            "level": self.protocol.confidence,
            "seed": self.protocol.bootstrap_seed,
        }
        present = {result.phase for result in entries[0].first.results}
        self.phases = [phase for phase in PHASES if phase in present]
        self.headline = self.phases[0] if "learning" in present else self.phases[-1]
        self.same = listed is not None and listed.identity.first_digest == key.dataset.first_digest
        self.listed = listed if self.same else None
        self.superseded = (listed is not None and not self.same) or self.protocol.version < CURRENT.version
        self.trials = next(m.trials for m in entries[0].first.results if m.phase == self.headline)
        self.ranked = self.trials >= FEWEST_TRIALS

    @property
    def greyed(self) -> str | None:
        """Why all rows are greyed."""
        if self.listed and self.listed.yanked:
            return f"the dataset is yanked: {self.listed.yanked}"
        return "the dataset or protocol has been superseded" if self.superseded else None

    def describe(self) -> Json:
        """The board itself."""
        listed = self.listed
        return {
            "id": self.id,
            "dataset": self.key.dataset.name,
            "digest": self.key.dataset.first_digest,
            "environment": self.key.dataset.environment,
            "repo": listed.repo if listed else None,
            "commit": listed.commit if listed else None,
            "published": bool(listed and (listed.bundled or listed.repo)),
            "yanked": listed.yanked if listed else None,
            "superseded": self.superseded,
            "protocol": self.protocol.version,
            "trials": self.trials,
            "ranked": self.ranked,
            "headline": self.headline,
            "phases": {phase: self._references(phase) for phase in self.phases},
        }

    def _references(self, phase: str) -> Json:
        """What every run on the board measures alike: the median over records, lest one of them speak for all."""
        runs = [metrics for entry in self.entries for metrics in entry.metrics(phase)]

        def middle(name: str) -> list[float | None]:
            values = [[metric[name].value for metric in at] for at in zip(*runs, strict=True)]
            known = [[value for value in found if value is not None] for found in values]
            return [rounded(float(np.median(found))) if found else None for found in known]

        return {
            "windows": runs[0][0].windows,
            "trials": runs[0][0].trials,
            "ceiling": middle("oracle_skill"),
            "noise_floor": middle("noise_floor"),
            "repw_persistence": middle("repw_persistence"),
            "wpe_persistence": middle("wpe_persistence"),
        }

    def rows(self) -> list[Json]:
        """The board's rows, best first, greyed ones last."""
        table = frame(self.entries, self.headline)
        skill = skills(table, **self.settings)
        pairs, wins = differences(table, **self.settings), win_rates(table, level=self.settings["level"])
        greyed = {name: self.greyed or replaced for name, replaced in self._replaced().items()}
        consumes = {entry.id: entry.first.key.method.consumes for entry in self.entries}
        standing = {name: consumes[name] for name in sorted(greyed) if self.ranked and greyed[name] is None}
        place = class_ranks(standing, pairs)
        phases = {phase: self._phase(phase) for phase in self.phases}
        rank, tied = ({str(name): value for name, value in place[column].items()} for column in ("rank", "tied"))
        best, spread = skill["value"].fillna(-math.inf).to_dict(), skill["spread"].to_dict()
        by_seed: dict[str, list[float | None]] = {}
        per_seed = seed_skills(table)
        for name, value in zip(per_seed.index.get_level_values("entry"), per_seed.to_numpy(), strict=True):
            by_seed.setdefault(str(name), []).append(rounded(float(value)))
        rows = []
        for entry in self.entries:
            name = entry.id
            rows.append(
                describe_entry(entry)
                | {
                    "greyed": greyed[name],
                    "rank": rank.get(name),
                    "tied": tied.get(name, []),
                    "phases": {phase: phases[phase][name] for phase in self.phases},
                    "comparisons": _comparisons(name, pairs, wins) if len(self.entries) > 1 else [],
                    "seed_skills": by_seed[name],
                    "spread": rounded(spread[name]),
                }
            )
        return sorted(rows, key=lambda row: (row["greyed"] is not None, -best[row["id"]], row["id"]))

    def _replaced(self) -> dict[str, str | None]:
        """By entry, whether the board holds a later version of its predictor in the same configuration.

        Only one at least as well attested counts: anybody may claim a version of another's predictor.
        """
        versions: dict[str, list[tuple[int, tuple[bool, int]]]] = {}
        own: dict[str, tuple[str, int, tuple[bool, int]]] = {}
        for entry in self.entries:
            key = entry.first.key
            same = canonical_json([key.method.model_dump(mode="json", exclude={"version"}), key.device])
            attested = (entry.disputed is None, STATES.index(entry.state))
            own[entry.id] = same, key.method.version, attested
            versions.setdefault(same, []).append((key.method.version, attested))
        found: dict[str, str | None] = {}
        for name, (same, version, attested) in own.items():
            newest = max(later for later, theirs in versions[same] if theirs >= attested)
            found[name] = f"superseded by version {newest}" if newest > version else None
        return found

    def _phase(self, phase: str) -> dict[str, Json]:
        """Every entry's metrics in one phase."""
        sums = board_sums(frame(self.entries, phase))
        tables = {
            name: estimates(sums.entries, above, below, **self.settings)
            for name, above, below in (
                ("skill", sums.gained, sums.baseline),
                ("repw", sums.repw, sums.windows),
                ("wpe", sums.error, sums.windows),
            )
        }
        series = {name: _series(table) for name, table in tables.items()}
        found = {}
        for entry in self.entries:
            skill, repw, wpe = (series[name][entry.id] for name in ("skill", "repw", "wpe"))
            runs = entry.metrics(phase)
            found[entry.id] = {
                "skill": skill[0],
                "skill_by_horizon": skill[1:],
                "repw": repw[0],
                "repw_by_horizon": repw[1:],
                "wpe_by_horizon": wpe[1:],
                "gain_by_horizon": [_seed_mean(at) for at in zip(*runs, strict=True)],
                "layers": _layers(runs),
            }
        return found


def _series(table: pd.DataFrame) -> dict[str, list[Json]]:
    """By entry the estimates of `statistics.estimates`: the mean, then each horizon."""
    found: dict[str, list[Json]] = {}
    for (name, _), row in zip(table.index, table.to_numpy(), strict=True):
        found.setdefault(name, []).append(estimate(row))
    return found


def _seed_mean(metrics: Sequence[Result]) -> Json:
    """The gain at one horizon over seeds: the mean of values and of bounds.

    Records keep no gains by trial. The mean of the seeds' bounds is no narrower than an interval of the mean.
    """
    values = [(metric["gain"].value, metric["gain"].low, metric["gain"].high) for metric in metrics]
    columns = zip(*values, strict=True)
    return estimate(
        [None if None in column else float(np.mean([c for c in column if c is not None])) for column in columns]
    )


def _layers(runs: Sequence[Sequence[Result]]) -> dict[str, list[float | None]]:
    """WPE of each layer at each horizon, the seeds' mean; layers that all seeds have."""
    first = runs[0][0].layers
    names = [name for name in first if all(name in metric.layers for metrics in runs for metric in metrics)]
    return {
        name: [rounded(float(np.mean([metric.layers[name] for metric in at]))) for at in zip(*runs, strict=True)]
        for name in names
    }


def _comparisons(name: str, pairs: pd.DataFrame, wins: pd.DataFrame) -> list[Json]:
    """An entry against every other one of its board."""
    mine, rates = pairs.loc[name], wins.loc[name]
    return [
        {"row": str(other), "difference": estimate(difference), "win_rate": estimate(rate)}
        for other, difference, rate in zip(mine.index, mine.to_numpy(), rates.to_numpy(), strict=True)
    ]
