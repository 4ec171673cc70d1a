"""Entries: the seeds of one predictor configuration together, ranked with ties."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..benchmark.intervals import UNDEFINED, Estimate, bootstrap
from ..benchmark.protocol import Protocol
from ..benchmark.record import Record

Float64 = npt.NDArray[np.float64]

HEADLINE_PHASE = "learning"
FEWEST_TRIALS = 6
"""With fewer test trials nothing is ranked: K trials all agree by chance with probability 2^(1 - K), above 5% for
K < 6, and a bootstrap over so few cannot know better."""


@dataclass
class Entry:
    """One row of a board: a predictor's configuration on a dataset, its seeds averaged.

    Parameters
    ----------
    records
        One per seed.
    error, baseline
        Per-trial sums of WPE and of persistence's WPE in the headline phase, [K, H]; the seeds' mean.
    repw
        Per-trial sums of REPW, [K, H]; the seeds' mean.
    windows
        Windows of each trial in the headline phase, [K, H].
    """

    records: list[Record]
    error: Float64
    baseline: Float64
    repw: Float64
    windows: Float64
    rank: int = 0
    tied_with: list[str] = field(default_factory=list)

    @property
    def protocol(self) -> Protocol:
        return self.records[0].key.protocol

    @property
    def label(self) -> str:
        """The predictor's name."""
        return self.records[0].key.predictor.name

    def skill(self, horizon: int | None = None) -> Estimate:
        """Skill at a horizon, or its mean over all horizons, with its interval over trials; undefined beyond H."""
        if horizon is not None and horizon > self.error.shape[1]:
            return UNDEFINED
        columns = slice(None) if horizon is None else slice(horizon - 1, horizon)
        error, baseline = self.error[:, columns], self.baseline[:, columns]
        return bootstrap(lambda i: mean_skill(error, baseline, i), len(error), self.protocol)

    def return_error(self) -> Estimate:
        """Mean REPW over horizons, with its interval over trials."""
        return bootstrap(
            lambda i: (self.repw[i].sum(-2) / self.windows[i].sum(-2)).mean(-1), len(self.repw), self.protocol
        )

    @property
    def seed_spread(self) -> float:
        """Standard deviation over seeds of the mean skill; 0 for one seed."""
        skills = [seed_skill(record) for record in self.records]
        return float(np.std(skills, ddof=1)) if len(skills) > 1 else 0.0


def mean_skill(error: Float64, baseline: Float64, trials: npt.NDArray[np.intp]) -> Any:
    """Mean over horizons of 1 - sum(error) / sum(baseline); arrays [K, H], trial numbers [..., K] to [...]."""
    return (1 - error[trials].sum(-2) / baseline[trials].sum(-2)).mean(-1)


def seed_skill(record: Record) -> float:
    """The headline of one run: skill averaged over horizons."""
    error, baseline = _sums(record, "wpe"), _sums(record, "wpe_persistence")
    return float(mean_skill(error, baseline, np.arange(len(error))))


def entries(records: Sequence[Record]) -> dict[str, list[Entry]]:
    """Boards by dataset name and digest: entries, best first, ranked with ties.

    An entry's rank is one more than the number of entries that are better by a paired interval that excludes 0; entries
    whose intervals do not tell them apart are tied.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        key = record.key
        dataset = f"{key.dataset.name}@{key.dataset.digest[:12]}/p{key.protocol.version}"
        predictor = json.dumps(key.predictor.model_dump(mode="json"), sort_keys=True)
        groups.setdefault((dataset, predictor, key.device), []).append(record)
    boards: dict[str, list[Entry]] = {}
    for (dataset, _, _), group in sorted(groups.items()):
        boards.setdefault(dataset, []).append(_entry(group))
    for board in boards.values():
        board.sort(key=lambda entry: -(entry.skill().value or 0.0))
        _rank(board)
    return boards


def _entry(group: list[Record]) -> Entry:
    group = sorted(group, key=lambda record: record.key.seed)
    names = ("wpe", "wpe_persistence", "repw", "windows")
    return Entry(group, *(np.mean([_sums(record, name) for record in group], axis=0) for name in names))


def _phase(record: Record) -> str:
    return HEADLINE_PHASE if record.metric(HEADLINE_PHASE, 1) is not None else "all"


def _sums(record: Record, name: str) -> Float64:
    """Per-trial sums [K, H] in the headline phase."""
    metrics = [metric for metric in record.metrics if metric.phase == _phase(record)]
    return np.array([metric.by_trial[name] for metric in sorted(metrics, key=lambda m: m.horizon)]).T


def _rank(board: list[Entry]) -> None:
    for entry in board:
        entry.rank = 1
        for other in board:
            if other is entry:
                continue
            verdict = compare(other, entry)
            if verdict > 0:
                entry.rank += 1
            elif verdict == 0:
                entry.tied_with.append(other.label)


def compare(one: Entry, other: Entry) -> int:
    """1 if `one` has more skill, -1 if less, by the paired interval over trials; 0 if it covers 0 (tied).

    Below `FEWEST_TRIALS` everything is tied.
    """
    if len(one.error) != len(other.error):
        raise ValueError("entries of different test trials cannot be paired")
    if len(one.error) < FEWEST_TRIALS:
        return 0
    difference = bootstrap(
        lambda i: mean_skill(one.error, one.baseline, i) - mean_skill(other.error, other.baseline, i),
        len(one.error),
        one.protocol,
    )
    if difference.low is None or difference.high is None:
        return 0
    return int(difference.low > 0) - int(difference.high < 0)
